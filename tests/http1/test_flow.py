"""Memory is bounded: a slow reader stops the handler that writes, and a slow handler stops the client
that uploads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler, stream_request_body

from tests.http1.serving import NothingIsReady, Running, ordinary_app, running, wait_until

MIB = 1 << 20


class Pouring(RequestHandler):
    """Writes 64 MiB in pieces, waiting for each. `written` has how much was written."""

    written = 0
    left = False

    async def get(self) -> None:
        type(self).written = 0
        type(self).left = False
        piece = bytes(MIB)
        try:
            for _ in range(64):
                self.write(piece)
                await self.flush()
                type(self).written += len(piece)
        except StreamClosedError:
            type(self).left = True


@stream_request_body
class Holding(RequestHandler):
    """Takes the body only when told. `taken` has how much it took."""

    go = asyncio.Event()
    prepared = False
    taken = 0
    largest = 0

    def prepare(self) -> None:
        kind = type(self)
        kind.go, kind.taken, kind.largest, kind.prepared = asyncio.Event(), 0, 0, True
        self.request.connection.set_max_body_size(1 << 40)  # type: ignore[union-attr]

    async def data_received(self, chunk: bytes) -> None:
        kind = type(self)
        await kind.go.wait()
        kind.taken += len(chunk)
        kind.largest = max(kind.largest, len(chunk))

    def put(self) -> None:
        self.write(str(self.taken))


@pytest.fixture(params=["uvloop", "asyncio", "turns"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    Holding.prepared = False
    app = ordinary_app((r"/pour", Pouring), (r"/hold", Holding))
    answers = NothingIsReady() if request.param == "turns" else None
    with running(app, with_uvloop=request.param != "asyncio", answers=answers) as made:
        yield made


def settled(value: object, seconds: float = 0.2) -> object:
    """The value of a counter once it does not move any more."""
    assert callable(value)
    last, since = value(), time.monotonic()
    while time.monotonic() - since < seconds:
        if value() != last:
            last, since = value(), time.monotonic()
        time.sleep(0.01)
    return last


def test_a_slow_reader_holds_back_the_handler(server: Running) -> None:
    with server.connect(SO_RCVBUF=65536) as client:
        client.send(b"GET /pour HTTP/1.1\r\nHost: a\r\n\r\n")
        client.until(b"\r\n\r\n")
        written = settled(lambda: Pouring.written)
        assert isinstance(written, int)
        assert written < 12 * MIB  # the system's buffers, one piece, and what the transport may hold
        pending = server.call(lambda: max(c.transport.unsent_bytes for c in server.server._open))
        assert pending <= 3 * MIB
        total = 0
        while size := int(client.until(b"\r\n"), 16):
            total += len(client.exactly(size + 2)) - 2
        assert total == 64 * MIB


def test_a_reader_that_leaves_is_told_to_the_handler(server: Running) -> None:
    with server.connect(SO_RCVBUF=65536) as client:
        client.send(b"GET /pour HTTP/1.1\r\nHost: a\r\n\r\n")
        client.until(b"\r\n\r\n")
    wait_until(lambda: Pouring.left, "StreamClosedError in the handler")


def test_a_slow_handler_holds_back_the_upload(server: Running) -> None:
    with server.connect(SO_SNDBUF=65536) as client:
        client.send(b"PUT /hold HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (32 * MIB))
        wait_until(lambda: Holding.prepared, "the handler")
        sent = client.send_while_taken(bytes(65536))
        pending = server.call(lambda: max(len(c.pending) for c in server.server._open))
        assert pending <= MIB
        assert Holding.taken == 0
        server.call(Holding.go.set)
        client.send(bytes(32 * MIB - sent))
        assert client.answer()[2] == str(32 * MIB).encode()
        assert Holding.largest <= 256 << 10


def test_pipelined_requests_are_read_ahead_only_so_far(server: Running) -> None:
    with server.connect(SO_SNDBUF=65536) as client:
        client.send(b"GET /slow?s=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(server.requests_under_way, "the request")
        request = b"GET /x HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 4000)
        sent = client.send_while_taken(request, wait_s=0.2)
        pending = server.call(lambda: max(len(c.pending) for c in server.server._open))
        assert pending <= MIB
        client.send(request[sent % len(request) :])
        assert client.answer()[2] == b"1"
        for _ in range(sent // len(request) + 1):
            assert client.answer()[2] == b"GET /x "


def test_answers_to_a_client_that_only_sends_do_not_pile_up(server: Running) -> None:
    with server.connect(SO_RCVBUF=4096, SO_SNDBUF=65536) as client:
        wait_until(server.open_connections, "the connection")
        request = b"PUT /e HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + bytes(60000)
        assert client.send_while_taken(request, wait_s=0.5) < 64 * MIB
        held = server.call(
            lambda: max(c.transport.unsent_bytes + len(c.pending) for c in server.server._open)
        )
        assert held <= 2 * MIB
