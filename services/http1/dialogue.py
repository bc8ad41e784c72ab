"""The dialogue with the application about one request: calling its delegate, and how the dialogue can end.

Tornado's contract: a delegate that got `headers_received` gets either `finish` or `on_connection_close`,
once; nothing while something that it returned is not done; and only HTTPInputError may come out of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from tornado.gen import convert_yielded
from tornado.httputil import HTTPInputError, HTTPMessageDelegate
from tornado.iostream import StreamClosedError
from tornado.log import app_log, gen_log

from services.http1.body import Body
from services.http1.channel import Channel
from services.http1.errors import Refusal, refusal_bytes
from services.http1.exchange import Exchange
from services.http1.limits import Limits


class Dialogue(Channel):
    """The base of Connection: everything about the application's side of a request."""

    def __init__(self, limits: Limits, clock: Callable[[], float], context: object) -> None:
        super().__init__(limits, clock)
        self.context = context
        self._exchange: Exchange | None = None  # from the head of a request to the end of its answer
        self._body: Body | None = None  # until it was read whole
        self._delegate: HTTPMessageDelegate | None = None  # until told `finish` or `on_connection_close`
        self._in_delegate = False
        self._waiting: asyncio.Future[Any] | None = None  # what the delegate returned and is not done
        self._waiting_since = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._abandon()

    def abort(self) -> None:
        """Cut the connection, without what is unsent."""
        self._abandon()
        self._cut()

    def _advance(self) -> None:
        """Use what was received, as far as it goes now."""
        raise NotImplementedError

    def _tell_refused(self, method: str, target: str, code: int) -> None:
        """For whoever counts: we answered by ourselves. Empty texts where no head was read."""
        raise NotImplementedError

    def _call(
        self, then: Callable[[], None], method: Callable[..., Awaitable[None] | None], *args: object
    ) -> None:
        """Call the delegate, and `then` when what it returned is done. Lets HTTPInputError through."""
        self._in_delegate = True
        try:
            result = method(*args)
        except HTTPInputError:
            raise
        except Exception:  # noqa: BLE001 - whatever the application raises
            self._fail()
            return
        finally:
            self._in_delegate = False
        if result is not None:
            self._waiting = convert_yielded(result)
            self._waiting_since = self._clock()
            self._waiting.add_done_callback(partial(self._resume, then))
        elif self._exchange is None:  # cut within the call
            self._abandon()
        else:
            then()

    def _resume(self, then: Callable[[], None], future: asyncio.Future[Any]) -> None:
        """What the delegate returned is done."""
        self._waiting = None
        if self._exchange is None:  # the client went away meanwhile
            err = None if future.cancelled() else future.exception()
            if err is not None and not isinstance(err, StreamClosedError | HTTPInputError):
                app_log.error("Uncaught exception", exc_info=err)
            self._abandon()
            return
        if self._body is not None:
            self._body.waited(self._waiting_since, self._clock())
        try:
            future.result()
            then()
        except HTTPInputError as err:
            self._refuse_input(err)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - as above
            self._fail()
        else:
            self._advance()

    def _fail(self) -> None:
        """The delegate raised something: the connection is of no use, as in Tornado's."""
        app_log.error("Uncaught exception", exc_info=True)
        self.abort()

    def _abandon(self) -> None:
        """Tell the application that its client is gone, once, and not while it is working on something."""
        exchange, self._exchange = self._exchange, None
        if self._waiting is not None or self._in_delegate:
            return
        delegate, self._delegate = self._delegate, None
        if delegate is not None:
            tell(delegate.on_connection_close)
        elif exchange is not None and (callback := exchange.take_close_callback()):
            tell(callback)

    def _end(self) -> None:
        """After the last answer."""
        exchange = self._exchange
        assert exchange is not None
        self._exchange = None
        if not exchange.head.keep_alive and self._body is None:
            self._close()  # the client sends nothing more
        else:
            self._linger()

    def _refuse_input(self, err: HTTPInputError) -> None:
        """Answer what was wrong: 400, unless it is our own error, which has a code."""
        if isinstance(err, Refusal):
            if err.code in (408, 503):  # the message itself is well formed, or may be
                gen_log.info("Answered %d to %s: %s", err.code, self.context, err)
            else:
                gen_log.info("Malformed HTTP message from %s: %s", self.context, err)
            self._refuse(err.code, err.text)
        else:
            gen_log.info("Malformed HTTP message from %s: %s", self.context, err)
            self._refuse(400, f"Send a valid request: {err}.")

    def _refuse(self, code: int, text: str) -> None:
        """Answer for the application, if it has not begun to, and end the connection."""
        exchange = self._exchange
        self._abandon()
        if exchange is not None and exchange.started and not exchange.finished:
            self._cut()  # the answer cannot be ended in a way that tells that it is not whole
            return
        if exchange is None or not exchange.started:
            to_head = exchange is not None and exchange.head.start_line.method == "HEAD"
            retry_after_s = self._limits.retry_after_s if code == 503 else None
            asked = None if exchange is None else exchange.head.start_line
            self._tell_refused(asked.method if asked else "", asked.path if asked else "", code)
            self._write(refusal_bytes(code, text, with_body=not to_head, retry_after_s=retry_after_s))
        self._linger()


def tell(callback: Callable[[], None]) -> None:
    """Call what must not stop us by raising."""
    try:
        callback()
    except Exception:  # noqa: BLE001 - whatever the application raises
        app_log.error("Uncaught exception", exc_info=True)
