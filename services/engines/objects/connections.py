"""HTTP/1.1 connections to the store, on the event loop itself: one request at a time on each.

An answer ends where its declared length says. If it has none, or anything else is unusual, the connection is
not used again. So the bytes of one answer are never taken for those of another.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple, cast

from common.checksum import Bytes

# An idle connection costs this, and its socket's buffers.
HEAD_BYTES = 16 << 10
# The store may close an idle connection just when a request is sent, so it is not used after this time.
IDLE_S = 4.0
_JOINED_BYTES = 64 << 10  # a longer body is sent as it is, without a copy
# Memory for bodies up to this size is used again: a small blob with its pointer, a chunk of a larger one.
_KEPT_FROM_BYTES = 256 << 10
KEPT_TO_BYTES = (1 << 20) + (64 << 10)
KEPT_BUFFERS = 16
# While so much of a body is missing, the system wakes us only when all of it is there, so that it is read in
# one piece. It wakes us sooner when its own buffer is full; Linux before 5 may not, and then none would come.
_AWAITED_BYTES = 64 << 10
_WAKES_WHEN_TOLD = sys.platform == "linux" and int(os.uname().release.partition(".")[0]) >= 5
_LOOKS_EVERY_S = 0.1  # for requests that take too long, while any is under way
# Of an answer that says that something was done, or what went wrong.
SHORT_BYTES = 1 << 20
_PLAIN_OK = b"HTTP/1.1 200 OK\r\n"
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r]")
_declared = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n").search


class NoAnswer(OSError):
    """The connection was lost, took too long, or gave no valid answer. The request may have taken effect."""


class Response(NamedTuple):
    """`head`: from the status line to the line end before the empty line; `lower`: it in lower case.

    `body` None: of unknown length.
    """

    status: int
    head: bytes
    lower: bytes
    body: Bytes | None

    def field(self, name: bytes) -> str:
        """The value of the first field of this name, given in lower case; empty where there is none."""
        return _field(self.head, self.lower, name)


class Connections:
    """Connections to `host`:`port`. Used from one event loop at a time."""

    def __init__(self, host: str, port: int, connect_timeout_s: float, timeout_s: float) -> None:
        self._host = host
        self._port = port
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._make = functools.partial(_Connection, _Buffers())
        self._idle: deque[_Connection] = deque()  # the last one used is used first
        self._busy: set[_Connection] = set()
        self._watch: asyncio.TimerHandle | None = None  # one for all requests: a timer for each costs 4 µs
        self._worked: object = None  # the address to which the last connection was made
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: AsyncIterator[None]

    async def ask(
        self, head: bytes, body: Bytes, most_bytes: int = SHORT_BYTES, within_s: float | None = None
    ) -> Response:
        """Send a request, once. Raises OSError: NoAnswer if it was sent, also if the answer's body is longer
        than `most_bytes`, or does not come `within_s`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            await self._begin(loop)
        end = loop.time() + (within_s if within_s is not None else self._timeout_s)
        connection = self._take_idle(loop) or await self._connect(loop)
        connection.busy_until = end
        self._busy.add(connection)
        if self._watch is None:
            self._watch_busy(loop)
        try:
            answer = await connection.ask(loop, head, body, most_bytes)
        except BaseException:
            connection.give_up("given up")  # an answer may be on its way
            raise
        finally:
            self._busy.discard(connection)
        if connection.is_reusable:
            connection.idle_since = loop.time()
            self._idle.append(connection)
            # What a burst has left is closed, one connection a request, also if others are used all the time.
            if connection.idle_since - self._idle[0].idle_since >= IDLE_S:
                self._idle.popleft().give_up("idle")
        return answer

    def _watch_busy(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what takes too long, looking again and again while anything is under way.

        Idle connections are closed, too: they may lead to the same machine, which gives no answer.
        """
        now = loop.time()
        for connection in [one for one in self._busy if one.busy_until <= now]:
            connection.give_up("the store took too long")
            self._close()
        self._watch = loop.call_later(_LOOKS_EVERY_S, self._watch_busy, loop) if self._busy else None

    async def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._idle.clear()  # those of a loop that has ended
        self._busy.clear()
        self._watch = None
        self._loop = loop
        self._end = self._until_the_loop_ends()
        await anext(self._end)

    async def _until_the_loop_ends(self) -> AsyncIterator[None]:
        """Closes idle connections when asyncio.run ends, which ends unfinished generators."""
        try:
            yield
        finally:
            self._close()

    def _close(self) -> None:
        for connection in self._idle:
            connection.give_up("closed")
        self._idle.clear()

    def _take_idle(self, loop: asyncio.AbstractEventLoop) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_reusable:
                continue
            if loop.time() - connection.idle_since < IDLE_S:
                return connection
            connection.give_up("idle")
            self._close()  # all others were idle for longer
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        """To the first address that answers. Each has its share of the time, so that none takes all of it."""
        end = loop.time() + self._connect_timeout_s
        try:
            async with asyncio.timeout_at(end):
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            addresses = sorted(
                {one[4]: one[0] for one in found}.items(), key=lambda one: one[0] != self._worked
            )
            for left in range(len(addresses), 0, -1):
                address, family = addresses[-left]
                try:
                    async with asyncio.timeout((end - loop.time()) / left):
                        host, port = str(address[0]), int(address[1])
                        made = await loop.create_connection(self._make, host, port, family=family)
                except OSError:  # TimeoutError is one
                    if left == 1:
                        raise
                else:
                    self._worked = address
                    return made[1]
        except TimeoutError as err:
            raise TimeoutError("no connection to the store within the time for it") from err
        raise OSError(f"{self._host} has no address")


class _Buffers:
    """Memory for bodies. To map and to clear a new MiB takes a tenth of the time of its GET."""

    def __init__(self) -> None:
        self._kept: list[bytearray] = []

    def take(self, length: int) -> memoryview:
        """`length` bytes, and one more, that nobody else uses, as long as anybody refers to them."""
        if not _KEPT_FROM_BYTES <= length <= KEPT_TO_BYTES:
            return memoryview(bytearray(length + 1))
        found = next(filter(_is_free, self._kept), None)
        if found is None:
            found = bytearray(KEPT_TO_BYTES + 1)
            if len(self._kept) < KEPT_BUFFERS:
                self._kept.append(found)
        return memoryview(found)[: length + 1]


def _is_free(buffer: bytearray) -> bool:
    """Whether no memoryview refers to it: while one does, Python does not allow to change its length."""
    try:
        buffer.pop()
    except BufferError:
        return False
    buffer.append(0)
    return True


class _Connection(asyncio.BufferedProtocol):
    """Reads the head into a buffer of its own, and then the rest directly into the body."""

    def __init__(self, buffers: _Buffers) -> None:
        self._buffers = buffers
        self.idle_since = 0.0  # the loop's time
        self.busy_until = 0.0  # then its request has taken too long
        self.is_reusable = False
        self._transport: asyncio.Transport | None = None
        self._read = bytearray(HEAD_BYTES)
        self._view = memoryview(self._read)
        self._filled = 0  # bytes of the buffer, then of the body
        self._asked: asyncio.Future[Response] | None = None
        # An answer whose body is not whole, and where its body goes. That has room for one byte more: the
        # loop reads again at once after a read that fills all room, and would find nothing.
        self._begun: tuple[Response, memoryview] | None = None
        self._most_bytes = 0
        self._socket: socket.socket | None = None
        self._wakes_at_bytes = 1

    def ask(
        self, loop: asyncio.AbstractEventLoop, head: bytes, body: Bytes, most_bytes: int
    ) -> asyncio.Future[Response]:
        """The answer, whose body has up to `most_bytes`. Raises NoAnswer."""
        transport = self._transport
        if transport is None:
            raise NoAnswer("the store closed the connection at once")
        self.is_reusable = False
        self._filled = 0
        self._most_bytes = most_bytes
        self._asked = loop.create_future()
        if len(body) <= _JOINED_BYTES:
            transport.write(head + body if body else head)
        else:
            transport.write(head)
            transport.write(body)
        return self._asked

    def give_up(self, reason: str) -> None:
        """Cut the connection; a request that waits for an answer fails."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(NoAnswer(reason))

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See BaseProtocol."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See BaseProtocol."""
        self._transport = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.give_up(f"the store closed the connection{f': {exc}' if exc else ''}")

    def get_buffer(self, sizehint: int) -> memoryview:
        """See BufferedProtocol."""
        return (self._view if self._begun is None else self._begun[1])[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """See BufferedProtocol."""
        self._filled += nbytes
        if self._asked is None or self._asked.done():
            self.give_up("the store says what nobody has asked")
        elif self._begun is None:
            self._read_head(self._asked)
        else:
            missing = len(self._begun[1]) - 1 - self._filled
            if missing > 0:
                self._await(missing)
                return
            answer, _ = self._begun
            self._begun = None
            self._await(1)
            self._answer(self._asked, answer, ends_here=not missing)

    def _read_head(self, asked: asyncio.Future[Response]) -> None:
        while True:
            end = self._read.find(b"\r\n\r\n", 0, self._filled)
            if end < 0:
                if self._filled == HEAD_BYTES:
                    self.give_up("the head of the store's answer is too long")
                return
            head = bytes(self._view[: end + 2])
            status = 200 if head.startswith(_PLAIN_OK) else _status(head)
            if not status:
                self.give_up("the store's answer is not of HTTP/1.1")
                return
            if status >= 200:
                break
            # 100 Continue and its like announce the answer (RFC 9110 section 15.2).
            rest = bytes(self._view[end + 4 : self._filled])
            self._view[: len(rest)] = rest
            self._filled = len(rest)
        lower = head.lower()
        if status == 304:  # it has no body, whatever length it declares (RFC 9110 section 15.4.5)
            is_plain = self._filled == end + 4 and b"\r\ntransfer-encoding" not in lower
            self._answer(asked, Response(status, head, lower, b""), ends_here=is_plain)
            return
        declared = _declared(lower)
        unclear = b"\r\ntransfer-encoding" in lower or lower.count(b"\r\ncontent-length") != 1
        if unclear or declared is None:
            self._answer(asked, Response(status, head, lower, None), ends_here=False)
            return
        begin, length = end + 4, int(declared[1])
        if length > self._most_bytes:
            self.give_up("the store's answer is longer than what was asked for")
            return
        here = self._filled - begin
        if here < length:
            room = self._buffers.take(length)
            room[:here] = self._view[begin : self._filled]
            self._filled = here
            self._begun = Response(status, head, lower, room[:length]), room
            self._await(length - here)
            return
        answer = Response(status, head, lower, bytes(self._view[begin : begin + length]))
        self._answer(asked, answer, ends_here=here == length)

    def _await(self, missing: int) -> None:
        """Be woken when `missing` bytes are there, if they are many; never at more, which would not come."""
        wakes_at = min(missing, KEPT_TO_BYTES) if missing >= _AWAITED_BYTES else 1
        if wakes_at == self._wakes_at_bytes or self._transport is None or not _WAKES_WHEN_TOLD:
            return
        with contextlib.suppress(OSError):  # no descriptor is left, or the connection is lost: it is not told
            if self._socket is None:
                # A duplicate: the loop's own makes a new object for each call.
                self._socket = self._transport.get_extra_info("socket").dup()
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wakes_at)
            self._wakes_at_bytes = wakes_at

    def _answer(self, asked: asyncio.Future[Response], answer: Response, *, ends_here: bool) -> None:
        transport = self._transport
        self.is_reusable = (
            ends_here
            and transport is not None
            and not transport.get_write_buffer_size()  # it answered before it had read the whole request
            and answer.head.startswith(b"HTTP/1.1 ")
            and not (b"\r\nconnection:" in answer.lower and "close" in answer.field(b"connection").lower())
        )
        self._filled = 0
        asked.set_result(answer)
        if not self.is_reusable:
            self.give_up("used up")


def _status(head: bytes) -> int:
    """The status of an answer; 0 if it is none that can be read. 101 would leave HTTP."""
    found = _STATUS_LINE.match(head)
    return int(found[1]) if found is not None and found[1] != b"101" else 0


def _field(head: bytes, lower: bytes, name: bytes) -> str:
    """`lower`: `head` in lower case."""
    at = lower.find(b"\r\n" + name + b":")
    if at < 0:
        return ""
    begin = at + len(name) + 3
    return head[begin : head.index(b"\r\n", begin)].strip().decode("latin1")
