"""Sends a larger blob to the client, without a RequestHandler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from tornado.httputil import HTTPMessageDelegate
from tornado.iostream import StreamClosedError

from services.frontends.native.errors import answer_without_handler
from services.frontends.native.quick_reads import whole_answer
from services.http1 import COPY_BYTES, Exchange
from services.store import Reading

Answered = Callable[[Exchange, int, float], None]
"""Counts an answer: its exchange, its status, when its request began (perf_counter)."""


class Sending(HTTPMessageDelegate):
    """One GET of a blob that is open, as a store.Sink: its head goes out with the first bytes, verified.

    `head`: all of the answer before the body; `began`: when the request began, if that is not now. Damage is
    answered if nothing was sent yet; else the connection is cut.
    """

    def __init__(
        self,
        exchange: Exchange,
        reading: Reading,
        head: bytes,
        answered: Answered,
        *,
        began: float | None = None,
    ) -> None:
        self._began = began if began is not None else perf_counter()
        self._exchange = exchange
        self._reading = reading
        self._head = head
        self._answered = answered

    def finish(self) -> None:
        """See HTTPMessageDelegate.

        It sends in the next turn of the loop: first all requests of this one are read, and then all are
        answered. To do both for each in turn cost 5 % more with 16 clients; the processor's caches like to
        do one thing many times.
        """
        self._exchange.call_soon(self._begin_to_send)

    def _begin_to_send(self) -> None:
        """Send what need not wait, and the rest in a task."""
        sent_bytes = self.send_now()
        if sent_bytes is not None:
            self._task = self._exchange.run(self.send(sent_bytes))

    def send_now(self) -> int | None:
        """Send what need not wait. How many bytes that was, for `send`; None if nothing is left to do."""
        try:
            sent_bytes = self._reading.pour_now(self)
        except Exception as err:  # noqa: BLE001 - see `_end`
            self._end(err)
            return None
        if sent_bytes == self._reading.blob.size:
            self._end(None)
            return None
        return sent_bytes

    def on_connection_close(self) -> None:
        """See HTTPMessageDelegate: called in place of `finish`."""
        self._reading.close()

    async def send(self, sent_bytes: int = 0) -> None:
        """Send what follows the first `sent_bytes`. It raises nothing."""
        error: Exception | None = None
        try:
            await self._reading.pour(sent_bytes, self._reading.blob.size - 1, self)
        except Exception as err:  # noqa: BLE001 - see `_end`
            error = err
        except asyncio.CancelledError:
            self._reading.close()
            raise
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        """All was sent, or `error` came in between: that is answered, or cuts the connection, and is logged
        where it is none of ours.
        """
        exchange, status = self._exchange, 200
        self._reading.close()
        if error is None and not exchange.finished:
            try:
                self._begin()  # where there are no bytes
                exchange.finish()
            except Exception as err:  # noqa: BLE001 - as any other
                error = err
        if error is not None and not isinstance(error, StreamClosedError):  # then the client has left
            answer = answer_without_handler(exchange.head, error)
            if exchange.started:
                exchange.stream.close()  # the client must see that what it has is not the whole
            else:
                status = answer[0]
                exchange.respond(*whole_answer(*answer))
        self._answered(exchange, status, self._began)

    def take(self, data: memoryview) -> int:
        """See store.Sink."""
        exchange = self._exchange
        if len(data) <= COPY_BYTES and len(data) == self._reading.blob.size and not exchange.started:
            exchange.respond(self._head, bytes(data))  # one write, not two
            return len(data)
        if exchange.started:
            return exchange.take(data)
        return exchange.begin(self._head, self._reading.blob.size, data)

    def take_file(self, fd: int, at: int, count: int) -> int:
        """See store.Sink."""
        self._begin()
        return self._exchange.take_file(fd, at, count)

    async def ready(self) -> None:
        """See store.Sink."""
        await self._exchange.ready()

    def _begin(self) -> None:
        if not self._exchange.started:
            self._exchange.begin(self._head, self._reading.blob.size)
