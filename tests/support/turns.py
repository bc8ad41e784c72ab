"""How much work one client can cause in one turn of the event loop, counted: calls and bytes, not time.

A turn is what the loop does between two looks at its sockets. While it lasts every other client waits, so its
length is what one client can cost the others. Counted in calls, a turn is as long on any machine; on the
slowest one that we know, 10,000 calls take 5 ms.

The transport here gives a connection as much as uvloop's does: 256,000 bytes at once, up to 32 times in one
turn, unless the connection pauses reading.
"""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import sys
from typing import Any

from tornado.httputil import HTTPServerConnectionDelegate

from services.http1 import HTTPServer, Limits
from services.http1.connection import Connection
from services.http1.context import RequestContext
from services.http1.phases import Phase

_READ_BYTES = 256_000  # uvloop's buffer
_READS_A_TURN = 32  # libuv's bound
_MOST_TURNS = 200_000


@dataclasses.dataclass(slots=True)
class Turn:
    """What was done in one turn of the loop, or the most of each that was ever done in one."""

    calls: int = 0  # of functions, Python's and C's
    received_bytes: int = 0
    sent_bytes: int = 0


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts the work of each of its turns; `longest` has the most of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = Turn()
        self.longest = Turn()
        self.turns = 0

    def _run_once(self) -> None:
        turn = self.turn = Turn()

        def count(_frame: object, event: str, _arg: object) -> None:
            if event in ("call", "c_call"):
                turn.calls += 1

        sys.setprofile(count)
        try:
            super()._run_once()  # type: ignore[misc]
        finally:
            sys.setprofile(None)
        self.turns += 1
        most = self.longest
        most.calls = max(most.calls, turn.calls)
        most.received_bytes = max(most.received_bytes, turn.received_bytes)
        most.sent_bytes = max(most.sent_bytes, turn.sent_bytes)


class Transport(asyncio.Transport):
    """A client that sends `data` as fast as the server reads it, and takes all answers at once."""

    def __init__(self, loop: CountingLoop, connection: Connection, data: bytes) -> None:
        super().__init__({"ssl_object": object()})  # so that everything is sent through the transport
        self._loop = loop
        self._connection = connection
        self._left = memoryview(data)
        self._paused = False
        self.sent_bytes = 0
        self.first = b""
        self.closed = False
        self.quiet_turns = 0  # since bytes were last received or sent

    def feed(self) -> None:
        """Give the connection what a loop would give it in one turn."""
        own = self._connection
        waiting = own._cycle is not None and own._cycle.waiting is not None
        busy = own.resting or own.phase is Phase.ANSWER or waiting
        self.quiet_turns = 0 if busy else self.quiet_turns + 1
        for _ in range(_READS_A_TURN):
            if self._paused or self.closed or not self._left:
                return
            piece, self._left = bytes(self._left[:_READ_BYTES]), self._left[_READ_BYTES:]
            self._loop.turn.received_bytes += len(piece)
            self.quiet_turns = 0
            self._connection.data_received(piece)
            if len(piece) < _READ_BYTES:
                return

    def write(self, data: Any) -> None:
        self._loop.turn.sent_bytes += len(data)
        self.sent_bytes += len(data)
        self.first = self.first or bytes(data[:200])
        self.quiet_turns = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False


def longest_turn(
    app: HTTPServerConnectionDelegate, data: bytes, limits: Limits | None = None, at_once: Any = None
) -> tuple[Turn, bytes]:
    """The longest turn while a server of `app` reads `data` from one client; how its answers begin."""
    loop = CountingLoop()

    async def run() -> tuple[Turn, bytes]:
        server = HTTPServer(app, limits=limits or Limits())
        server.quick_answer = at_once
        server._the_loop()
        connection = Connection(server, RequestContext(socket.AF_INET, ("127.0.0.1", 1), "http", None))
        transport = Transport(loop, connection, data)
        connection.connection_made(transport)
        for _ in range(_MOST_TURNS):
            if transport.quiet_turns > 20:
                break
            transport.feed()
            await asyncio.sleep(0)
        else:
            raise AssertionError("the connection never comes to rest")
        connection.abort()
        connection.connection_lost(None)
        return loop.longest, transport.first

    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(run())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
