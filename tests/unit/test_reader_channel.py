"""Messages between readers and the server arrive, also those that are under way when one of them ends."""

from __future__ import annotations

import asyncio
import os
import socket

from services.readers.channel import Channel


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
