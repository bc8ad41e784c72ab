"""A delegate lends memory for a large body: the bytes are received into it, and no other way loses one."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import Awaitable, Iterator
from types import SimpleNamespace
from typing import ClassVar

import pytest
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)

from services.http1 import Exchange
from services.http1.body_receiver import BodyReceiver
from tests.http1.serving import Client, NothingIsReady, Running, running, wait_until
from tests.http1.test_tls import certificate

__all__ = ["certificate"]

MIB = 1 << 20
BODY = os.urandom(3 * MIB + 77)
HEAD = f"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


class Lending(HTTPMessageDelegate):
    """Lends `room_bytes` at a time, `rooms` times. Each time it is full, whoever filled it waits for `go`."""

    room_bytes = 100_000
    rooms: int | None = None  # None: always
    refuses_at: int | None = None  # it answers when so many bytes are there
    go: asyncio.Event | None = None
    filled_bytes = copied_bytes = 0
    lost = 0
    bodies: ClassVar[list[bytes]] = []

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._room = bytearray(self.room_bytes)
        self._at = 0
        self._body = b""
        self._left = self.rooms

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None: ...

    def room(self) -> memoryview | None:
        return memoryview(self._room)[self._at :] if self._left is None or self._left else None

    def filled(self, count: int) -> Awaitable[None] | None:
        kind = type(self)
        kind.filled_bytes += count
        self._at += count
        if kind.refuses_at is not None and len(self._body) + self._at >= kind.refuses_at:
            self._answer(b"409 Conflict")
            return None
        if self._at < len(self._room):
            return None
        self._keep()
        return None if kind.go is None else self._full(kind.go)

    async def _full(self, go: asyncio.Event) -> None:
        await go.wait()

    def _keep(self) -> None:
        self._body += self._room[: self._at]
        self._room[:] = bytes(len(self._room))
        self._at = 0
        if self._left:
            self._left -= 1

    def data_received(self, chunk: bytes) -> None:
        type(self).copied_bytes += len(chunk)
        self._keep()
        self._body += chunk

    def finish(self) -> None:
        self._keep()
        self.bodies.append(self._body)
        self._answer(b"200 OK")

    def _answer(self, status: bytes) -> None:
        self._exchange.respond(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n", b"")

    def on_connection_close(self) -> None:
        type(self).lost += 1


class Lenders(HTTPServerConnectionDelegate):
    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        assert isinstance(request_conn, Exchange)
        return Lending(request_conn)


@pytest.fixture(params=["uvloop", "asyncio", "turns"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    Lending.room_bytes, Lending.rooms, Lending.refuses_at, Lending.go = 100_000, None, None, None
    Lending.filled_bytes = Lending.copied_bytes = Lending.lost = 0
    Lending.bodies = []
    answers = NothingIsReady() if request.param == "turns" else None
    with running(Lenders(), with_uvloop=request.param != "asyncio", answers=answers) as made:
        yield made


def receivers(server: Running) -> int:
    """How many connections receive into memory of their delegates now."""

    def count() -> int:
        cycles = [connection._cycle for connection in server.server._open]
        return sum(isinstance(cycle and cycle._receiver, BodyReceiver) for cycle in cycles)

    return server.call(count)


def status_of(client: Client) -> int:
    return client.answer()[0]


@pytest.mark.parametrize("room_bytes", [1000, 100_000, MIB, len(BODY), 2 * len(BODY)])
def test_it_is_whole_and_what_follows_is_the_next_request(server: Running, room_bytes: int) -> None:
    Lending.room_bytes = room_bytes
    with server.connect() as client:
        client.send((HEAD + BODY) * 3)
        assert [status_of(client) for _ in range(3)] == [200] * 3
        client.send(b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
        assert status_of(client) == 200
    assert Lending.bodies == [BODY] * 3 + [b"ab"]
    assert Lending.filled_bytes == 3 * len(BODY)
    assert Lending.copied_bytes == 2
    assert Lending.lost == 0


def test_it_is_whole_however_it_is_cut(server: Running) -> None:
    rng = random.Random(1)
    with server.connect() as client:
        for _ in range(3):
            data, at = HEAD + BODY, 0
            while at < len(data):
                count = rng.choice((1, 700, 70_000, 700_000))
                client.send(data[at : at + count])
                at += count
            assert status_of(client) == 200
    assert Lending.bodies == [BODY] * 3
    assert not Lending.copied_bytes


def test_the_client_waits_while_the_delegate_does(server: Running) -> None:
    body = bytes(64 * MIB)
    Lending.go = asyncio.Event()
    Lending.room_bytes = MIB
    with server.connect() as client:
        client.send(f"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        sent = client.send_while_taken(body)
        assert sent < 32 * MIB  # what the systems hold
        wait_until(lambda: Lending.filled_bytes == MIB, "full room")
        assert server.call(lambda: sum(len(c.pending) for c in server.server._open)) == 0
        server.call(Lending.go.set)
        client.send(memoryview(body)[sent:])  # type: ignore[arg-type]
        assert status_of(client) == 200
    assert Lending.filled_bytes + Lending.copied_bytes == len(body)
    assert len(Lending.bodies[0]) == len(body)


def test_what_came_before_is_taken_before() -> None:
    connection, cycle = SimpleNamespace(pending=b"x"), SimpleNamespace(room=lambda: memoryview(bytearray(3)))
    receiver = BodyReceiver(connection, cycle)  # type: ignore[arg-type]
    assert len(receiver.get_buffer(-1)) != 3
    connection.pending = b""
    assert len(receiver.get_buffer(-1)) == 3


@pytest.mark.parametrize("rooms", [1, 2])
def test_what_finds_no_room_comes_in_the_usual_way(server: Running, rooms: int) -> None:
    Lending.rooms = rooms
    with server.connect() as client:
        client.send(HEAD + BODY + HEAD + BODY)
        assert [status_of(client) for _ in range(2)] == [200] * 2
    assert Lending.bodies == [BODY] * 2
    assert Lending.filled_bytes == 2 * rooms * Lending.room_bytes


def test_one_that_lends_nothing_has_no_receiver(server: Running) -> None:
    Lending.rooms = 0
    with server.connect() as client:
        client.send(HEAD + BODY[:-1])
        wait_until(lambda: Lending.copied_bytes == len(BODY) - 1, "the end of the bytes")
        assert not receivers(server)
        client.send(BODY[-1:])
        assert status_of(client) == 200
    assert Lending.bodies == [BODY]


def test_a_short_or_chunked_body_has_no_receiver(server: Running) -> None:
    with server.connect() as client:
        client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MIB + bytes(MIB))
        assert status_of(client) == 200
        chunk = b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"
        client.send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        assert status_of(client) == 200
    assert Lending.bodies == [bytes(MIB), BODY]
    assert not Lending.filled_bytes


def test_a_client_that_leaves_is_told_to_the_delegate(server: Running) -> None:
    with server.connect() as client:
        client.send(HEAD + BODY[:-1])
        wait_until(lambda: Lending.filled_bytes == len(BODY) - 1, "the end of the bytes")
        assert receivers(server) == 1
    wait_until(lambda: Lending.lost == 1, "the end of the bytes")
    wait_until(lambda: server.open_connections() == 0, "the end of the bytes")
    assert not Lending.bodies


def test_an_answer_before_the_end_is_read_and_the_rest_is_dropped(server: Running) -> None:
    Lending.refuses_at = len(BODY) - 10_000
    with server.connect() as client:
        client.send(HEAD + BODY)
        assert status_of(client) == 409
        Lending.refuses_at = None
        client.send(HEAD + BODY)
        assert status_of(client) == 200
    assert Lending.bodies == [BODY]
    assert Lending.lost == 1


def test_a_client_that_is_refused_early_has_the_answer(server: Running) -> None:
    Lending.refuses_at = 100_000
    with server.connect() as client:
        client.send(HEAD + BODY)
        assert status_of(client) == 409
        assert client.is_closed()


def test_who_sends_steadily_is_not_cut_off_and_who_stops_is(server: Running) -> None:
    sent = 0
    with server.connect() as client:
        client.send(HEAD)
        for _ in range(5):
            client.send(BODY[sent : sent + 300_000])
            sent += 300_000
            wait_until(lambda: Lending.filled_bytes == sent, "the end of the bytes")  # noqa: B023 - before the next
            server.later(20)
        server.later(11)
        assert status_of(client) == 408


def test_over_tls_nothing_is_lent(certificate: dict[str, str]) -> None:
    Lending.rooms, Lending.go, Lending.filled_bytes, Lending.bodies = None, None, 0, []
    context = ssl.create_default_context(cafile=certificate["certfile"])
    with (
        running(Lenders(), ssl_options=certificate) as server,
        server.connect() as plain,
        context.wrap_socket(plain.sock, server_hostname="localhost") as sock,
    ):
        client = Client(sock)
        client.send(HEAD + BODY)
        assert status_of(client) == 200
    assert Lending.bodies == [BODY]
    assert not Lending.filled_bytes
