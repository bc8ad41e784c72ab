"""The HTTP side of an operation without a RequestHandler: its answer goes out through an Exchange."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http.client import responses
from time import perf_counter, time

from common.errors import BlobkeepError
from services.frontends.s3 import xml
from services.frontends.s3.errors import UNEXPECTED, described, fields_of
from services.frontends.s3.request import Answering, Request, new_request_id
from services.http1 import Exchange
from services.rules.answers import Fields, sent, sent_common
from services.store import Reading
from services.watch.request_log import RequestLog

log = logging.getLogger("s3")


class ExchangeAnswer:
    """One answer, whole before it is sent (see request.Answering). `request_of`: makes the request that gets
    it; `cors`: the CORS fields of all answers.
    """

    def __init__(
        self,
        exchange: Exchange,
        request_of: Callable[[Answering], Request],
        requests: RequestLog,
        cors: Fields,
    ) -> None:
        self._began_s = perf_counter()
        self._exchange = exchange
        self._request_of = request_of
        self._requests = requests
        self._cors = cors
        self._status = 500
        self._fields: Fields = []
        self._content = b""
        self._request_id = new_request_id()

    def begin(self, status: int, fields: Fields) -> None:
        """See request.Answering."""
        self._status, self._fields = status, fields

    def write_piece(self, data: bytes) -> Awaitable[None]:
        """See request.Answering."""
        self._content += data
        return asyncio.sleep(0)

    async def send_range(self, reading: Reading, first: int, last: int) -> None:
        """See request.Answering."""
        raise TypeError("a write is not answered with an object")

    def _respond(self, user: str) -> None:
        exchange = self._exchange
        start_line = b"HTTP/1.1 %d %s\r\n" % (self._status, responses[self._status].encode())
        fields = [("x-amz-request-id", self._request_id), *self._fields, *self._cors]
        exchange.respond(start_line + sent_common(int(time())) + sent(fields) + b"\r\n", self._content)
        self._requests.answered_exchange(exchange, self._status, self._began_s, user)

    def _refuse(self, err: Exception) -> None:
        method, target, _ = self._exchange.head.start_line
        if isinstance(err, BlobkeepError):
            told = described(err)
        else:
            log.error("%s %s failed", method, target, exc_info=err)
            told = UNEXPECTED
        self._status = told.status
        path = target.partition("?")[0]
        self._content = xml.error(told.code, told.text, told.details, path, self._request_id)
        length = ("Content-Length", str(len(self._content)))
        self._fields = [*fields_of(told), ("Content-Type", "application/xml"), length]
