"""One client connection: reads requests and gives them to Tornado's delegates, one after the other.

Its phase says what it is doing, and a table has the legal steps (phases.py). Requests that a client sends
ahead wait. The server checks the time (see server.py).
"""

from __future__ import annotations

import asyncio

from tornado.httputil import HTTPInputError
from tornado.iostream import StreamClosedError
from tornado.log import gen_log

from services.http1.context import RequestContext
from services.http1.errors import Refusal, refusal_bytes
from services.http1.exchange import Exchange, failed_write
from services.http1.parser import RequestHead, check_partial_head, parse_head, skip_empty_lines
from services.http1.phases import ANSWER, ENDED, HEAD, IDLE, OVER, STEPS, IllegalStep, Phase
from services.http1.plain_transport import PlainProtocol
from services.http1.request_cycle import RequestCycle
from services.http1.server_interface import KNOWN_BYTES, Server
from services.http1.transport import ClientTransport

_CR = 13
_TOO_MANY = "Come back later: all connections are in use."
_TOO_SLOW = "Send the body faster: so many others are sending that yours was too slow to wait for."


class Connection(PlainProtocol):
    """The `server_conn` of delegates.

    `refused`: it is one too many, and its first request gets 503, unless the server makes an exception.
    """

    transport: ClientTransport

    def __init__(self, server: Server, context: RequestContext, *, refused: bool = False) -> None:
        self.context = context
        self.refused = refused
        self.clock = server.clock
        self.server = server
        self.limits = server.limits
        self.loop = asyncio.get_running_loop()
        self.phase: Phase = IDLE  # what it is doing; set by `step` alone
        self._cycle: RequestCycle | None = None  # while a request is under way
        self.pending = b""  # received and not used; set before it is connected, by another process
        self._scanned = 0  # so much of it holds no end of a head
        self._eof = False  # the client sends no more
        self._answered_quickly = False  # since time was checked
        self.resting = False  # it has done enough for one turn of the event loop
        self._linger_left_bytes = self.limits.linger_bytes

    def step(self, to: Phase) -> None:
        """Go to another phase. A step that is not in the table cuts the connection, and raises."""
        if to not in STEPS[self.phase]:
            self.transport.raw.abort()
            raise IllegalStep(f"from {self.phase.name} to {to.name}")
        self.phase = to

    # From the transport and the server.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._since = self.clock()  # when the wait began: for a head, the rest of it, after an EOF, to close
        together, is_relayed = self.server.together, self.context.is_relayed
        self.transport = ClientTransport(transport, self.limits, self._since, together, is_relayed=is_relayed)
        self.server.opened(self)
        if self.pending:
            self.step(HEAD)
            self.resting = True  # until the next turn, whatever comes before it
            self.loop.call_soon(self._next_turn)

    def hears(self) -> bool:
        self._answered_quickly = True  # or in a moment: the time of idleness begins anew
        to = self.transport
        return self.phase is IDLE and to.held is None and not (to.writing_paused or self.server.draining)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase is IDLE:
            # The path of a hot request, 4 µs in all: the bytes are those of one that was answered so before.
            head = self.server.known_heads.get(data) if len(data) <= KNOWN_BYTES else None
            if head is not None and self._answer_quickly(head):
                return
            self._since, self._answered_quickly = self.clock(), False  # a head's time: from its first byte
            self.step(HEAD)
        elif phase in ENDED:
            self._drop(data)
            return
        elif (cycle := self._cycle) is not None and cycle.body is not None:
            cycle.body.heard(self.clock())
        self.pending = self.pending + data if self.pending else data
        if phase is not ANSWER:
            self.advance()
        if len(self.pending) > self.limits.pipeline_bytes:
            self._regulate_reading()

    def eof_received(self) -> bool:
        """The client sends no more. It may still read: over TCP what is being answered is sent (True)."""
        self._eof = True
        if self.phase is IDLE or self.phase in ENDED:
            self._close()
            return False
        if not self.transport.has_halves:
            return False
        cycle = self._cycle
        if cycle is not None and cycle.body is None:
            self._since = self.clock()
            cycle.client_ended()
        elif not (self.resting or self.transport.writing_paused or (cycle and cycle.waiting)):
            self.advance()  # whole requests may be here; what is none is refused
        return True  # the rest of the request may be there, to be read later

    def refuse_plain_text(self) -> None:
        """Its client speaks plain HTTP where TLS is spoken: say so, in plain HTTP."""
        self._refuse(400, "This port speaks HTTPS: use https:// in the address.")

    def connection_lost(self, exc: Exception | None) -> None:
        self.step(Phase.CLOSED)
        self.transport.lost(exc)
        self._abandon()
        self.server.on_close(self)

    def pause_writing(self) -> None:
        self.transport.pause_writing()

    def resume_writing(self) -> None:
        self.transport.resume_writing()
        if self.phase is HEAD:
            self.loop.call_soon(self.advance)

    def close_if_idle(self, since: float) -> None:
        """Close if no request came since then; an answer in progress is the last. The server drains."""
        if self._answered_quickly:  # nobody noted when
            self._answered_quickly, self._since = False, self.clock()
        if self.phase is IDLE and self._since <= since:  # one that comes before all was taken would reset it
            (self._linger if self.transport.untaken_bytes else self._close)()

    def abort(self) -> None:
        """Cut the connection, without what is unsent."""
        self._abandon()
        self._cut()

    def closed(self) -> bool:
        """True when nothing can be written any more."""
        return self.phase in ENDED or self.transport.is_closing()

    def check_time(self, now: float) -> None:
        """Called every `limits.tick_s()`: refuse or cut off what takes too long."""
        self.transport.check_taken(now)
        phase, limits = self.phase, self.limits
        waited_s = now - self._since
        if phase in ENDED:
            if self.transport.unsent_bytes:
                self._since = now  # the time to close runs from when all was sent
            elif waited_s > limits.linger_timeout_s:
                self._cut()
        elif phase is ANSWER:
            if self._eof and waited_s > limits.half_closed_timeout_s:
                self.abort()
        elif (cycle := self._cycle) is not None:
            if cycle.body is not None and cycle.waiting is None:
                try:
                    cycle.body.check_time(now)
                except Refusal as err:
                    self.refuse_input(err)
        elif self.refused and waited_s > limits.refused_head_timeout_s:
            self._refuse(503, _TOO_MANY)
        elif phase is IDLE:
            if self._answered_quickly:
                self._answered_quickly, self._since = False, now
            elif waited_s > limits.idle_timeout_s:
                self._close()
        elif waited_s > limits.header_timeout_s and not self.transport.writing_paused:
            self._refuse(408, f"Send the head of a request within {limits.header_timeout_s:g} s.")

    def body_rate(self, now: float) -> float | None:
        """How fast the client sends its body, in bytes a second; None where that is unknown, or up to us."""
        if (cycle := self._cycle) is None or not cycle.body or cycle.waiting or self.resting:
            return None
        return cycle.body.rate(now)

    def give_way(self) -> None:
        """Refuse the body that is being read: its client is slow, and others want to send theirs."""
        self.refuse_input(Refusal(503, _TOO_SLOW, "body gives way to others"))

    # From the exchange.

    def send(self, exchange: Exchange, data: bytes) -> asyncio.Future[None]:
        """Write for `exchange`, if it is still the one in progress."""
        cycle = self._cycle  # as `serves`, one call less
        if cycle is None or cycle.exchange is not exchange or self.transport.is_closing():
            return failed_write()  # also between a failed send and the `connection_lost` that tells of it
        return self.transport.write(data) or self.server.done

    def serves(self, exchange: Exchange) -> bool:
        """Whether what `exchange` writes can still reach the client."""
        cycle = self._cycle
        return cycle is not None and cycle.exchange is exchange and not self.transport.is_closing()

    def may_keep_alive(self) -> bool:
        """Whether an answer that starts now can be followed by another (RFC 9112 section 9.3)."""
        cycle = self._cycle
        if cycle is None or self.refused or self.server.draining or (self._eof and not self.pending):
            return False
        head = cycle.exchange.head  # looked at first, which needs no call
        return head.keep_alive and (
            (cycle.body is None and not head.expects_continue) or cycle.reads_to_its_end
        )

    def leave(self, exchange: Exchange) -> tuple[ClientTransport, bytes]:
        """Give up the connection: its transport, and what came and was not used. Raises StreamClosedError."""
        if (cycle := self._cycle) is None or cycle.exchange is not exchange or self.closed():
            raise StreamClosedError
        self.step(Phase.DETACHED)
        self._cycle = None
        cycle.forget()
        self.server.on_close(self)
        return self.transport, self.pending

    def answered(self, exchange: Exchange) -> None:
        """The answer of `exchange` was written."""
        if (cycle := self._cycle) is not None and cycle.exchange is exchange:
            cycle.answered()

    # From the request cycle.

    def refuse_input(self, err: HTTPInputError) -> None:
        """Answer what was wrong: 400, unless it is our own error, which has a code."""
        code, text = 400, f"Send a valid request: {err}."
        if isinstance(err, Refusal):
            code, text = err.code, err.text
        if code in (408, 503):  # the message itself is well formed, or may be
            gen_log.info("Answered %d to %s: %s", code, self.context, err)
        else:
            gen_log.info("Malformed HTTP message from %s: %s", self.context, err)
        self._refuse(code, text)

    def advance(self) -> None:
        """Process what was received, as far as possible now."""
        try:
            if self.phase is HEAD and not self.transport.writing_paused:
                self._read_head()
            if self._cycle is not None:
                self._cycle.read_body()
        except HTTPInputError as err:
            self.refuse_input(err)
        if self.transport.reading_paused and not self.resting:
            self._regulate_reading()

    def advance_later(self) -> None:
        """Go on in the next turn, so that a client that sends many requests does not delay the others."""
        if self.pending:
            self.loop.call_soon(self.advance)

    def refuse_if_cut_short(self) -> None:
        """End the connection: more of the request is needed, but the client sends no more."""
        if self._eof:
            self._refuse(400, "Send the whole request before closing.")

    def rest(self) -> None:
        """Leave the rest of this turn of the event loop to others; libuv would read up to 8 MiB in a turn."""
        self.resting = True
        self.transport.pause_reading(True)
        self.loop.call_soon(self._next_turn)

    def next_request(self) -> None:
        """After an answer: wait for another request, or end."""
        cycle, self._cycle = self._cycle, None
        assert cycle is not None
        if not cycle.exchange.keep_alive:
            if cycle.exchange.head.keep_alive or cycle.body is not None:
                self._linger()
            else:
                self._close()  # the client sends nothing more
            return
        self._since = self.clock()
        if self.pending:
            self.step(HEAD)
            self.advance_later()
            return
        self.step(IDLE)
        if self._eof or self.server.draining:  # since the answer began, which promised to stay
            self._close()

    # A request.

    def _regulate_reading(self) -> None:
        """Stop reading ahead of the current answer; a head, which has its own limit, is read to its end."""
        # Nothing of it looked at yet: whole requests, perhaps, whose turn comes later in the loop.
        waits = self.phase is not HEAD or self.transport.writing_paused or not self._scanned
        too_much = self.resting or (waits and len(self.pending) > self.limits.pipeline_bytes)
        self.transport.pause_reading(too_much and self.phase not in ENDED)

    def _read_head(self) -> None:
        data = self.pending
        if data[0] == _CR:
            data = self.pending = skip_empty_lines(data)
        end = data.find(b"\r\n\r\n", self._scanned)
        if end < 0:
            check_partial_head(data, self._scanned, self.limits)
            self._scanned = max(0, len(data) - 3)
            if not data and not self._eof:
                self.step(IDLE)
            self.refuse_if_cut_short()
            return
        self.pending = data[end + 4 :]
        self._scanned = 0
        head = parse_head(head_bytes := data[: end + 2], self.limits)
        if self.refused and not self.server.spares(head):
            raise Refusal(503, _TOO_MANY)
        if not head.body_bytes and self._answer_quickly(head):
            if self.pending:
                self._since = self.clock()
                self.advance_later()
            else:
                self.step(IDLE)
                if not head.is_once and len(data) <= KNOWN_BYTES:
                    self.server.known_heads.add(data, head)
            return
        self._cycle = RequestCycle(self, head, head_bytes)
        self._cycle.begin()

    def _answer_quickly(self, head: RequestHead) -> bool:
        """Let the server answer without an exchange, if it can and the connection stays open afterwards."""
        server, transport = self.server, self.transport
        ask = server.quick_answer
        if ask is None or self.refused or not head.keep_alive or head.is_http10 or server.draining:
            return False
        if self._eof or transport.writing_paused or (answer := ask(head, self.context)) is None:
            return False
        self._answered_quickly = True
        transport.write_answer(*answer)
        return True

    def _next_turn(self) -> None:
        self.resting = False
        if self.pending or self._eof:
            self.advance()
        else:  # what is read next goes on by itself
            self.transport.pause_reading(False)

    def _refuse(self, code: int, text: str) -> None:
        """Answer for the application, if it has not begun to, and end the connection."""
        exchange = self._abandon()
        if self.phase in ENDED:
            return  # the application cut the connection
        if exchange is not None and exchange.started and not exchange.finished:
            self._cut()  # the answer cannot be ended in a way that tells that it is not whole
            return
        if exchange is None or not exchange.started:
            method, target = ("", "") if exchange is None else exchange.head.start_line[:2]
            self.server.tell_refused(method, target, code, self.context)
            later_s = self.limits.retry_after_s if code == 503 else None
            self.transport.write(refusal_bytes(code, text, with_body=method != "HEAD", retry_after_s=later_s))
        self._linger()

    # The end of the connection.

    def _abandon(self) -> Exchange | None:
        """End the request that is under way, if there is one: tell the application. Its exchange."""
        cycle, self._cycle = self._cycle, None
        if cycle is None:
            return None
        cycle.abandon()
        return cycle.exchange

    def _linger(self) -> None:
        """Send what is unsent, say that no more follows, and drop what still comes, for a while.

        To close at once would reset the connection if anything came unread, and the reset makes the client's
        system forget our answer before the client has seen it (RFC 9112 section 9.6).
        """
        if self._eof:
            self._close()
            return
        self.step(Phase.LINGER)
        self._since = self.clock()
        self.transport.end_writing()

    def _drop(self, data: bytes) -> None:
        """Drop what comes after the last answer."""
        self._linger_left_bytes -= len(data)
        if self._linger_left_bytes < 0:
            self._cut()
        elif len(data) >= self.limits.turn_bytes and not self.resting:
            self.rest()

    def _close(self) -> None:
        """Send what is unsent, then close. For when nothing more can come."""
        if self.phase not in OVER:
            self.step(Phase.CLOSING)
            self._since = self.clock()
        self.transport.raw.close()

    def _cut(self) -> None:
        """Close at once, without what is unsent."""
        if self.phase not in OVER:
            self.step(Phase.CLOSING)
        self.transport.raw.abort()
