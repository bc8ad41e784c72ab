"""One client connection: reads requests and gives them to Tornado's delegates, one after the other.

Waiting for a head: no exchange. Then the body, if there is one, while `_body` is set; then the answer, until
the exchange is done. What a client sends ahead waits. Time is checked from outside (see server.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from tornado.httputil import HTTPInputError
from tornado.iostream import IOStream, StreamClosedError

from services.http1.body import Body
from services.http1.dialogue import Dialogue, tell
from services.http1.errors import Refusal
from services.http1.exchange import COPY_BYTES, Exchange, failed_write
from services.http1.parser import RequestHead, check_partial_head, parse_head, skip_empty_lines
from services.http1.server_interface import Server
from services.http1.tunnel import dig

_CR = 13
# RFC 9110 section 9.3: content in these has no meaning. Applications read and drop it.
_NEEDS_NO_BODY = frozenset(("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"))
_TOO_MANY = "Come back later: all connections are in use."
_PLAIN_TEXT = "This port speaks HTTPS: use https:// in the address."
_CUT_SHORT = "Send the whole request before closing."


class Connection(Dialogue):
    """What delegates know as `server_conn`.

    `refused`: one too many. It says 503 to its first request, unless the server spares that.
    """

    def __init__(self, server: Server, context: object, *, refused: bool = False) -> None:
        super().__init__(server.limits, server.clock, context)
        self.refused = refused
        self._server = server
        self._since = self._clock()  # when the wait began: for a head, for the rest of it, after an EOF
        self._pending = b""  # received and not used
        self._scanned = 0  # so much of it holds no end of a head
        self._continue_sent = False
        self._answered_at_once = False  # since time was checked
        self._resting = False  # it has done enough for one turn of the event loop

    # From the transport and the server.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            self._drop(data)
            if len(data) >= self._limits.turn_bytes and not self._resting:
                self._rest()
            return
        if self._exchange is None:
            if not self._pending:
                # The path of a hot request, 4 µs with what the application does: the bytes are those of one
                # that was answered so before.
                head = self._server.known_heads.get(data)
                if head is not None and self._answer_at_once(head):
                    return
                self._since = self._clock()  # the time of a head runs from its first byte
        elif self._body is not None:
            self._body.heard(self._clock())
        self._pending = self._pending + data if self._pending else data
        if self._exchange is None or self._body is not None:
            self._advance()
        if len(self._pending) > self._limits.pipeline_bytes:
            self._regulate_reading()

    def eof_received(self) -> bool:
        """The client sends no more. It may still read: over TCP what is being answered is sent (True)."""
        self._eof = True
        idle = self._exchange is None and not self._pending
        if self._ending or idle or self.extra_info("ssl_object") is not None:
            return False
        if self._exchange is not None and self._body is None:
            self._since = self._clock()
            if self._delegate is None and (callback := self._exchange.take_close_callback()):
                tell(callback)
        elif self._waiting is None and not self._writing_paused and not self._resting:
            self._refuse(400, _CUT_SHORT)
        # Else the rest of the request may be there, to be read later.
        return True

    def refuse_plain_text(self) -> None:
        """Its client speaks plain HTTP where TLS is spoken: say so, in plain HTTP."""
        self._refuse(400, _PLAIN_TEXT)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._server.on_close(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._exchange is None and self._pending:
            self._loop.call_soon(self._advance)

    def close_if_idle(self) -> None:
        """Close between requests. Otherwise the answer in progress is the last, as the server is draining."""
        if self._exchange is None and not self._pending and not self._ending:
            self._close()

    def check_time(self, now: float) -> None:
        """Called every `limits.tick_s()`: refuse or cut off what takes too long."""
        self._check_channel_time(now)
        if self._ending:
            return
        waited_s = now - self._since
        limits = self._limits
        if self._exchange is None:
            if self.refused and waited_s > limits.refused_head_timeout_s:
                self._refuse(503, _TOO_MANY)
            elif self._answered_at_once and not self._pending:
                self._answered_at_once = False
                self._since = now
            elif not self._pending:
                if waited_s > limits.idle_timeout_s:
                    self._close()
            elif waited_s > limits.header_timeout_s and not self._writing_paused:
                self._refuse(408, f"Send the head of a request within {limits.header_timeout_s:g} s.")
        elif self._body is not None:
            if self._waiting is None:
                try:
                    self._body.check_time(now)
                except Refusal as err:
                    self._refuse_input(err)
        elif self._eof and waited_s > limits.half_closed_timeout_s:
            self.abort()

    def body_rate(self, now: float) -> float | None:
        """How fast the client sends its body, in bytes a second; None where that is unknown, or up to us."""
        waits_for_us = self._waiting is not None or self._resting or self._ending
        return None if self._body is None or waits_for_us else self._body.rate(now)

    def give_way(self) -> None:
        """Refuse the body that is being read: its client is slow, and others want to send theirs."""
        text = "Send the body faster: so many others are sending that yours was too slow to wait for."
        self._refuse_input(Refusal(503, text, "body gives way to others"))

    # From the exchange.

    def send(self, exchange: Exchange, data: bytes) -> asyncio.Future[None]:
        """Write for `exchange`, if it is still the one in progress."""
        if not self.serves(exchange):
            return failed_write()  # also between a failed send and the `connection_lost` that tells of it
        return self._write(data) or self._server.done

    def serves(self, exchange: Exchange) -> bool:
        return exchange is self._exchange and not self._transport.is_closing()

    def may_keep_alive(self) -> bool:
        """Whether an answer that starts now can be followed by another (RFC 9112 section 9.3)."""
        exchange = self._exchange
        if exchange is None or not exchange.head.keep_alive or self._server.draining or self.refused:
            return False
        if self._eof and not self._pending:
            return False
        if self._body is None:
            return True
        if exchange.head.expects_continue and not self._continue_sent:
            return False  # unknown whether the body comes at all (RFC 9110 section 10.1.1)
        return self._body.ends_within(len(self._pending) + self._limits.discard_bytes)

    def detach(self, exchange: Exchange) -> IOStream:
        """Give up the connection; its delegate and the server hear no more. Raises StreamClosedError."""
        if exchange is not self._exchange or self.closed():
            raise StreamClosedError
        exchange.close_callback = self._exchange = self._body = self._delegate = None
        self._ending = True
        self._server.on_close(self)
        return dig(self._loop, self._transport, self._pending)

    @property
    def pending_bytes(self) -> int:
        """So much was received and not used."""
        return len(self._pending)

    def answered(self, exchange: Exchange) -> None:
        """The answer was written. Within a call of the delegate, the caller of that goes on."""
        if exchange is self._exchange and not self._in_delegate and self._waiting is None:
            self._after_answer()

    def _tell_refused(self, method: str, target: str, code: int) -> None:
        self._server.tell_refused(method, target, code, self.context)

    # A request.

    def _advance(self) -> None:
        """Use what was received, as far as it goes now."""
        try:
            if self._exchange is None and self._pending and not self._writing_paused and not self._ending:
                self._read_head()
            if self._body is not None:
                self._read_body()
        except HTTPInputError as err:
            self._refuse_input(err)
        if self._reading_paused:
            self._regulate_reading()

    def _regulate_reading(self) -> None:
        """Stop reading ahead of what is being answered; a head, which has its own bound, is read on."""
        # Nothing of it looked at yet: whole requests, perhaps, whose turn comes later in the loop.
        waits = self._exchange is not None or self._writing_paused or not self._scanned
        too_much = self._resting or (waits and len(self._pending) > self._limits.pipeline_bytes)
        self._pause_reading(too_much and not self._ending)

    def _read_head(self) -> None:
        data = self._pending
        if data[0] == _CR:
            data = self._pending = skip_empty_lines(data)
        end = data.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            check_partial_head(data, self._scanned, self._limits)
            self._scanned = max(0, len(data) - 3)
            if self._eof:
                self._refuse(400, _CUT_SHORT)
            return
        self._pending = data[end + 4 :]
        self._scanned = 0
        head = parse_head(data[: end + 2], self._limits)
        if self.refused and not self._server.spares(head):
            raise Refusal(503, _TOO_MANY)
        if not head.body_bytes and self._answer_at_once(head):
            if self._pending:
                self._since = self._clock()
                self._loop.call_soon(self._advance)
            else:
                self._server.known_heads.add(data, head)
            return
        exchange = self._exchange = Exchange(self, head)
        if head.body_bytes:
            body = self._body = exchange.body = Body(head.body_bytes, self._limits, self._clock())
            if head.start_line.method in _NEEDS_NO_BODY:
                body.max_bytes = min(body.max_bytes, self._limits.unneeded_body_bytes)
            if not exchange.body_is_here:
                self._server.body_began(self)
            self._continue_sent = False
        self._call(self._after_headers, self._start, exchange)

    def _answer_at_once(self, head: RequestHead) -> bool:
        """Let the server answer without an exchange, if it will, where the connection stays open after it."""
        server = self._server
        if (
            self.refused
            or not head.keep_alive
            or head.is_http10
            or server.draining
            or self._eof
            or self._writing_paused
        ):
            return False
        answer = server.answer_at_once(head, self.context)
        if answer is None:
            return False
        first, body = answer
        self._answered_at_once = True
        if len(body) <= COPY_BYTES:
            first += body
        else:
            self._transport.write(first)
            self._queued_bytes += len(first)
            first = body
        self._transport.write(first)
        self._queued_bytes += len(first)
        return True

    def _start(self, exchange: Exchange) -> Awaitable[None] | None:
        head = exchange.head
        self._delegate = self._server.start_request(self, exchange)
        return self._delegate.headers_received(head.start_line, head.headers)

    def _after_headers(self) -> None:
        """The application knows the head. It has answered already, or it wants the body."""
        exchange = self._exchange
        assert exchange is not None
        if exchange.finished:
            self._after_answer()
        elif self._body is None:
            self._finish_request()
        else:
            self._body.check_declared()
            if exchange.head.expects_continue and not exchange.started and not self._pending:
                self.send(exchange, b"HTTP/1.1 100 Continue\r\n\r\n")
            self._continue_sent = True  # or the client did not wait for it

    def _read_body(self) -> None:
        """Give what came of the body to the delegate, until one has to wait for the other.

        One turn of the event loop has a bound, so that no client makes the others wait: after it, the rest is
        for the next turn.
        """
        while (body := self._body) is not None and self._waiting is None and not self._ending:
            if body.whole:
                self._body = None
                self._server.body_ended(self)
                if self._delegate is not None:
                    self._finish_request()
                else:  # answered before, and the rest was dropped
                    self._next_request()
                return
            if self._resting:
                return
            piece, self._pending = body.take(self._pending)
            if not piece and not body.whole and not body.spent:
                if self._eof:
                    self._refuse(400, _CUT_SHORT)
                return
            if piece and self._delegate is not None:
                self._call(self._after_piece, self._delegate.data_received, piece)
            if body.spent and not body.whole and self._waiting is None and not self._ending:
                self._rest()

    def _rest(self) -> None:
        """Leave the rest of this turn of the event loop to others; libuv would read up to 8 MiB in one."""
        self._resting = True
        self._pause_reading(True)
        self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._resting = False
        self._advance()

    def _after_piece(self) -> None:
        assert self._exchange is not None
        if self._exchange.finished:
            self._after_answer()

    def _finish_request(self) -> None:
        delegate, self._delegate = self._delegate, None
        assert delegate is not None
        self._call(self._after_finish, delegate.finish)

    def _after_finish(self) -> None:
        if self._exchange is not None and self._exchange.finished:
            self._next_request()

    def _after_answer(self) -> None:
        """The answer is written; the request may not be whole."""
        exchange = self._exchange
        assert exchange is not None
        if (delegate := self._delegate) is not None:
            self._delegate = None  # it does not get the rest of the body, so never `finish`
            tell(delegate.on_connection_close)
        if self._body is None:
            self._next_request()
        elif not exchange.keep_alive:
            self._end()
        elif self._pending:
            self._loop.call_soon(self._advance)

    def _next_request(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        if not exchange.keep_alive:
            self._end()
            return
        self._exchange = None
        if self._server.draining:  # since the answer began, which promised to keep the connection
            self.close_if_idle()
        self._since = self._clock()
        if self._pending:
            # Later, so that a client that sends many requests at once does not hold up the others.
            self._loop.call_soon(self._advance)
        elif self._eof:
            self._transport.close()
