"""GET and HEAD of a blob: conditions and ranges judged from memory, the file opened for bytes alone."""

from __future__ import annotations

from tornado.iostream import StreamClosedError

from common.errors import Damaged, NotFound
from services.frontends.native.location import LocationHandler
from services.frontends.native.read_plan import ReadPlan, plan_read
from services.http1 import Exchange
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
