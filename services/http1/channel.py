"""The transport of a connection: flow control both ways, and closing so that the last words arrive."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from typing import Any, cast

from tornado.iostream import StreamClosedError

from services.http1.limits import Limits


class Channel(asyncio.Protocol):
    """The base of Connection: everything about its transport that has nothing to do with HTTP requests."""

    _transport: asyncio.Transport

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._eof = False  # the client sends no more
        self._ending = False  # all is said: what still comes is dropped
        self._lingering_since = 0.0
        self._linger_left_bytes = limits.linger_bytes
        self._reading_paused = False
        self._writing_paused = False
        self._drain_waiters: list[asyncio.Future[None]] = []
        self._queued_bytes = 0  # given to the transport, ever
        self._taken_bytes = 0  # of these, taken by the client's system, as seen at `_taken_at`
        self._taken_at = 0.0
        self._direct: socket.socket | None = None
        self._waits_directly = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's is none by its type
        transport.set_write_buffer_limits(high=self._limits.write_buffer_bytes)
        if hasattr(transport, "max_size"):
            # asyncio allocates so much for each read: 256 KiB, above what malloc takes from its heap.
            transport.max_size = 64 * 1024
        self._taken_at = self._clock()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ending = True
        for future in self._drain_waiters:
            if not future.done():
                future.set_exception(StreamClosedError(real_error=exc))
                future.exception()  # so that nothing is logged where nobody looks
        self._drain_waiters.clear()
        if self._direct is not None:
            self._loop.remove_writer(self._direct.fileno())
            self._direct.close()
        if hasattr(self._transport, "_read_ready_cb"):
            self._transport._read_ready_cb = None  # asyncio's own reference cycle, one a connection

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        for future in self._drain_waiters:
            if not future.done():
                future.set_result(None)
        self._drain_waiters.clear()

    def closed(self) -> bool:
        """True when nothing can be written any more."""
        return self._ending or self._transport.is_closing()

    def extra_info(self, name: str) -> Any:
        """As asyncio's `get_extra_info`."""
        return self._transport.get_extra_info(name)

    def _write(self, data: bytes) -> asyncio.Future[None] | None:
        """Write; the future is done when the unsent data is below the low-water mark; None: it is already."""
        self._transport.write(data)
        self._queued_bytes += len(data)
        if not self._writing_paused:
            return None
        future: asyncio.Future[None] = self._loop.create_future()
        self._drain_waiters.append(future)
        return future

    # Past the transport, for bodies in buffers that are used again: what a transport has not sent yet it
    # keeps, and what it is given it copies.

    def send_directly(self, data: memoryview) -> int:
        """Give the system what it takes now from the beginning of `data`; how many bytes, kept by nobody.

        0 also while the transport has something unsent. Not under TLS. Raises StreamClosedError.
        """
        if self.closed():
            raise StreamClosedError
        if self._transport.get_write_buffer_size():
            return 0
        if self._direct is None:
            # A duplicate: event loops do not let others wait for the descriptor of a transport.
            self._direct = self._transport.get_extra_info("socket").dup()
        try:
            sent_bytes = self._direct.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as err:
            self._cut()
            raise StreamClosedError(real_error=err) from err
        self._queued_bytes += sent_bytes
        return sent_bytes

    async def wait_to_send(self) -> None:
        """Wait until `send_directly` would take something. Raises StreamClosedError."""
        if self.closed():
            raise StreamClosedError
        future: asyncio.Future[None] = self._loop.create_future()
        self._drain_waiters.append(future)
        self._waits_directly = True
        direct = self._direct
        if self._transport.get_write_buffer_size() or direct is None:
            # Tell of the moment when the transport has sent all, and nothing sooner.
            self._transport.set_write_buffer_limits(high=0)
            if not self._writing_paused:
                self.resume_writing()
        else:
            self._loop.add_writer(direct.fileno(), self.resume_writing)
        try:
            await future
        finally:
            self._waits_directly = False
            if direct is not None and direct.fileno() >= 0:
                self._loop.remove_writer(direct.fileno())  # a number: uvloop keeps a socket object open
            if not self.closed():
                self._transport.set_write_buffer_limits(high=self._limits.write_buffer_bytes)

    def _pause_reading(self, pause: bool) -> None:
        if pause is not self._reading_paused and not self._transport.is_closing():
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _close(self) -> None:
        """Send what is unsent, then close. For when nothing more can come."""
        self._ending = True
        self._lingering_since = self._clock()
        self._transport.close()

    def _cut(self) -> None:
        """Close at once, without what is unsent."""
        self._ending = True
        self._transport.abort()

    def _linger(self) -> None:
        """Send what is unsent, say that no more follows, and drop what still comes, for a while.

        To close at once would reset the connection if anything came unread, and the reset makes the client's
        system forget our answer before the client has seen it (RFC 9112 section 9.6).
        """
        if self._eof:
            self._close()
            return
        self._pause_reading(False)
        self._ending = True
        self._lingering_since = self._clock()
        if self._transport.can_write_eof():  # not under TLS: there the client ends it, or the time
            with contextlib.suppress(OSError):  # reset already
                self._transport.write_eof()

    def _drop(self, data: bytes) -> None:
        """Take what comes while lingering."""
        self._linger_left_bytes -= len(data)
        if self._linger_left_bytes < 0:
            self._transport.abort()

    def _check_channel_time(self, now: float) -> None:
        """Cut off a client that takes nothing of what is sent, or does not close after the last answer."""
        unsent_bytes = self._transport.get_write_buffer_size()
        waits = unsent_bytes > 0 or self._waits_directly
        taken_bytes = self._queued_bytes - unsent_bytes - (self._in_system_bytes() if waits else 0)
        if not waits or taken_bytes != self._taken_bytes:
            self._taken_bytes = taken_bytes
            self._taken_at = now
        elif now - self._taken_at > self._limits.write_idle_timeout_s:
            self._transport.abort()
        if self._ending:
            if unsent_bytes:
                self._lingering_since = now  # the time to close runs from when all was sent
            elif now - self._lingering_since > self._limits.linger_timeout_s:
                self._transport.abort()

    def _in_system_bytes(self) -> int:
        """What the system took and the client did not: up to 4 MiB, asked for again in large steps only.

        Without it a steady but slow reader would seem to stand still between two steps.
        """
        sock = self._transport.get_extra_info("socket")
        try:
            return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:  # closed meanwhile
            return 0
