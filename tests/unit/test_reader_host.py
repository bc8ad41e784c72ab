"""The server's side of its readers, when system calls fail."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from common.options import Config
from services.access.decisions import Access
from services.engine import Sharing
from services.readers import host as hosts
from services.readers.channel import Channel
from services.readers.host import Host
from services.readers.messages import Ask, Told, decode_of_server, encode
from services.watch.request_log import RequestLog
from tests.store.test_sharing import Both


class Door(socket.socket):
    """Counts attempts to accept."""

    tries = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        return super().accept()


class Shares:
    """Stands in for what an engine shares. No reader asks for anything here."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def listen(self) -> Door:
        return self._door

    def new_rights(self) -> None: ...

    async def watch(self) -> None:
        await asyncio.Event().wait()


def test_a_reader_that_cannot_be_greeted_takes_no_descriptor_along(tmp_path: Path) -> None:
    """It asks ten times a second, where the last ones are gone."""
    both = Both(tmp_path)
    door = socket.create_server(("127.0.0.1", 0))

    async def greet() -> None:
        host = Host(both.sharing, Config(readers=1), Access(), RequestLog(), lambda *_: None, [door])
        for free in (3, 2, 1, 0):
            with few_descriptors(free) as numbers:
                if free < 3:
                    with pytest.raises(OSError, match="Too many open files"):
                        host.greet(0)
                else:
                    for fd in host.greet(0)[1]:
                        os.close(fd)
                taken = {fd for fd in numbers if _is_open(fd)}
                assert not taken

    with door:
        asyncio.run(greet())


@contextlib.contextmanager
def few_descriptors(count: int) -> Iterator[list[int]]:
    """No more than so many can be opened: their numbers."""
    with contextlib.ExitStack() as opened:
        made = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
        for fd in range(made[-1] if made else 0):
            if not _is_open(fd):
                opened.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open("/dev/null", os.O_RDONLY)  # the first number that is one too high
        os.close(lowest)
        for fd in made:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            yield made
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


class Failing(Shares):
    """Fails in a way that nobody expects."""

    rights = 1

    async def show(self, location: str) -> bool:
        raise RuntimeError("no thread is left")


def test_a_reader_has_its_answer_whatever_happens() -> None:
    """Its client waited for good."""
    asyncio.run(_ask_in_vain())


async def _ask_in_vain() -> None:
    loop = asyncio.get_running_loop()
    failures: list[object] = []
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    with Door() as door:  # nobody comes through it
        shares = cast(Sharing, Failing(door))
    host = Host(shares, Config(readers=1), Access(), RequestLog(), lambda *_: None, [])
    ours, theirs = socket.socketpair()
    reader = hosts._Reader(host, theirs)
    told: asyncio.Queue[bytes] = asyncio.Queue()
    channel = Channel(ours, lambda message, _: told.put_nowait(message), lambda: None)
    channel.send(encode(Ask(7, "foo", None)))
    async with asyncio.timeout(60):
        assert decode_of_server(await told.get()) == Told(7, False, None, 0)
        while not failures:  # and it is told of
            gc.collect()
            await asyncio.sleep(0.01)
    assert [str(err) for err in failures] == ["no thread is left"]
    channel.close()
    reader.channel.close()


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
        lambda sock, handed: None,
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
