"""Messages between readers and the server arrive, also those that are under way when one of them ends."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import cast

from common.options import Config
from services.engine import Engine
from services.readers.channel import Channel
from services.readers.guest import Guest
from services.readers.rights import ToldAccess
from services.watch.request_log import RequestLog


def test_what_was_said_before_the_other_side_ended_arrives() -> None:
    """More messages with descriptors than the socket holds. Each descriptor is a client's connection,
    which must not be lost.
    """
    asyncio.run(_end_while_much_is_said())


async def _end_while_much_is_said() -> None:
    ours, theirs = socket.socketpair()
    received: list[bytes] = []
    lost = asyncio.Event()

    def receive(message: bytes, descriptors: list[int]) -> None:
        received.append(message)
        for fd in descriptors:
            os.close(fd)

    server = Channel(theirs, receive, lost.set)
    reader_lost = asyncio.Event()
    reader = Channel(ours, receive, reader_lost.set)
    said = [bytes([number]) * 300_000 for number in range(8)]
    server.end()
    for message in said:
        reader.send(message, [os.dup(ours.fileno())])
    async with asyncio.timeout(60):
        await asyncio.gather(lost.wait(), reader_lost.wait())
    assert received == said
    assert not reader.is_open


def test_what_was_said_arrives_though_the_other_side_hears_no_more() -> None:
    """A reader hands over a connection and ends, while the server is about to tell it something."""
    asyncio.run(_end_after_a_message())


async def _end_after_a_message() -> None:
    ours, theirs = socket.socketpair()
    received: list[bytes] = []
    lost = asyncio.Event()

    def receive(message: bytes, descriptors: list[int]) -> None:
        received.append(message)
        for fd in descriptors:
            os.close(fd)

    server = Channel(theirs, receive, lost.set)
    reader = Channel(ours, receive, lambda: None)
    reader.send(b"take this", [os.open("/dev/null", os.O_RDONLY)])
    reader.close()
    server.send(b"an answer")
    async with asyncio.timeout(60):
        await lost.wait()
    assert received == [b"take this"]


class ReachesItsServer:
    """An engine whose server has the other end of `sock`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def reach_server(self) -> socket.socket:
        return self._sock


def test_a_reader_that_is_told_to_stop_says_first_what_it_was_saying() -> None:
    asyncio.run(_stop_a_reader_that_speaks())


async def _stop_a_reader_that_speaks() -> None:
    ours, theirs = socket.socketpair()
    engine = cast(Engine, ReachesItsServer(ours))
    guest = Guest(engine, ToldAccess([]), RequestLog(), Config(), lambda number: None)
    running = asyncio.create_task(guest.run())
    received: list[bytes] = []
    async with asyncio.timeout(60):
        while guest._channel is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        guest._channel.send(bytes(1 << 20))  # more than the socket holds
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.sleep(0)
        lost = asyncio.Event()
        Channel(theirs, lambda message, descriptors: received.append(message), lost.set)
        await lost.wait()
    assert [len(message) for message in received[1:]] == [1 << 20]
    await asyncio.gather(running, return_exceptions=True)
