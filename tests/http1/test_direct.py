"""Bodies are sent from buffers that are used again. Every byte must be right, for fast and slow readers."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from services.http1 import Exchange
from tests.http1.serving import (
    NothingIsReady,
    Running,
    ordinary_app,
    running,
    take_a_little_for_ten_minutes,
    wait_until,
)

MIB = 1 << 20
BLOCKS = [os.urandom(MIB) for _ in range(8)]
BODY = b"".join(BLOCKS)


class Direct(RequestHandler):
    """Sends BODY through one buffer, which is overwritten as soon as its bytes are taken."""

    left = 0
    waiting = 0

    async def get(self) -> None:
        exchange = self.request.connection
        assert isinstance(exchange, Exchange)
        assert exchange.sends_directly
        self.set_header("Content-Length", str(len(BODY)))
        self.flush()
        buffer = bytearray(MIB)
        try:
            for block in BLOCKS:
                at = 0
                while at < MIB:
                    buffer[:] = block
                    at += exchange.take(memoryview(buffer)[at:])
                    buffer[:] = bytes(MIB)
                    if at < MIB:
                        type(self).waiting += 1
                        await exchange.ready()
                        type(self).waiting -= 1
                await asyncio.sleep(0)
        except StreamClosedError:
            type(self).left += 1


class TooMuch(RequestHandler):
    async def get(self) -> None:
        exchange = self.request.connection
        assert isinstance(exchange, Exchange)
        assert exchange.sends_directly
        self.set_header("Content-Length", "3")
        await self.flush()
        exchange.take(memoryview(b"four"))


@pytest.fixture(params=["uvloop", "asyncio", "turns"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    app = ordinary_app((r"/direct", Direct), (r"/much", TooMuch))
    answers = NothingIsReady() if request.param == "turns" else None
    with running(
        app, with_uvloop=request.param != "asyncio", answers=answers, write_idle_timeout_s=60
    ) as made:
        Direct.left = Direct.waiting = 0
        yield made


GET = b"GET /direct HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_fast_reader_gets_every_byte_and_the_connection_goes_on(server: Running) -> None:
    with server.connect() as client:
        client.send(GET + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        for expected in (BODY, b"GET /next ", BODY):
            _, fields, body = client.answer()
            assert hashlib.sha256(body).digest() == hashlib.sha256(expected).digest()
            assert "transfer-encoding" not in fields


def test_slow_readers_get_every_byte_too(server: Running) -> None:
    def read(_: int) -> bytes:
        with server.connect(SO_RCVBUF=65536) as client:
            client.send(GET)
            time.sleep(0.2)
            return client.answer()[2]

    with ThreadPoolExecutor(5) as clients:
        assert list(clients.map(read, range(5))) == [BODY] * 5


def test_a_reader_that_takes_nothing_is_cut_off(server: Running) -> None:
    with server.connect(SO_RCVBUF=8192) as client:
        client.send(GET)
        wait_until(lambda: Direct.waiting == 1, "a handler that waits for its client")
        server.later(1)
        server.later(62)
        wait_until(lambda: server.open_connections() == 0, "the cut")
        wait_until(lambda: Direct.left == 1, "the handler's hearing of it")


def test_a_steady_reader_is_not(server: Running) -> None:
    with server.connect(SO_RCVBUF=65536) as client:
        client.send(GET)
        take_a_little_for_ten_minutes(server, client)


@pytest.mark.parametrize("pause_s", [0.0, 0.1])
def test_readers_that_leave_leave_nothing(server: Running, pause_s: float) -> None:
    server.ask(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))  # the event loop opens one
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with server.connect(SO_RCVBUF=8192) as client:
            client.send(GET)
            client.exactly(1000)
            time.sleep(pause_s)
    wait_until(lambda: Direct.left == 10, "ten ends")
    wait_until(lambda: server.open_connections() == 0, "closing")
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "giving descriptors back")


def test_more_than_the_declared_length_is_never_sent(server: Running) -> None:
    answer = server.ask(b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"four" not in answer
