"""An UploadPart without a RequestHandler: the same operation, another HTTP side.

A handler takes 0.7 ms for a part, a fifth of what the event loop does for its 8 MiB. See fast_path for the
requests that come here; tests/s3/test_part_puts.py compares the two.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine

from common.transfer import LentRoom
from services.frontends.handler import CLIENT_LEFT
from services.frontends.s3.exchange_answers import ExchangeAnswer
from services.frontends.s3.multipart import UploadPart
from services.frontends.s3.request import Answering, Request
from services.frontends.s3.stubs import check_acl
from services.http1 import Exchange
from services.rules.answers import Fields
from services.watch.request_log import RequestLog

# As SDKs write it. It is the same in a canonical request.
_QUERY = re.compile(r"partNumber=([0-9]{1,5})&uploadId=([0-9A-Za-z._~-]{1,128})(?:&x-id=UploadPart)?")


def part_query(query: str) -> dict[str, str] | None:
    """The parameters of an UploadPart that is taken here; None for another query."""
    found = _QUERY.fullmatch(query)
    return None if found is None else {"partNumber": found[1], "uploadId": found[2]}


class PartPut(ExchangeAnswer, HTTPMessageDelegate):
    """One such request. A refusal is answered before the rest of the body, which may be without end. If the
    client leaves before the body is complete, the part ends; after that it goes on."""

    def __init__(
        self,
        exchange: Exchange,
        request_of: Callable[[Answering], Request],
        requests: RequestLog,
        cors: Fields,
    ) -> None:
        super().__init__(exchange, request_of, requests, cors)
        self._request = request_of(self)
        self._operation = UploadPart(self._request)
        self._lent: LentRoom | None = None  # where the body goes, if the part lends that
        self._room: memoryview | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None]:
        """See HTTPMessageDelegate."""
        return self._or_refuse(self._begin())

    async def _begin(self) -> None:
        check_acl(self._request)
        await self._operation.begin()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """See HTTPMessageDelegate. To wait takes a task and a turn of the loop: most pieces need none."""
        try:
            taking = self._operation.take(chunk)
        except Exception as err:  # noqa: BLE001 - answered, and logged where it is none of ours
            return self._end(err)
        return None if taking is None else self._or_refuse(taking)

    def room(self) -> memoryview | None:
        """See LendsRoom."""
        if self._lent is None and not self._exchange.finished:
            self._lent = self._operation.lend()
        self._room = None if self._lent is None else self._lent.room()
        return self._room

    def filled(self, count: int) -> Awaitable[None] | None:
        """See LendsRoom."""
        assert self._lent is not None
        assert self._room is not None
        try:
            size = self._operation.came(self._room[:count])
        except Exception as err:  # noqa: BLE001 - as in `data_received`
            return self._end(err)
        return None if self._lent.filled(size) else self._or_refuse(self._lent.more())

    async def _or_refuse(self, step: Awaitable[None]) -> None:
        try:
            await step
        except Exception as err:  # noqa: BLE001 - as above
            await self._end(err)

    async def _end(self, err: Exception) -> None:
        await self._operation.abort(str(err))
        self._refuse(err)
        self._respond(self._request.user)

    def finish(self) -> None:
        """See HTTPMessageDelegate."""
        self._task = self._exchange.run(self._answer())

    async def _answer(self) -> None:
        try:
            await self._operation.answer()
        except Exception as err:  # noqa: BLE001 - as above
            await self._end(err)
        else:
            self._respond(self._request.user)

    def on_connection_close(self) -> None:
        """See HTTPMessageDelegate: called in place of `finish`, also after an answer before the end."""
        exchange = self._exchange
        self._task = asyncio.ensure_future(self._operation.abort("connection lost"))
        if not exchange.finished and exchange.stream.closed():  # else the connection has told why it ends
            self._requests.answered_exchange(exchange, CLIENT_LEFT, self._began_s, self._request.user)
