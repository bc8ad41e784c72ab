"""/store/{location}: a blob, read and written. No path, lock or sync in here.

A read judges conditions and ranges by the store's record of the blob, and opens the blob only for its bytes.
A write is refused before its body if that is possible. Else its body goes into an upload of the store, which
judges the conditions again at the commit.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

from tornado.iostream import StreamClosedError

from common.errors import Damaged, NotFound
from services.access.decisions import Action
from services.access.links import LinkHolder
from services.frontends.native import state_locks
from services.frontends.native.base import BaseHandler
from services.frontends.native.copying import CopyOrder, copy_order, refuse_without_effect
from services.frontends.native.headers import FORWARDED_PREFIX, PREFIX, modified_s, write_outcome
from services.frontends.native.promised_digests import PromisedDigests
from services.frontends.native.read_plan import ReadPlan, plan_read
from services.frontends.native.webdav import href_of, multistatus
from services.frontends.native.write_conditions import write_condition
from services.http1 import Exchange
from services.rules.framed import refuse_framed
from services.rules.listing import follows_links, wants_html
from services.rules.locations import parse_location, quote_location
from services.rules.media_types import upload_media_type
from services.rules.metadata import EXPIRES, stored_metadata
from services.rules.uploads import declared_bytes, refuse_partial, stored_encoding
from services.store import Blob, Condition, Content, Reading, Store, Upload


class BlobReader(BaseHandler):
    """GET and HEAD of the blob at `location`. Front ends of other protocols read blobs so, too."""

    @functools.cached_property
    def location(self) -> str:
        """Of the blob. Raises BadLocation."""
        return parse_location(self.request.path.removeprefix(PREFIX))

    def asked(self) -> tuple[Action, str | None]:
        """See BaseHandler."""
        return self.action(), self.location

    async def get(self) -> None:
        """200 and the bytes; 206, 304, 404, 412, 416; 500 where it is damaged."""
        headers = self.request.headers
        if self.request.method == "HEAD" or "If-None-Match" in headers or "If-Modified-Since" in headers:
            # Look first, since its bytes may not be needed. Otherwise a look, which may be a network request,
            # is avoided.
            blob = await self.store.stat(self.location)
            if blob is None:
                await self.answer_missing()
                return
            plan = plan_read(blob, self.request.method or "", headers)
            if not plan.pieces:
                self._begin(plan)
                return
        try:
            reading = await self.store.open(self.location)
        except NotFound:
            await self.answer_missing()
            return
        try:
            await self.send_planned(reading, plan_read(reading.blob, "GET", headers))
        finally:
            reading.close()

    head = get

    async def answer_missing(self) -> None:
        """There is no such blob. Raises NotFound."""
        raise NotFound("There is no such blob: create it with POST.")

    async def send_planned(self, reading: Reading, plan: ReadPlan) -> None:
        """Answer by `plan` from `reading`. Raises Damaged if nothing was sent yet."""
        try:
            self._begin(plan)
            await self._send(reading, plan)
        except StreamClosedError:
            pass  # the client has left; nothing is owed
        except Damaged:
            if not self._headers_written:
                raise
            self.cut_off()  # logged where it was found

    def _begin(self, plan: ReadPlan) -> None:
        self.set_status(plan.status)
        self.set_fields(plan.fields)

    async def _send(self, reading: Reading, plan: ReadPlan) -> None:
        for piece in plan.pieces:
            if isinstance(piece, bytes):
                self.write(piece)
            else:
                await self.send_range(reading, *piece)


class BlobHandler(BlobReader):
    """/store/{location}"""

    ALLOW = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
    ALSO = ("PROPFIND", "MKCOL", "LOCK", "UNLOCK")
    TAKES_LINKS = True
    _upload: Upload
    _digests: PromisedDigests
    _order: CopyOrder | None = None
    _lock: state_locks.SmallBody

    def before_body(self) -> Awaitable[None] | None:
        """See BaseHandler: an upload that cannot succeed is refused here. Raises BadLocation."""
        location, method = self.location, self.request.method
        if method in ("POST", "PUT", "DELETE"):
            refuse_framed(self.request.headers, self.request.query)
            refuse_without_effect(method, self.request.headers)
        if method in ("LOCK", "UNLOCK"):
            self.incoming = self._lock = state_locks.SmallBody()
        if method not in ("POST", "PUT"):
            return None
        self._order = copy_order(self.request.headers, location, guesses=self.config.guess_type)
        if self._order is None:
            return self._begin_upload(location)
        if self.client is not None:
            self.client.check(Action.READ, self._order.source)
            if self._order.move:
                self.client.check(Action.DELETE, self._order.source)
        return None

    async def answer_missing(self) -> None:
        """See BlobReader. A folder of this name is shown to a client that would follow links."""
        if not await self._is_folder_to_show():
            await super().answer_missing()
        # Relative: a proxy may have cut the path.
        self.set_status(308)
        query = f"?{self.request.query}" if self.request.query else ""
        self.set_header("Location", quote_location(self.location.rpartition("/")[2]) + "/" + query)
        self.set_header("Vary", "Accept, User-Agent")
        self.set_header("Cache-Control", "no-cache")  # tomorrow a blob may have the name
        self.set_header("Content-Length", "0")

    async def _is_folder_to_show(self) -> bool:
        """Whether something is under this name, and the client follows links: a person, Wget, rclone. For
        other clients a name without a blob is 404, since a cache wants to know whether there is a blob."""
        headers = self.request.headers
        follows = follows_links(headers.get("User-Agent"))
        if not wants_html(headers.get("Accept"), otherwise=follows):
            return False
        return await self.is_anything_under(self.location + "/")

    async def _begin_upload(self, location: str) -> None:
        headers = self.request.headers
        refuse_partial(headers)
        connection = self.request.connection
        self._digests = PromisedDigests(headers, gives_trailers=isinstance(connection, Exchange))
        self._upload = await self.store.begin(
            location,
            self._condition(),
            Content(
                upload_media_type(headers.get("Content-Type"), location, guesses=self.config.guess_type),
                stored_encoding(headers.get("Content-Encoding")),
                stored_metadata(headers),
            ),
            declared_bytes(headers),
            waits="Expect" in headers,
        )
        self.incoming = self._digests.in_front_of(self._upload)

    def _condition(self) -> Condition:
        client = self.client
        creates = self.config.put_creates or isinstance(client, LinkHolder)  # who has one link has one method
        judge = write_condition(self.request.method or "", self.request.headers, creates)
        if client is None:
            return judge

        def judge_of_client(blob: Blob | None, damaged: bool) -> None:
            # A damaged blob may still be restored if nobody writes there: not even a POST may replace it.
            if damaged or (blob is not None and self.request.method == "PUT"):
                client.check(Action.UPDATE, self.location)
            judge(blob, damaged)

        return judge_of_client

    async def post(self) -> None:
        """201, `Location`, `ETag`; 200 for a PUT that replaced a blob."""
        blob, replaced = await self._stored() if self._order is None else await self._copied(self._order)
        prefix = self.request.headers.get(FORWARDED_PREFIX)
        status, fields = write_outcome(
            self.request.method or "", blob, replaced=replaced, forwarded_prefix=prefix
        )
        self.set_status(status)
        self.set_fields(fields)
        self.set_header("Content-Length", "0")

    put = post

    async def _stored(self) -> tuple[Blob, bool]:
        connection = self.request.connection
        trailers = connection.trailers if isinstance(connection, Exchange) else ()
        await self._digests.check(self._upload, trailers)
        return await self._upload.commit()

    async def _copied(self, order: CopyOrder) -> tuple[Blob, bool]:
        content = order.content
        if content is None and order.expires is not None:  # all else stays as it is
            blob = await self.store.stat(order.source)
            if blob is not None:
                content = Content(blob.type, blob.encoding, {**blob.metadata, EXPIRES: order.expires})
        return await self.store.copy(
            order.source,
            order.source_condition,
            self.location,
            self._condition(),
            content,
            move=order.move,
        )

    async def propfind(self) -> None:
        """207 about the blob, or the folder of this name; 404."""
        blob = await self.store.stat(self.location)
        if blob is None and not await self.is_anything_under(self.location + "/"):
            raise NotFound("There is nothing of this name.")
        path = href_of(self.prefix, self.location) + ("/" if blob is None else "")
        self.send_multistatus(multistatus(path, blob, modified_s(blob) if blob is not None else 0))

    async def mkcol(self) -> None:
        """201: a folder need not be made. 405 where a blob has the name."""
        if await self.store.stat(self.location) is not None:
            self.refuse_method()
        self.set_status(201)
        self.set_header("Content-Length", "0")

    async def lock(self) -> None:
        """200: the client has the lock; 423 with the holder's JSON. See state_locks."""
        await self._change_lock(state_locks.lock, 423)

    async def unlock(self) -> None:
        """200: the lock is free; 409 with the holder's JSON, if another client holds it."""
        await self._change_lock(state_locks.unlock, 409)

    async def _change_lock(
        self, change: Callable[[Store, str, bytes], Awaitable[None]], held_status: int
    ) -> None:
        try:
            await change(self.store, self.location, self._lock.content)
        except state_locks.LockedByOther as held:
            self.set_status(held_status)
            self.set_header("Content-Type", "application/json")
            self.finish(held.holder)
            return
        self.set_header("Content-Length", "0")

    async def delete(self) -> None:
        """200, empty body."""
        await self.store.delete(self.location, self._condition())
        self.set_header("Content-Length", "0")
