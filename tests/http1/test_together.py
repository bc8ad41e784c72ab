"""Long answers that wait for those of other connections: all are sent in this turn of the loop, in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from tornado.web import Application

from common.read_buffer import ROOM_BYTES, ReadBuffer, read_buffer
from services.engines.local.disk import read_nowait
from services.http1 import HTTPServer, Limits, RequestContext, RequestHead
from services.http1.connection import Connection
from services.http1.phases import IDLE
from services.http1.together import _MOST, Together
from services.http1.transport import ClientTransport
from tests.http1.serving import NothingIsReady, running

SIZE = 64 << 10
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


class Wire(asyncio.Transport):
    """Notes what is done to it, and takes at most `takes` bytes."""

    def __init__(self, takes: int = 1 << 30) -> None:
        super().__init__()
        self.done: list[object] = []
        self._left = takes
        self._unsent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))
        taken = min(len(data), self._left)
        self._left -= taken
        self._unsent += len(data) - taken

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is paused."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.done.append("closed")

    def abort(self) -> None:
        self.done.append("aborted")

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.done.append("ended")


def body_of(data: bytes) -> memoryview:
    """`data` in memory that is used again."""
    body = read_buffer(SIZE)[ROOM_BYTES : ROOM_BYTES + len(data)]
    body[:] = data
    cast(ReadBuffer, body.obj).body_bytes = len(data)
    return body


def is_lent(body: memoryview) -> bool:
    return cast(ReadBuffer, body.obj).is_lent


def client_of(together: Together, takes: int = 1 << 30) -> tuple[ClientTransport, Wire]:
    wire = Wire(takes)
    return ClientTransport(wire, Limits(), 0.0, together), wire


def long_answer(letter: str) -> bytes:
    return letter.encode() * SIZE


def test_answers_of_one_turn_are_sent_one_after_the_other_before_the_loop_waits() -> None:
    async def test() -> None:
        together = Together()
        clients = [client_of(together) for _ in range(3)]
        bodies = [body_of(long_answer(letter)) for letter in "abc"]
        for (transport, wire), body in zip(clients, bodies, strict=True):
            transport.write_answer(b"head", body)
            assert not wire.done
            assert is_lent(body)  # nothing may be read into it
        await asyncio.sleep(0)
        for (_, wire), body in zip(clients, bodies, strict=True):
            assert wire.done == [b"head" + bytes(body)]
            assert not is_lent(body)

    asyncio.run(test())


def test_no_more_are_held_than_stay_in_the_processors_cache() -> None:
    async def test() -> None:
        together = Together()
        clients = [client_of(together) for _ in range(_MOST)]
        for transport, wire in clients:
            assert not wire.done
            transport.write_answer(b"head", body_of(long_answer("a")))
        assert [len(wire.done) for _, wire in clients] == [1] * _MOST  # no turn of the loop is needed

    asyncio.run(test())


def test_half_of_a_turn_is_sent_at_a_time() -> None:
    """If all of it were, the client would wait while all is read, and then we for the client."""

    async def test() -> None:
        together = Together()
        clients = [client_of(together) for _ in range(12)]
        for turn in (1, 2):
            sent = []
            for transport, _ in clients:
                transport.write_answer(b"head", body_of(long_answer("a")))
                sent.append(sum(len(wire.done) for _, wire in clients) - 12 * (turn - 1))
            await asyncio.sleep(0)
        assert sent == [0, 0, 0, 0, 0, 6, 6, 6, 6, 6, 6, 12]

    asyncio.run(test())


def test_where_a_turn_has_few_they_need_not_wait_and_find_out_when_there_are_more() -> None:
    async def test() -> None:
        together = Together()
        transport, wire = client_of(together)
        at_once = []
        for number in range(64):
            transport.write_answer(b"head", body_of(long_answer("a")))
            at_once.append(len(wire.done) > number)
            await asyncio.sleep(0)
            assert len(wire.done) == number + 1
        assert at_once.count(True) == 60
        clients = [client_of(together) for _ in range(12)]
        for _ in range(6):
            for client, _ in clients:
                client.write_answer(b"head", body_of(long_answer("a")))
            held = sum(client.held is not None for client, _ in clients)
            sent = sum(len(wire.done) for _, wire in clients)
            await asyncio.sleep(0)
        assert held == 0
        assert sent == 6 * 12
        clients[0][0].write_answer(b"head", body_of(long_answer("a")))
        assert clients[0][0].held  # for others

    asyncio.run(test())


DEEDS: dict[str, tuple[Callable[[ClientTransport], object], list[object]]] = {
    "write": (lambda of: of.write(b"next"), [b"next"]),
    "short answer": (lambda of: of.write_answer(b"he", b"ad"), [b"head"]),
    "long answer": (lambda of: of.write_answer(b"head", body_of(long_answer("b"))), []),
    "half": (lambda of: of.end_writing(), ["ended"]),
    "close": (lambda of: of.raw.close(), ["closed"]),
    "abort": (lambda of: of.raw.abort(), ["aborted"]),
    "what is unsent": (lambda of: of.unsent_bytes, []),
    "time": (lambda of: of.check_taken(1.0), []),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_nothing_overtakes_an_answer_that_waits(deed: str) -> None:
    async def test() -> None:
        transport, wire = client_of(Together())
        transport.write_answer(b"head", body_of(long_answer("a")))
        act, then = DEEDS[deed]
        act(transport)
        assert wire.done == [b"head" + long_answer("a"), *then]
        await asyncio.sleep(0)
        if deed == "long answer":
            then = [b"head" + long_answer("b")]
        assert wire.done == [b"head" + long_answer("a"), *then]  # once

    asyncio.run(test())


def test_what_the_system_does_not_take_stays_lent() -> None:
    async def test() -> None:
        transport, _ = client_of(Together(), takes=1000)
        body = body_of(long_answer("a"))
        transport.write_answer(b"head", body)
        await asyncio.sleep(0)
        assert is_lent(body)

    asyncio.run(test())


def test_memory_is_free_again_when_the_client_is_gone() -> None:
    async def test() -> None:
        transport, wire = client_of(Together())
        body = body_of(long_answer("a"))
        transport.write_answer(b"head", body)
        transport.lost(None)
        assert not is_lent(body)
        await asyncio.sleep(0)
        assert not wire.done

    asyncio.run(test())


def test_a_ready_answer_does_not_overtake_one_that_waits() -> None:
    async def test() -> None:
        server = HTTPServer(Application())
        server.quick_answer = lambda head, context: (HEAD % SIZE, body_of(long_answer("a")))
        server._the_loop()
        connection = Connection(server, RequestContext(socket.AF_INET, ("127.0.0.1", 1), "http", None))
        connection.connection_made(Wire())
        connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.phase is IDLE
        assert not connection.hears()
        await asyncio.sleep(0)
        assert connection.hears()
        connection.connection_lost(None)

    asyncio.run(test())


@pytest.mark.parametrize("way", ["uvloop", "asyncio", "plain transport"])
def test_many_clients_at_once_get_their_own_bytes_in_order(way: str, tmp_path: Path) -> None:
    bodies = [random.Random(number).randbytes(SIZE - number) for number in range(40)]
    for number, body in enumerate(bodies):
        (tmp_path / str(number)).write_bytes(body)

    def answer(head: RequestHead, context: RequestContext) -> tuple[bytes, bytes | memoryview] | None:
        path = f"{tmp_path}{head.start_line.path}"
        size = os.stat(path).st_size
        body = read_nowait.read_file_nowait(path, size)
        assert body is not None
        number = int(head.start_line.path[1:])
        return HEAD % size, bytes(body) if number % 3 == 0 else body

    answers = NothingIsReady() if way == "plain transport" else None
    with running(with_uvloop=way != "asyncio", answers=answers) as server, contextlib.ExitStack() as stack:
        server.server.quick_answer = answer
        clients = [stack.enter_context(server.connect()) for _ in range(20)]
        chosen = random.Random(7)
        for _ in range(12):
            asked = [[chosen.randrange(len(bodies)) for _ in range(chosen.randint(1, 3))] for _ in clients]
            for client, numbers in zip(clients, asked, strict=True):
                client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in numbers))
            for client, numbers in zip(clients, asked, strict=True):
                for number in numbers:
                    assert client.answer()[2] == bodies[number]
