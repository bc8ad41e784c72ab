"""Messages, with descriptors, over a unix stream socket that does not block.

A message is its length (4 bytes), how many descriptors come along (1), and its bytes. The descriptors are
sent with its first byte, so they arrive in the order of the messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

_FRAME = struct.Struct("<IB")
_READ_BYTES = 256 << 10
_MOST_DESCRIPTORS = 64  # of one message, and so of one read
_MOST_BYTES = 64 << 20


class Channel:
    """One side. `received` is called with each message and its descriptors, which it then owns; `lost` once,
    when the other side is gone, or has sent something that is not understood."""

    def __init__(
        self,
        sock: socket.socket,
        received: Callable[[bytes, list[int]], None],
        lost: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._received = received
        self._lost = lost
        self._in = bytearray()
        self._descriptors: list[int] = []  # that came, of messages that are not whole
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        self._waiting: list[asyncio.Future[None]] = []  # until nothing is unsent
        self.is_open = True
        self._ends = False  # the other side says no more, and reads until we close
        self._loop.add_reader(sock.fileno(), self._read)

    def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send it, now or when the other side takes it. The channel owns the descriptors from now on."""
        if not self.is_open:
            _close_all(descriptors)
            return
        frame = memoryview(_FRAME.pack(len(message), len(descriptors)) + message)
        self._out.append((frame, list(descriptors)))
        if len(self._out) == 1:
            self._write()

    @property
    def has_unsent(self) -> bool:
        """Whether the other side has not taken all yet."""
        return bool(self._out)

    async def all_sent(self) -> None:
        """Wait until the other side has taken all, or is lost."""
        if self._out:
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(future)
            await future

    def end(self) -> None:
        """Send no more: the other side then sends what it has under way, and closes."""
        with contextlib.suppress(OSError):  # it is gone
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Nothing is sent or received any more."""
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
            _close_all(self._descriptors)
            for _, descriptors in self._out:
                _close_all(descriptors)
            self._out.clear()
            self._tell_all_sent()

    def _fail(self) -> None:
        if self.is_open:
            self.close()
            self._lost()

    def _write(self) -> None:
        try:
            while self._out:
                frame, descriptors = self._out[0]
                sent_bytes = (
                    socket.send_fds(self._sock, [frame], descriptors)
                    if descriptors
                    else self._sock.send(frame)
                )
                _close_all(descriptors)
                self._out.popleft()
                if sent_bytes < len(frame):
                    self._out.appendleft((frame[sent_bytes:], []))
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._sock.fileno(), self._write)
        except OSError:
            self._loop.call_soon(self._end_of_other)  # not in the middle of who sends
        else:
            self._loop.remove_writer(self._sock.fileno())
            self._tell_all_sent()
            if self._ends:
                self._loop.call_soon(self._fail)

    def _tell_all_sent(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def _end_of_other(self) -> None:
        """It hears no more. What it said before is in our socket: connections, perhaps, of clients."""
        self.read_all()
        self._fail()

    def read_all(self) -> None:
        """Deliver what has come until now, before `close`."""
        while self.is_open and self._read():
            pass

    def _read(self) -> bool:
        """Read once; whether something came."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(
                self._sock, _READ_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._fail()
            return False
        self._descriptors += descriptors
        self._in += data
        if not data and self._out:
            self._ends = True  # once it has what we said
            self._loop.remove_reader(self._sock.fileno())
            return False
        # Where descriptors were cut off (none is left to this process), it is not known whose they were.
        if not data or flags & socket.MSG_CTRUNC or not self._deliver():
            self._fail()
            return False
        return True

    def _deliver(self) -> bool:
        """Deliver complete messages; False if what came is not one of ours."""
        while self.is_open and len(self._in) >= _FRAME.size:
            length, count = _FRAME.unpack_from(self._in)
            if length > _MOST_BYTES:
                return False
            end = _FRAME.size + length
            if len(self._in) < end:
                break
            if len(self._descriptors) < count:
                return False
            message = bytes(memoryview(self._in)[_FRAME.size : end])
            del self._in[:end]
            descriptors, self._descriptors = self._descriptors[:count], self._descriptors[count:]
            self._received(message, descriptors)
        return True


def _close_all(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)
