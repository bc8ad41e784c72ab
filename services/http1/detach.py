"""Connections that leave HTTP: `RequestHandler.detach`, and so Tornado's websockets, get an IOStream.

The IOStream is one end of a socket pair. The bytes are copied between the other end and the client's
transport. That works under TLS, with uvloop, and with answers that are not sent yet.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from tornado.iostream import IOStream

from services.http1.transport import ClientTransport

_LAST_BYTES_S = 30.0  # for what is unsent when one end closes


class Relay(asyncio.Protocol):
    """Carries what its own transport receives to the other one, no faster than that one takes it.

    `early`: received before the other end was there. `carried` is told how many bytes each time.
    """

    def __init__(self, early: bytes = b"", carried: Callable[[int], None] = lambda count: None) -> None:
        self._early = early
        self._carried = carried
        self._other: asyncio.Transport | None = None
        self._own: asyncio.Transport | None = None
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._own = cast(asyncio.Transport, transport)

    def link(self, own: asyncio.Transport, other: asyncio.Transport) -> None:
        """Begin to carry."""
        self._own, self._other = own, other
        if self._early:
            other.write(self._early)
            self._early = b""
        if self._ended:
            other.close()

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early += data
        else:
            self._other.write(data)
            self._carried(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        other, self._own, self._other = self._other, None, None
        if other is not None:
            other.close()  # what is unsent is sent first
            if other.get_write_buffer_size():
                asyncio.get_running_loop().call_later(_LAST_BYTES_S, other.abort)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.resume_reading()


def detach(outer: ClientTransport, received: bytes) -> IOStream:
    """The IOStream of the client behind `outer`, beginning with what was `received` from it and not used."""
    ours, theirs = socket.socketpair()
    _relay(outer.raw, Relay(received), Relay(), ours)
    return IOStream(theirs)


def relay(client: ClientTransport, ours: socket.socket) -> None:
    """Carry between the client and the other end of `ours`, until one of them closes.

    What the client is sent counts as sent by `client`, which can tell whether it is taken.
    """
    _relay(client.raw, Relay(), Relay(carried=client.queued), ours)


def _relay(outer: asyncio.Transport, to_inner: Relay, to_outer: Relay, ours: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ours.setblocking(False)
    outer.set_protocol(to_inner)
    outer.resume_reading()
    task = loop.create_task(_link(loop, ours, outer, to_inner, to_outer))
    task.add_done_callback(lambda done: done.result())  # keeps it until then, and tells what went wrong


async def _link(
    loop: asyncio.AbstractEventLoop,
    sock: socket.socket,
    outer: asyncio.Transport,
    inward: Relay,
    outward: Relay,
) -> None:
    inner, _ = await loop.connect_accepted_socket(lambda: outward, sock)
    inward.link(outer, inner)
    outward.link(inner, outer)
