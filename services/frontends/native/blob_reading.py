"""GET and HEAD of a blob: conditions and ranges judged from memory, the file opened for bytes alone."""

from __future__ import annotations

from tornado.iostream import StreamClosedError

from common.errors import Damaged, NotFound
from services.frontends.native.location import LocationHandler
from services.frontends.native.read_plan import ReadPlan, plan_read
from services.http1 import Exchange
from services.rules.listing import follows_links, wants_html
from services.rules.locations import quote_location
from services.store import Reading


class _Client:
    """The client as a store.Sink: the head goes out before the first bytes, once these are verified."""

    def __init__(self, handler: BlobReading, exchange: Exchange) -> None:
        self._handler: BlobReading | None = handler
        self._exchange = exchange

    def take(self, data: memoryview) -> int:
        if self._handler is not None:
            self._handler.flush()
            self._handler = None
        return self._exchange.take(data)

    async def ready(self) -> None:
        await self._exchange.ready()


class BlobReading(LocationHandler):
    """The reading methods of /store/{location}."""

    async def get(self) -> None:
        """200 and the bytes; 206, 304, 404, 412, 416; 500 where it is damaged."""
        blob = await self.store.stat(self.location)
        if blob is None:
            if await self._is_folder_to_show():
                self._lead_to_folder()
                return
            raise NotFound("There is no such blob: create it with POST.")
        plan = plan_read(blob, self.request.method or "", self.request.headers)
        if not plan.pieces:
            self._begin(plan)
            return
        reading = await self.store.open(self.location)
        try:
            if reading.blob.version != blob.version:  # written anew meanwhile: what was judged is gone
                plan = plan_read(reading.blob, "GET", self.request.headers)
            self._begin(plan)
            await self._send(reading, plan)
        except StreamClosedError:
            pass  # the client has left; nothing is owed
        except Damaged:
            if not self._headers_written:
                raise
            # Logged where it was found. The client must see that what it has is not the whole.
            self.request.connection.stream.close()  # type: ignore[union-attr]
        finally:
            reading.close()

    head = get

    async def _is_folder_to_show(self) -> bool:
        """Whether something is under this name, and the client would follow links: a person who typed it,
        Wget, rclone. For others a name without a blob is 404: a cache asks whether it has something."""
        headers = self.request.headers
        follows = follows_links(headers.get("User-Agent"))
        if not wants_html(headers.get("Accept"), otherwise=follows):
            return False
        page = await self.store.list(self.location + "/", "/", "", 1)
        return bool(page.blobs or page.prefixes)

    def _lead_to_folder(self) -> None:
        """308 to the same name with a slash behind it, which is relative: a proxy may have cut the path."""
        self.set_status(308)
        query = f"?{self.request.query}" if self.request.query else ""
        self.set_header("Location", quote_location(self.location.rpartition("/")[2]) + "/" + query)
        self.set_header("Vary", "Accept, User-Agent")
        self.set_header("Cache-Control", "no-cache")  # tomorrow a blob may have the name
        self.set_header("Content-Length", "0")

    def _begin(self, plan: ReadPlan) -> None:
        self.set_status(plan.status)
        self.set_fields(plan.fields)

    async def _send(self, reading: Reading, plan: ReadPlan) -> None:
        """Piece by piece as the client takes them. Nothing is sent before the first piece is verified."""
        connection = self.request.connection
        for piece in plan.pieces:
            if isinstance(piece, bytes):
                self.write(piece)
                continue
            if isinstance(connection, Exchange) and connection.sends_directly:
                await reading.pour(*piece, _Client(self, connection))
                continue
            async for data in reading.chunks(*piece):
                self.write(bytes(data))
                del data  # the connection alone holds it now, and frees it bit by bit
                await self.flush()
