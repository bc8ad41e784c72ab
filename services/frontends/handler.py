"""Shared by the handlers of every front end: a body comes in, bytes go out, a client leaves.

Each front end adds identity, operations, and the form of its answers and errors.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable
from typing import Any, Protocol

from tornado.web import HTTPError, RequestHandler, stream_request_body

from common.config import Config
from common.errors import BlobkeepError
from services.access.decisions import Access
from services.http1 import Exchange
from services.rules.cors import Origins, origins_of
from services.rules.uploads import parse_expect
from services.store import Reading, Store

CLIENT_LEFT = 499  # only for logs and metrics, as in nginx: the client left before the answer


class Incoming(Protocol):
    """Takes the body of a request: an upload of the store, or something in front of one."""

    async def write(self, data: bytes) -> None:
        """The next bytes. Raises BlobkeepError; then only `abort` is left to do."""
        ...

    async def abort(self, reason: str) -> None:
        """The rest will not come, or is not wanted. Idempotent; without effect once it is being stored."""
        ...


@stream_request_body
class Handler(RequestHandler):
    """A request to any front end. `user`: the client's name in the access file, or "-".

    `incoming`: takes the body. Bodies are streamed to all handlers, so that no request can fill the memory;
    without `incoming` a body is dropped as it comes.
    """

    LOG = logging.getLogger("http")
    store: Store
    config: Config
    access: Access
    user = "-"
    incoming: Incoming | None = None
    _dropping: asyncio.Future[None] | None = None
    _origins: Origins

    def initialize(self, store: Store, config: Config, access: Access) -> None:
        self.store = store
        self.config = config
        self.access = access
        self._origins = origins_of(config.cors_origins)

    def answers_preflight(self) -> bool:
        """Answer a CORS preflight, which has no token. False if this is none, or the page may not send the
        request."""
        fields = self._origins.preflight_fields(self.request.method, self.request.headers)
        if fields is None:
            return False
        self.set_status(204)
        for name, value in fields:
            self.set_header(name, value)
        self.finish()
        return True

    def check_trusted_origin(self, origin: str) -> bool:
        """See RequestHandler: whether a page of `origin` may write."""
        return self._origins.allows(origin)

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """See RequestHandler. Every answer says which origins may read it, errors too."""
        if not self._headers_written:
            for name, value in self._origins.answer_fields(self.request.headers.get("Origin")):
                self.add_header(name, value)
        return super().flush(include_footers)

    def take_expect(self) -> None:
        """Make Tornado send 100 Continue to a client that waits: it compares the field letter by letter."""
        expect = self.request.headers.get("Expect")
        if expect is not None:  # an HTTP/1.0 client never waits
            waits = parse_expect(expect) and self.request.version != "HTTP/1.0"
            self.request.headers["Expect"] = "100-continue" if waits else ""

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """A piece of the body."""
        if self.incoming is None or self._finished:
            return None
        return self.receive(self.incoming, self.incoming.write(chunk))

    async def receive(self, incoming: Incoming, taking: Awaitable[None]) -> None:
        """An error of `taking` is answered at once: the rest of the body may be without end."""
        try:
            await taking
        except BlobkeepError as err:
            await incoming.abort(str(err))
            if not self._finished:
                self.send_error(500, exc_info=sys.exc_info())

    async def send_range(self, reading: Reading, first: int, last: int) -> None:
        """Send the bytes first..last as the client takes them; the head goes out before the first of them.

        Each piece is verified before it is sent. Raises Damaged, Unavailable, and StreamClosedError if the
        client has left.
        """
        connection = self.request.connection
        if isinstance(connection, Exchange) and connection.sends_directly:
            await reading.pour(first, last, _Client(self, connection))
            return
        async for data in reading.chunks(first, last):
            self.write(bytes(data))
            del data  # the connection alone holds it now, and frees it bit by bit
            await self.flush()

    def cut_off(self) -> None:
        """End the connection: the client must see that what it has is not the whole."""
        self.request.connection.stream.close()  # type: ignore[union-attr]

    def close_where_unread(self) -> None:
        """Say in an early answer that the connection closes, since Tornado's connection does not say so.

        Our own connection stays open if no more of a body is to come, and says itself what it does.
        """
        if self.config.http == "tornado" and not self.request._body_future.done():
            self.set_header("Connection", "close")

    def compute_etag(self) -> str | None:
        """No tag from a hash of the answer: handlers set the blob's own tag."""
        return None

    def on_connection_close(self) -> None:
        """The client has left, or has ended its sending: an incomplete upload is given up.

        A complete one goes on, since its client may wait for the answer, as `nc -N` does. An incomplete
        request is counted and logged here. Not called while `prepare` is under way, but after it.
        """
        whole = self.request._body_future.done()
        super().on_connection_close()
        if whole:
            return
        if self.incoming is not None:
            # Kept: the loop itself has only a weak reference.
            self._dropping = asyncio.ensure_future(self.incoming.abort("connection lost"))
        stream: Any = self.request.connection.stream  # type: ignore[union-attr]
        if self._finished:
            return  # answered before its body came, and counted
        if stream is None or stream.closed():  # else the connection has refused the rest, and tells of it
            self.set_status(CLIENT_LEFT, "Client Left")
            self.application.log_request(self)

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Expected errors are the client's; only the others are logged, once, here."""
        if not isinstance(value, BlobkeepError | HTTPError):
            self.LOG.error("%s failed", self._request_summary(), exc_info=(typ, value, tb))  # type: ignore[arg-type]


class _Client:
    """The client as a store.Sink: the head goes out before the first bytes, once these are verified."""

    def __init__(self, handler: Handler, exchange: Exchange) -> None:
        self._handler: Handler | None = handler
        self._exchange = exchange

    def take(self, data: memoryview) -> int:
        if self._handler is not None:
            self._handler.flush()
            self._handler = None
        return self._exchange.take(data)

    def take_file(self, fd: int, at: int, count: int) -> int:
        if self._handler is not None:
            self._handler.flush()
            self._handler = None
        return self._exchange.take_file(fd, at, count)

    async def ready(self) -> None:
        await self._exchange.ready()
