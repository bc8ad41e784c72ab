"""The transport of one client: flow control in both directions, and sending without asyncio's buffer."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import sys
import termios
from collections.abc import Callable
from typing import Any, Protocol, cast

from tornado.iostream import StreamClosedError

from services.http1.limits import Limits
from services.http1.together import Together

COPY_BYTES = 64 * 1024  # to join head and body costs less than a second write, up to about here


class BodyMemory(Protocol):
    """Memory for one body after the other, with room before it for a head; the `obj` of the body's
    memoryview. `is_lent`: an answer in it is not sent yet, so another one is needed for the next body."""

    is_lent: bool

    def in_one(self, head: bytes, body: memoryview) -> bytes | memoryview:
        """`head`, and `body` behind it; a memoryview if that is in this memory."""
        ...


class ClientTransport:
    """Holds an asyncio or uvloop transport, and knows nothing of HTTP. `now`: seconds, when it was made.
    `together`: with whose answers its long ones are sent.

    `is_relayed`: it leads to a process that relays to the client, and speaks TLS with it. That process judges
    whether the client takes something: we would see its steps, which are larger than a slow client's.
    """

    __slots__ = (
        "_client_is_here",
        "_direct",
        "_drain_waiters",
        "_limits",
        "_loop",
        "_queued_bytes",
        "_raw",
        "_taken_at",
        "_taken_bytes",
        "_together",
        "_waits_directly",
        "has_halves",
        "held",
        "is_closing",
        "reading_paused",
        "writing_paused",
    )

    def __init__(
        self,
        raw: asyncio.BaseTransport,
        limits: Limits,
        now: float,
        together: Together,
        *,
        is_relayed: bool = False,
    ) -> None:
        self._raw = raw = cast(asyncio.Transport, raw)  # uvloop's is none by its type
        self._together = together
        self.held: memoryview | None = None  # an answer, until those of other connections are there, too
        self.is_closing = raw.is_closing  # True when nothing that is written is sent any more
        # Whether one direction can end before the other: not over TLS.
        self.has_halves = not is_relayed and raw.get_extra_info("ssl_object") is None
        self._client_is_here = not is_relayed
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self.writing_paused = False  # by the client, who takes no more
        self.reading_paused = False  # by us, who can take no more
        self._drain_waiters: list[asyncio.Future[None]] = []
        self._queued_bytes = 0  # given to the transport, ever
        self._taken_bytes = 0  # of these, taken by the client's system, as seen at `_taken_at`
        self._taken_at = now
        self._direct: socket.socket | None = None
        self._waits_directly = False
        raw.set_write_buffer_limits(high=limits.write_buffer_bytes)
        if hasattr(raw, "max_size"):
            # asyncio allocates so much for each read: 256 KiB, above what malloc takes from its heap.
            raw.max_size = 64 * 1024

    @property
    def raw(self) -> asyncio.Transport:
        """The transport. What is held goes first, so nothing can overtake it."""
        if self.held is not None:
            self.send_held()
        return self._raw

    def lost(self, exc: Exception | None) -> None:
        """The connection is lost: futures of waiting writes fail, and nothing is kept."""
        if self.held is not None:
            self.held.obj.is_lent = False  # type: ignore[attr-defined]
            self.held = None
        for future in self._drain_waiters:
            if not future.done():
                future.set_exception(StreamClosedError(real_error=exc))
                future.exception()  # so that nothing is logged where nobody looks
        self._drain_waiters.clear()
        if self._direct is not None:
            self._loop.remove_writer(self._direct.fileno())
            self._direct.close()
        if hasattr(self.raw, "_read_ready_cb"):
            self.raw._read_ready_cb = None  # asyncio's own reference cycle, one a connection

    def extra_info(self, name: str) -> Any:
        """As asyncio's `get_extra_info`."""
        return self._raw.get_extra_info(name)

    # Writing.

    def write(self, data: bytes) -> asyncio.Future[None] | None:
        """Write; the future is done when the unsent data is below the low-water mark; None: it is already."""
        if self.held is not None:
            self.send_held()
        self._raw.write(data)
        self._queued_bytes += len(data)
        if not self.writing_paused:
            return None
        future: asyncio.Future[None] = self._loop.create_future()
        self._drain_waiters.append(future)
        return future

    def write_answer(self, head: bytes, body: bytes | memoryview) -> None:
        """Write a whole answer. A memoryview is of a BodyMemory, and is not copied: the answer is held until
        some of other connections are sent with it, and what the system does not take of it then the transport
        keeps, perhaps in that memory.
        """
        if self.held is not None:
            self.send_held()
        if body.__class__ is memoryview:
            memory: BodyMemory = body.obj  # type: ignore[assignment]
            data = memory.in_one(head, body)
            if data.__class__ is not memoryview:
                self._raw.write(data)
            elif self._together.at_once:
                self._together.at_once -= 1
                self._raw.write(data)
                memory.is_lent = self._raw.get_write_buffer_size() > 0
            else:
                memory.is_lent = True
                self.held = data
                self._together.add(self, self._loop)
        elif len(body) <= COPY_BYTES:
            data = head + body
            self._raw.write(data)
        else:
            self.write(head)
            self.write(data := bytes(body))
            return
        self._queued_bytes += len(data)

    def send_held(self) -> None:
        """See Together."""
        data, self.held = self.held, None
        if data is not None:
            memory: BodyMemory = data.obj  # type: ignore[assignment]
            self._raw.write(data)
            memory.is_lent = self._raw.get_write_buffer_size() > 0

    def queued(self, count: int) -> None:
        """Somebody else has given so many bytes to the transport."""
        self._queued_bytes += count

    def pause_writing(self) -> None:
        """More is unsent than the high-water mark."""
        self.writing_paused = True

    def resume_writing(self) -> None:
        """Less is unsent than the low-water mark: waiting writes go on."""
        self.writing_paused = False
        for future in self._drain_waiters:
            if not future.done():
                future.set_result(None)
        self._drain_waiters.clear()

    @property
    def unsent_bytes(self) -> int:
        """Written, and not given to the system yet."""
        return self.raw.get_write_buffer_size()

    @property
    def untaken_bytes(self) -> int:
        """Written, and not taken by the client's system yet; of a transport that closes, what is unsent."""
        return self.unsent_bytes + (0 if self.is_closing() else self._in_system_bytes())

    @property
    def taken_bytes(self) -> int:
        """What the client's system has taken of all that was written."""
        return self._queued_bytes - self.unsent_bytes - self._in_system_bytes()

    def check_taken(self, now: float) -> None:
        """Cut off a client that takes nothing of what is sent, for `write_idle_timeout_s`."""
        unsent_bytes = self.raw.get_write_buffer_size()
        waits = unsent_bytes > 0 or self._waits_directly
        taken_bytes = self._queued_bytes - unsent_bytes - (self._in_system_bytes() if waits else 0)
        if not waits or taken_bytes != self._taken_bytes:
            self._taken_bytes = taken_bytes
            self._taken_at = now
        elif self._client_is_here and now - self._taken_at > self._limits.write_idle_timeout_s:
            self.raw.abort()

    # Past the transport, for bodies in buffers that are used again: what a transport has not sent yet it
    # keeps, and what it is given it copies.

    def can_send_directly(self) -> bool:
        """Whether the next methods may be used: not under TLS, or if no descriptor is left."""
        if self._direct is None:
            if self.is_closing() or self.extra_info("ssl_object") is not None:
                return False
            # A duplicate: event loops do not let others wait for the descriptor of a transport.
            with contextlib.suppress(OSError):
                self._direct = self.extra_info("socket").dup()
        return self._direct is not None

    def send_directly(self, data: memoryview | bytes, *, more: bool = False) -> int:
        """Give the system what it takes now from the beginning of `data`, without a copy; how many bytes.

        0 also while the transport has something unsent. `more`: another piece follows at once, so the system
        waits for it and sends both together. Raises StreamClosedError.
        """
        return self._sent(lambda direct: direct.send(data, socket.MSG_MORE if more else 0))

    def send_both(self, head: bytes, data: memoryview) -> int:
        """The same for `head` and then `data`, in one call; how many bytes of both together."""
        return self._sent(lambda direct: direct.sendmsg((head, data)))

    def send_file(self, fd: int, at: int, count: int) -> int:
        """The same for `count` bytes of a file from byte `at` on, which nobody may change any more: the
        system refers to its pages until the client has them, even after the file is closed."""
        return self._sent(lambda direct: os.sendfile(direct.fileno(), fd, at, count))

    def _sent(self, send: Callable[[socket.socket], int]) -> int:
        if self.is_closing():
            raise StreamClosedError
        if self.held is not None:
            self.send_held()
        if self._raw.get_write_buffer_size():
            return 0
        assert self._direct is not None  # see can_send_directly
        try:
            sent_bytes = send(self._direct)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as err:
            self.raw.abort()
            raise StreamClosedError(real_error=err) from err
        self._queued_bytes += sent_bytes
        return sent_bytes

    async def wait_to_send(self) -> None:
        """Wait until `send_directly` would take something. Raises StreamClosedError."""
        if self.is_closing():
            raise StreamClosedError
        future: asyncio.Future[None] = self._loop.create_future()
        self._drain_waiters.append(future)
        self._waits_directly = True
        direct = self._direct
        if self.raw.get_write_buffer_size() or direct is None:
            # Tell of the moment when the transport has sent all, and nothing sooner.
            self.raw.set_write_buffer_limits(high=0)
            if not self.writing_paused:
                self.resume_writing()
        else:
            self._loop.add_writer(direct.fileno(), self.resume_writing)
        try:
            await future
        finally:
            self._waits_directly = False
            if direct is not None and direct.fileno() >= 0:
                self._loop.remove_writer(direct.fileno())  # a number: uvloop keeps a socket object open
            if not self.is_closing():
                self.raw.set_write_buffer_limits(high=self._limits.write_buffer_bytes)

    # Reading, and the end.

    def pause_reading(self, pause: bool) -> None:
        """Pause reading, or go on. Costs nothing if nothing changes."""
        if pause is not self.reading_paused and not self.is_closing():
            self.reading_paused = pause
            if pause:
                self._raw.pause_reading()
            else:
                self._raw.resume_reading()

    def hand_to(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol have what comes from now on. uvloop looks at its kind when reading begins."""
        if self.is_closing():
            return
        if not self.reading_paused:
            self.raw.pause_reading()
        self.raw.set_protocol(protocol)
        if not self.reading_paused:
            self.raw.resume_reading()

    def end_writing(self) -> None:
        """Send what is unsent, then say that no more follows, and read on.

        Not under TLS, which has no such half: there the client ends it, or the time.
        """
        self.pause_reading(False)
        if self.has_halves and self.raw.can_write_eof():
            with contextlib.suppress(OSError):  # reset already
                self.raw.write_eof()

    def _in_system_bytes(self) -> int:
        """The bytes that the system has and the client has not: up to 4 MiB, which the system refills in
        large steps. Without this a steady but slow reader would seem to take nothing between two steps.
        """
        sock = self.raw.get_extra_info("socket")
        try:
            return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:  # closed meanwhile
            return 0
