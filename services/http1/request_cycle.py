"""The cycle of one request with the application: the calls of its delegate, and how they can end.

Tornado's contract: a delegate that got `headers_received` later gets either `finish` or
`on_connection_close`, once. It gets no call while a future that it returned is not done. It may raise only
HTTPInputError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tornado.gen import convert_yielded
from tornado.httputil import HTTPInputError, HTTPMessageDelegate
from tornado.iostream import StreamClosedError
from tornado.log import app_log

from services.http1.body import BodyDecoder
from services.http1.body_receiver import BodyReceiver
from services.http1.exchange import Exchange
from services.http1.parser import RequestHead
from services.http1.phases import ANSWER, BODY, DISCARD, READING_BODY

if TYPE_CHECKING:
    from services.http1.connection import Connection

# For a shorter body the protocol of the transport is not changed. Chunked ones have no length.
_LENT_FROM_BYTES = 1 << 20
# RFC 9110 section 9.3: content in these has no meaning. Applications read and drop it.
_NEEDS_NO_BODY = frozenset(("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"))


@runtime_checkable
class LendsRoom(Protocol):
    """A delegate that lends memory for its body, so that the bytes are not copied on their way."""

    def room(self) -> memoryview | None:
        """Memory for the bytes that come next. None, at its first call only: it wants them all by
        `data_received`, as any other delegate."""

    def filled(self, count: int) -> Awaitable[None] | None:
        """So many bytes came into the memory that `room` gave last; in place of `data_received`."""


class RequestCycle:
    """One for each request, from its head to the end of its answer; then its connection forgets it."""

    # Class attributes are the initial values of what is rarely set, or asked for: to read one through an
    # object costs five times what it costs to read the object's own.
    body: BodyDecoder | None = None  # until it was read whole
    _delegate: HTTPMessageDelegate | None = None  # until told `finish` or `on_connection_close`
    _in_delegate = False
    _waiting_since = 0.0
    _continue_sent = False
    _comes = False  # the body did not come with its head
    _lender: LendsRoom | None = None  # the delegate, if it lends memory for the body
    _receiver: BodyReceiver | None = None  # the transport's protocol while the body comes into that memory

    def __init__(self, connection: Connection, head: RequestHead, head_bytes: bytes) -> None:
        self._connection = connection
        self.exchange = Exchange(connection, head, head_bytes)
        self.waiting: asyncio.Future[Any] | None = None  # what the delegate returned and is not done
        self._over = False  # the connection has forgotten it, and the delegate may not know yet

    def begin(self) -> None:
        """Make a delegate and tell it the head. Raises HTTPInputError."""
        connection = self._connection
        exchange = self.exchange
        head = exchange.head
        if not head.body_bytes:
            connection.step(ANSWER)
        else:
            connection.step(BODY)
            limits = connection.limits
            body = self.body = exchange.body = BodyDecoder(head.body_bytes, limits, connection.clock())
            if head.start_line.method in _NEEDS_NO_BODY:
                body.max_bytes = min(body.max_bytes, limits.unneeded_body_bytes)
            if not exchange.body_is_here:
                self._comes = True
                connection.server.body_began(connection)
        self._call(self._after_headers, self._start, exchange)

    def read_body(self) -> None:
        """Give the delegate what came of the body, until the delegate or the client must be waited for.

        The work in one turn of the event loop is limited, so that no client makes the others wait; the rest
        follows in the next turn. Raises HTTPInputError.
        """
        connection = self._connection
        while connection.phase in READING_BODY and self.waiting is None:
            body = self.body
            assert body is not None
            if body.whole:
                if self._comes:
                    self._receive_no_more()
                self.body = None
                if self._receiver is not None:
                    self._receiver = self._lender = None
                    connection.transport.hand_to(connection)
                if self._delegate is not None:
                    connection.step(ANSWER)
                    self._finish_request()
                else:  # answered before, and the rest was dropped
                    connection.next_request()
                return
            if connection.resting:
                return
            room = self.room() if self._lender is not None and connection.pending else None
            if room is not None:
                self._fill(body, room)
            else:
                piece, connection.pending = body.take(connection.pending)
                if not piece and not body.whole and not body.spent:
                    connection.refuse_if_cut_short()
                    return
                if piece and self._delegate is not None:
                    self._call(self._after_piece, self._delegate.data_received, piece)
            if body.spent and not body.whole and self.waiting is None and connection.phase in READING_BODY:
                connection.rest()

    # Of a delegate that lends memory.

    def room(self) -> memoryview | None:
        """Memory of the delegate for what the transport reads next; None: give it to the connection."""
        lender, body = self._lender, self.body
        if lender is None or body is None or self._delegate is None or self._busy:
            return None
        room = lender.room()
        return None if room is None else room[: body.left_bytes()]

    def received(self, count: int) -> None:
        """The transport has read so much into `room`."""
        connection, body = self._connection, self.body
        assert body is not None
        body.heard(connection.clock())
        try:
            self._came(body, count)
        except HTTPInputError as err:
            connection.refuse_input(err)
            return
        if self.waiting is not None:
            connection.transport.pause_reading(True)  # there is no room meanwhile
        elif body.whole:
            connection.advance()
        elif body.spent and connection.phase in READING_BODY:
            connection.rest()

    def _fill(self, body: BodyDecoder, room: memoryview) -> None:
        """Copy what came with the head, or while there was no room."""
        connection = self._connection
        count = min(len(room), len(connection.pending), connection.limits.piece_bytes)
        room[:count] = connection.pending[:count]
        connection.pending = connection.pending[count:]
        self._came(body, count)

    def _came(self, body: BodyDecoder, count: int) -> None:
        assert self._lender is not None
        body.came(count)
        self._call(self._after_piece, self._lender.filled, count)

    def _borrow(self) -> None:
        """Ask the delegate, once, whether it lends memory for the body."""
        connection, delegate = self._connection, self._delegate
        if not isinstance(delegate, LendsRoom):
            return
        if connection.transport.extra_info("ssl_object") is not None or delegate.room() is None:
            return
        self._lender, self._receiver = delegate, BodyReceiver(connection, self)
        connection.transport.hand_to(self._receiver)

    @property
    def reads_to_its_end(self) -> bool:
        """Whether the unread rest of the request is short enough to drop, so that another can follow."""
        if self.exchange.head.expects_continue and not self._continue_sent:
            return False  # unknown whether the body comes at all (RFC 9110 section 10.1.1)
        if self.body is None:
            return True
        return self.body.ends_within(len(self._connection.pending) + self._connection.limits.discard_bytes)

    def answered(self) -> None:
        """The answer was written. Within a call of the delegate, the code that made the call goes on."""
        if not (self._in_delegate or self.waiting is not None) and self._connection.phase is not DISCARD:
            self._after_answer()

    # The end, where it is not that of an answer.

    def abandon(self) -> None:
        """Tell the application that its client is gone, once, and not while it is working on something."""
        was_over, self._over = self._over, True
        if self._comes:
            self._receive_no_more()
        if self._busy:
            return
        delegate, self._delegate = self._delegate, None
        if delegate is not None:
            tell(delegate.on_connection_close)
        elif not was_over:
            self.client_ended()

    def _receive_no_more(self) -> None:
        """Of a body that did not come with its head."""
        self._connection.server.body_ended(self._connection)

    def client_ended(self) -> None:
        """Call the close callback of the application: the client is gone."""
        if self._delegate is None and (callback := self.exchange.take_close_callback()):
            tell(callback)

    def forget(self) -> None:
        """The connection leaves HTTP: the delegate hears no more."""
        self._over = True
        self.exchange.close_callback = self._delegate = None

    # Calling the delegate.

    @property
    def _busy(self) -> bool:
        return self._in_delegate or self.waiting is not None

    def _start(self, exchange: Exchange) -> Awaitable[None] | None:
        head = exchange.head
        self._delegate = self._connection.server.start_request(self._connection, exchange)
        return self._delegate.headers_received(head.start_line, head.headers)

    def _call(
        self, then: Callable[[], None], method: Callable[..., Awaitable[None] | None], *args: object
    ) -> None:
        """Call the delegate, and `then` when what it returned is done. Lets HTTPInputError through."""
        self._in_delegate = True
        try:
            result = method(*args)
        except HTTPInputError:
            self._in_delegate = False
            if self._over:
                self.abandon()
            raise
        except Exception:  # noqa: BLE001 - whatever the application raises
            self._in_delegate = False
            self._fail()
            return
        self._in_delegate = False
        if result is not None:
            self.waiting = convert_yielded(result)
            self._waiting_since = self._connection.clock()
            self.waiting.add_done_callback(partial(self._resume, then))
        elif self._over:  # cut within the call
            self.abandon()
        else:
            then()

    def _resume(self, then: Callable[[], None], future: asyncio.Future[Any]) -> None:
        """What the delegate returned is done."""
        self.waiting = None
        if self._over:  # the client went away meanwhile
            err = None if future.cancelled() else future.exception()
            if err is not None and not isinstance(err, StreamClosedError | HTTPInputError):
                app_log.error("Uncaught exception", exc_info=err)
            self.abandon()
            return
        if self.body is not None:
            self.body.waited(self._waiting_since, self._connection.clock())
        try:
            future.result()
            then()
        except HTTPInputError as err:
            self._connection.refuse_input(err)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - as above
            self._fail()
        else:
            self._connection.advance()

    def _fail(self) -> None:
        """The delegate raised something: the connection is of no use, as in Tornado's."""
        app_log.error("Uncaught exception", exc_info=True)
        self._connection.abort()
        self.abandon()  # where the delegate itself has cut the connection before

    # What follows each call.

    def _after_headers(self) -> None:
        """The application knows the head. It has answered already, or it wants the body."""
        exchange, body = self.exchange, self.body
        if exchange.finished:
            self._after_answer()
            return
        if body is not None:
            body.check_declared()
        # Also for an empty body, if it is declared: botocore takes the answer to the next request on this
        # connection for that to an empty PUT without a 100, and waits for ever.
        waits = exchange.head.expects_continue and not exchange.started and not self._connection.pending
        if waits and (body is not None or "Content-Length" in exchange.head.headers):
            self._connection.send(exchange, b"HTTP/1.1 100 Continue\r\n\r\n")
        self._continue_sent = True  # or the client did not wait for it
        if body is None:
            self._finish_request()
        elif exchange.head.body_bytes > _LENT_FROM_BYTES:
            self._borrow()

    def _after_piece(self) -> None:
        if self.exchange.finished:
            self._after_answer()

    def _finish_request(self) -> None:
        delegate, self._delegate = self._delegate, None
        assert delegate is not None
        self._call(self._after_finish, delegate.finish)

    def _after_finish(self) -> None:
        if self.exchange.finished:
            self._connection.next_request()

    def _after_answer(self) -> None:
        """The answer is written; the request may not be whole."""
        connection = self._connection
        if (delegate := self._delegate) is not None:
            self._delegate = None  # it does not get the rest of the body, so never `finish`
            tell(delegate.on_connection_close)
            if self._over:  # it has cut the connection
                return
        if self.body is None or not self.exchange.keep_alive:
            if self._comes:
                self._receive_no_more()
            connection.next_request()
        else:
            connection.step(DISCARD)
            connection.advance_later()


def tell(callback: Callable[[], None]) -> None:
    """Call a function whose exceptions are only logged."""
    try:
        callback()
    except Exception:  # noqa: BLE001 - whatever the application raises
        app_log.error("Uncaught exception", exc_info=True)
