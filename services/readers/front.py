"""Requests that a reader could not answer at once: it asks the server, tries again, or hands them over."""

from __future__ import annotations

from collections.abc import Awaitable
from time import perf_counter

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

from common.errors import BlobkeepError
from services.frontends.native.errors import answer_to
from services.frontends.native.quick_reads import QuickReads, authorization_of, whole_answer
from services.http1 import Exchange
from services.readers.guest import Guest
from services.watch.request_log import RequestLog

_ASKS = 3  # a blob that is written often may have changed before we looked


class Front(HTTPServerConnectionDelegate):
    """Gets requests that `quick_answer` of the same QuickReads did not answer. Only for services.http1."""

    def __init__(self, guest: Guest, quick: QuickReads, requests: RequestLog) -> None:
        self.guest = guest
        self.quick = quick
        self.requests = requests

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """See HTTPServerConnectionDelegate."""
        assert isinstance(request_conn, Exchange)
        return _Request(self, request_conn)

    def on_close(self, server_conn: object) -> None:
        """See HTTPServerConnectionDelegate."""


class _Request(HTTPMessageDelegate):
    """One request, from its head on. Nothing of its body is taken."""

    def __init__(self, front: Front, exchange: Exchange) -> None:
        self._front = front
        self._exchange = exchange
        self._began_s = perf_counter()

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None]:
        """See HTTPMessageDelegate. The connection waits until this is done, and reads nothing more."""
        return self._serve()

    async def _serve(self) -> None:
        exchange, guest = self._exchange, self._front.guest
        try:
            answer = await self._answer()
            if answer is None:
                await guest.hand_over(exchange)
                return
        except StreamClosedError:  # the client has left
            return
        except BlobkeepError as err:
            self._refuse(err)
            return
        exchange.respond(*answer)

    def _refuse(self, err: BlobkeepError) -> None:
        """Answer for the server, which cannot have the connection now; no body to HEAD."""
        exchange = self._exchange
        status, fields, body = answer_to(err)
        first, body = whole_answer(status, fields, body)
        exchange.respond(first, b"" if exchange.head.start_line.method == "HEAD" else body)
        self._front.requests.answered_exchange(exchange, status, self._began_s)

    async def _answer(self) -> tuple[bytes, bytes] | None:
        """The answer to a plain GET or HEAD of what the server may show; None for all else."""
        exchange, guest, quick = self._exchange, self._front.guest, self._front.quick
        head = exchange.head
        location = "" if head.body_bytes else quick.asked_location(head)
        if not location:
            return None
        answer = quick.quick_answer(head, exchange.context)
        for _ in range(_ASKS):
            if answer is not None or not await guest.ask(location, authorization_of(head)):
                break
            answer = self._judged_anew()
            if answer is None:
                await guest.load(location)
                answer = self._judged_anew()
        return None if answer is None else (answer[0], bytes(answer[1]))

    def _judged_anew(self) -> tuple[bytes, bytes | memoryview] | None:
        """Check the host name again after a wait: a server with other names may have started meanwhile."""
        head = self._exchange.head
        head.memo = None
        return self._front.quick.quick_answer(head, self._exchange.context)
