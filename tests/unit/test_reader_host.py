"""The server's side of its readers, where the system does not help."""

from __future__ import annotations

import asyncio
import resource
import socket
from typing import cast

from common.options import Config
from services.access.decisions import Access
from services.engine import Sharing
from services.readers import host as hosts
from services.readers.host import Host
from services.watch.request_log import RequestLog


class Door(socket.socket):
    """Counts how often somebody wanted to accept."""

    tries = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        return super().accept()


class Shares:
    """Where nothing is asked for."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def listen(self) -> Door:
        return self._door

    def new_rights(self) -> None: ...

    async def watch(self) -> None:
        await asyncio.Event().wait()


def test_a_reader_that_no_descriptor_is_left_for_waits_and_costs_no_turn_of_the_loop() -> None:
    asyncio.run(_come_while_there_is_none())


async def _come_while_there_is_none() -> None:
    door = Door(socket.AF_UNIX)
    door.bind("")  # an abstract name, which the kernel chooses
    door.listen()
    door.setblocking(False)
    host = Host(
        cast(Sharing, Shares(door)),
        Config(readers=1),
        Access(),
        RequestLog(),
        lambda sock, data, ip: None,
        [],
    )
    host.start()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as reader:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            reader.connect(door.getsockname())
            for _ in range(50):
                await asyncio.sleep(0)
            assert door.tries == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        async with asyncio.timeout(60):
            while not host._coming:  # noqa: ASYNC110
                await asyncio.sleep(hosts._ACCEPT_PAUSE_S / 10)
        assert door.tries == 2
    await host.close()
