"""Sends ready answers without the work of a transport or a parser: with our own epoll inside the event loop.

The event loop waits for one descriptor, that of our epoll. When it is readable, all readable plain
connections have one turn together. A request that has, byte for byte, a ready answer gets it at once; all
others go on through `data_received`. A request costs four calls of C (recv, a look into a dict, the check
that the answer is still valid, send), and two system calls. All requests of a turn share the clock, the
counts and the wait.
"""

from __future__ import annotations

import asyncio
import select
import socket
from time import perf_counter
from typing import Protocol

from services.http1.plain_transport import PlainProtocol, PlainTransport

_MOST = 256  # connections in one turn
_AGAIN = 4  # turns before all else in the loop has its own
_FEW = 4  # if so few connections are ready, another look at once would mostly find none


class ReadyAnswers(Protocol):
    """Whole answers by the bytes of the requests. Only on the event loop."""

    def begin_turn(self) -> None:
        """`answer_to` is going to be called for some connections."""
        ...

    def answer_to(self, data: bytes) -> bytes | None:
        """The answer to a client that has sent exactly this; None if there is no ready one.

        It must be valid now, since the request may have come a moment ago. It is sent and counted.
        """
        ...

    def end_turn(self, seconds: float) -> None:
        """The time of all answers in this turn together."""
        ...


class Turns:
    """The plain connections of one server. Raises OSError if no descriptor is left."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answers: ReadyAnswers) -> None:
        self._loop = loop
        self._answers = answers
        self._epoll = select.epoll()
        self._transports: dict[int, PlainTransport] = {}
        loop.add_reader(self._epoll.fileno(), self._ready)

    def close(self) -> None:
        """Called when there are no connections any more."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def serve(self, sock: socket.socket, protocol: PlainProtocol) -> None:
        """Serve a connection from now on; `sock` does not block, and is ours."""
        PlainTransport(self._loop, sock, protocol, self.watch)

    def watch(self, transport: PlainTransport, before: int, now: int) -> None:
        """A transport waits for other flags of epoll than before; 0: for none."""
        if not now:
            if self._transports.pop(transport.fd, None) is not None:
                self._epoll.unregister(transport.fd)
        elif before:
            self._epoll.modify(transport.fd, now)
        else:
            try:
                self._epoll.register(transport.fd, now)
            except OSError:  # the system waits for no more: the client may come again
                self._loop.call_soon(transport.abort)
            else:
                self._transports[transport.fd] = transport

    def _ready(self) -> None:
        for _ in range(_AGAIN):
            events = self._epoll.poll(0, _MOST)
            if events:
                self._turn(events)
            if len(events) < _FEW:
                return

    def _turn(self, events: list[tuple[int, int]]) -> None:
        """First send the ready answers, so that their time is measured alone; then handle the rest."""
        began_s = perf_counter()
        transports, answers, reads = self._transports, self._answers, select.EPOLLIN
        answers.begin_turn()
        answer_to = answers.answer_to
        rest: list[tuple[PlainTransport, int, bytes]] = []
        for fd, flags in events:
            transport = transports[fd]
            data = b""
            if flags == reads:
                try:
                    data = transport.recv(transport.read_bytes)
                    if data and not transport.unsent and transport.hears():
                        answer = answer_to(data)
                        if answer is not None:
                            try:
                                sent_bytes = transport.send(answer)
                            except (BlockingIOError, InterruptedError):
                                sent_bytes = 0
                            if sent_bytes < len(answer):
                                transport.keep(answer[sent_bytes:])
                            continue
                except OSError:  # nothing has come, or the client is gone: `happened` finds out
                    data = b""
                except Exception as err:  # noqa: BLE001 - as below
                    transport.fail(err)
                    continue
            rest.append((transport, flags, data))
        answers.end_turn(perf_counter() - began_s)
        for transport, flags, data in rest:
            try:
                transport.happened(flags, data)
            except Exception as err:  # noqa: BLE001 - a fault in one connection is no other's
                transport.fail(err)
