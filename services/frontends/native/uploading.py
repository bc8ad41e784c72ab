"""Plain writes without a RequestHandler: what all share, and those whose body is larger or comes late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import perf_counter

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine

from common.transfer import LentRoom
from services.frontends.handler import CLIENT_LEFT
from services.frontends.native.errors import answer_without_handler
from services.frontends.native.headers import FORWARDED_PREFIX, write_outcome
from services.frontends.native.quick_reads import first_of, whole_answer
from services.frontends.native.sending import Answered
from services.http1 import Exchange
from services.rules.answers import Fields
from services.store import Condition, Content, Store, Upload


class PlainWrite(HTTPMessageDelegate):
    """One write of `location`. `content`: what the client says of the body; `answered`: see `Answered`."""

    def __init__(
        self,
        exchange: Exchange,
        store: Store,
        location: str,
        condition: Condition,
        content: Content,
        answered: Answered,
    ) -> None:
        self._began = perf_counter()
        self._exchange = exchange
        self._store = store
        self._location = location
        self._condition = condition
        self._content = content
        self._answered = answered


class Uploading(PlainWrite):
    """One POST or PUT of a declared length. A refusal is answered before the body, if possible. If the client
    leaves before the body is complete, the upload ends; after that it goes on."""

    _upload: Upload | None = None
    _lent: LentRoom | None = None  # where the body goes, if the upload lends that

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """See HTTPMessageDelegate. What comes while a task begins it would be joined, and copied."""
        size = self._exchange.head.body_bytes
        try:
            self._upload = self._store.begin_nowait(self._location, self._condition, self._content, size)
        except Exception as err:  # noqa: BLE001 - answered, and logged where it is none of ours
            self._refuse(err)
            return None
        return None if self._upload is not None else self._begin(size)

    async def _begin(self, size: int) -> None:
        try:
            self._upload = await self._store.begin(
                self._location, self._condition, self._content, size, waits=False
            )
        except Exception as err:  # noqa: BLE001 - as above
            self._refuse(err)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """See HTTPMessageDelegate. To wait takes a task and a turn of the loop: most pieces need none."""
        upload = self._upload
        if upload is None or upload.takes(chunk):
            return None
        return self._wait_for(upload, upload.write(chunk))

    def room(self) -> memoryview | None:
        """See LendsRoom."""
        if self._lent is None and self._upload is not None:
            self._lent = self._upload.lend()
        return None if self._lent is None else self._lent.room()

    def filled(self, count: int) -> Awaitable[None] | None:
        """See LendsRoom."""
        assert self._lent is not None
        assert self._upload is not None
        return None if self._lent.filled(count) else self._wait_for(self._upload, self._lent.more())

    async def _wait_for(self, upload: Upload, step: Awaitable[None]) -> None:
        try:
            await step
        except Exception as err:  # noqa: BLE001 - answered, and logged where it is none of ours
            self._upload = self._lent = None
            await upload.abort(str(err))
            self._refuse(err)

    def _refuse(self, err: Exception) -> None:
        """Answer at once: the rest of the body may be without end."""
        if not self._exchange.finished:
            self._tell(*answer_without_handler(self._exchange.head, err))

    def finish(self) -> None:
        """See HTTPMessageDelegate."""
        if self._upload is not None:
            self._task = self._exchange.run(self._commit(self._upload))

    async def _commit(self, upload: Upload) -> None:
        head = self._exchange.head
        try:
            blob, replaced = await upload.commit()
            method, prefix = head.start_line.method, first_of(head, FORWARDED_PREFIX)
            status, fields = write_outcome(method, blob, replaced=replaced, forwarded_prefix=prefix)
            self._tell(status, fields, b"")
        except Exception as err:  # noqa: BLE001 - answered, and logged where it is none of ours
            self._tell(*answer_without_handler(self._exchange.head, err))

    def _tell(self, status: int, fields: Fields, body: bytes) -> None:
        self._exchange.respond(*whole_answer(status, fields, body))
        self._answered(self._exchange, status, self._began)

    def on_connection_close(self) -> None:
        """See HTTPMessageDelegate: called in place of `finish`, also after an answer before the end."""
        exchange, upload = self._exchange, self._upload
        if upload is not None:
            self._task = asyncio.ensure_future(upload.abort("connection lost"))
        if not exchange.finished and exchange.stream.closed():  # else the connection has told why it ends
            self._answered(exchange, CLIENT_LEFT, self._began)
