"""The transport of a plain connection whose descriptor `Turns` waits for, in place of the event loop.

It obeys asyncio's rules for transports. Data is sent to the system at once; what the system does not take is
kept, and sent when there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import select
import socket
from collections.abc import Callable
from typing import Any

_HIGH_BYTES = 64 << 10  # asyncio's own high-water mark
READ_BYTES = 64 << 10  # a request, mostly; to ask for less saves nothing
_READ_MORE_BYTES = 256 << 10  # while a body comes

Watch = Callable[["PlainTransport", int, int], None]
"""See Turns.watch."""


class TransportState(enum.Enum):
    """What is still to be done."""

    OPEN = "reads, where it is not paused, and sends"
    CLOSING = "sends what is unsent, and reads nothing more"
    LOST = "neither; the protocol is told, or will be in the next turn of the loop"


_OPEN, _CLOSING, _LOST = TransportState  # a member of an enum costs 90 ns in Python 3.11


class PlainProtocol(asyncio.Protocol):
    """The protocol of such a connection."""

    def hears(self) -> bool:
        """Bytes have come. Whether nothing earlier is under way, so that a ready answer may be sent; else
        `data_received` is called with them."""
        raise NotImplementedError


class PlainTransport(asyncio.Transport):
    """`sock`: non-blocking, ours from now on. `watch` is called when the awaited flags change."""

    __slots__ = (
        "_ended",
        "_high_bytes",
        "_into",
        "_is_paused",
        "_loop",
        "_low_bytes",
        "_protocol",
        "_sock",
        "_state",
        "_watch",
        "_writes_end",
        "_writing_paused",
        "fd",
        "hears",
        "read_bytes",
        "recv",
        "send",
        "unsent",
        "waits_for",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: PlainProtocol, watch: Watch
    ) -> None:
        super().__init__()
        self._loop = loop
        self._sock = sock
        self._watch = watch
        self._state = _OPEN
        self._is_paused = False  # by the protocol, which takes no more
        self._ended = False  # the client sends no more
        self._writes_end = False  # we send no more
        self._writing_paused = False  # the protocol was told that more is unsent than the high-water mark
        self._high_bytes, self._low_bytes = _HIGH_BYTES, _HIGH_BYTES // 4
        self.fd = sock.fileno()
        self.recv: Callable[[int], bytes] = sock.recv
        self.send = sock.send  # for `Turns`: no call of ours in between
        self.read_bytes = READ_BYTES
        self.unsent = bytearray()
        self.waits_for = 0  # of epoll's flags
        self._protocol: asyncio.Protocol | asyncio.BufferedProtocol = protocol
        self._into: asyncio.BufferedProtocol | None = None  # the protocol, if it has memory of its own
        self.hears = protocol.hears
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):  # reset already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol.connection_made(self)
        self._wait()

    # asyncio's interface.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._sock if name == "socket" else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol)
        self._protocol = protocol
        self._into = protocol if isinstance(protocol, asyncio.BufferedProtocol) else None
        self.recv = self._sock.recv if self._into is None else _nothing_yet
        self.hears = protocol.hears if isinstance(protocol, PlainProtocol) else _never

    def is_closing(self) -> bool:
        return self._state is not _OPEN

    def pause_reading(self) -> None:
        self._is_paused = True
        self._wait()

    def resume_reading(self) -> None:
        self._is_paused = False
        self._wait()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high_bytes = _HIGH_BYTES if high is None else high
        self._low_bytes = self._high_bytes // 4 if low is None else low
        self._regulate_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._state is _LOST:
            return
        sent_bytes = 0
        if not self.unsent:
            try:
                sent_bytes = self.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as err:
                self._lose(err)
                return
        if sent_bytes < len(data):
            self.keep(memoryview(data)[sent_bytes:])

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Raises OSError where the connection was reset."""
        self._writes_end = True
        if not self.unsent and self._state is not _LOST:
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if self._state is _OPEN:
            self._state = _CLOSING
            self._wait()
            if not self.unsent:
                self._lose(None)

    def abort(self) -> None:
        self._lose(None)

    # For `Turns`.

    def keep(self, data: bytes | memoryview) -> None:
        """Send it as soon as the system takes it: what it did not take now."""
        self.unsent += data
        self._wait()
        self._regulate_writing()

    def happened(self, flags: int, data: bytes) -> None:
        """epoll has told us of `flags`; `data`: what was read already. Raises what the protocol raises."""
        if data:
            if self._state is _OPEN:
                self._received(data)
        elif self.waits_for & select.EPOLLIN and flags & ~select.EPOLLOUT:  # errors and ends, too
            self._read()
        if self.waits_for & select.EPOLLOUT and flags & ~select.EPOLLIN:
            self._flush()

    def fail(self, err: BaseException) -> None:
        """The protocol raised an exception: cut the connection."""
        about = {"message": "a connection failed", "exception": err, "transport": self}
        self._loop.call_exception_handler(about)
        self._lose(err if isinstance(err, Exception) else None)

    # The rest is our own.

    def _read(self) -> None:
        into, data = self._into, b""
        try:
            if into is None:
                data = self.recv(self.read_bytes)
            count = len(data) if into is None else self._sock.recv_into(into.get_buffer(-1))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as err:
            self._lose(err)
            return
        if count:
            self._received(data) if into is None else into.buffer_updated(count)
            return
        self._ended = True
        self._wait()
        if not self._protocol.eof_received():
            self.close()

    def _received(self, data: bytes) -> None:
        self.read_bytes = READ_BYTES if len(data) < READ_BYTES else _READ_MORE_BYTES
        assert isinstance(self._protocol, asyncio.Protocol)
        self._protocol.data_received(data)

    def _flush(self) -> None:
        try:
            sent_bytes = self.send(self.unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as err:
            self._lose(err)
            return
        del self.unsent[:sent_bytes]
        self._wait()
        self._regulate_writing()
        if self.unsent:
            return
        if self._state is _CLOSING:
            self._lose(None)
        elif self._writes_end:
            with contextlib.suppress(OSError):  # reset: reading says so
                self._sock.shutdown(socket.SHUT_WR)

    def _regulate_writing(self) -> None:
        if self._writing_paused and len(self.unsent) <= self._low_bytes:
            self._writing_paused = False
            self._protocol.resume_writing()
        elif not self._writing_paused and len(self.unsent) > self._high_bytes:
            self._writing_paused = True
            self._protocol.pause_writing()

    def _lose(self, err: Exception | None) -> None:
        """End the connection, and drop unsent data. The protocol hears of it in the next turn."""
        if self._state is not _LOST:
            self._state = _LOST
            self.unsent.clear()
            self._wait()
            self._loop.call_soon(self._end, err)

    def _end(self, err: Exception | None) -> None:
        try:
            self._protocol.connection_lost(err)
        finally:
            self._sock.close()
            self._protocol, self.hears = _NOBODY, _never  # no circle of references

    def _wait(self) -> None:
        """Wait in epoll for what we can use now. If that is nothing it must not wait, since errors would be
        reported again and again."""
        reads = self._state is _OPEN and not (self._is_paused or self._ended)
        flags = (select.EPOLLIN if reads else 0) | (select.EPOLLOUT if self.unsent else 0)
        if flags != self.waits_for:
            before, self.waits_for = self.waits_for, flags
            self._watch(self, before, flags)


_NOBODY = asyncio.Protocol()


def _never() -> bool:
    return False


def _nothing_yet(_count: int) -> bytes:
    """In place of `recv`, of a transport that reads into its protocol's memory."""
    raise BlockingIOError
