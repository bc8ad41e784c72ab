"""A process that speaks TLS with a client relays between it and another one, which answers (Handed)."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Iterator

import pytest
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import RequestHandler

from services.http1 import Exchange
from services.http1.exchange import RELAY_BYTES
from tests.http1.serving import Client, Running, ordinary_app, running, wait_until
from tests.http1.test_tls import certificate

__all__ = ["certificate"]
MIB = 1 << 20
LARGE = bytes(range(256)) * (8 * MIB // 256)
TAKEN_BYTES = 2000  # by a slow client, in one go


class Large(RequestHandler):
    def get(self) -> None:
        self.write(LARGE)


class HandsOver(HTTPServerConnectionDelegate):
    """Hands over the connection with its first request."""

    def __init__(self, to: Running) -> None:
        self.to = to

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        assert isinstance(request_conn, Exchange)
        return _Request(self.to, request_conn)


class _Request(HTTPMessageDelegate):
    def __init__(self, to: Running, exchange: Exchange) -> None:
        self._to = to
        self._exchange = exchange

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None]:
        return self._hand_over()

    async def _hand_over(self) -> None:
        await self._exchange.all_sent()
        sock, handed = self._exchange.give_up()
        sock.setblocking(False)
        self._to._loop.call_soon_threadsafe(self._to.server.adopt, sock, handed)


@pytest.fixture
def two(certificate: dict[str, str]) -> Iterator[tuple[Running, Running]]:
    """One that speaks TLS, and one that answers."""
    app = ordinary_app((r"/large", Large))
    with (
        running(app, write_idle_timeout_s=60, drain_linger_s=0.1) as answers,
        running(HandsOver(answers), ssl_options=certificate, write_idle_timeout_s=60) as speaks,
    ):
        yield speaks, answers


def asking(two: tuple[Running, Running], certificate: dict[str, str], request: bytes) -> Client:
    """A client whose request was handed over."""
    speaks, answers = two
    context = ssl.create_default_context(cafile=certificate["certfile"])
    sock = speaks.connect(SO_RCVBUF=4096).sock  # its system takes little, and so often
    client = Client(context.wrap_socket(sock, server_hostname="localhost"))
    client.send(request)
    wait_until(lambda: answers.open_connections() == 1, "the hand-over")
    return client


def taken_bytes(speaks: Running) -> int:
    return speaks.call(lambda: sum(one.taken_bytes for one in speaks.server._relayed))


def test_who_takes_an_answer_slowly_gets_all_of_it(
    two: tuple[Running, Running], certificate: dict[str, str]
) -> None:
    """What lies between the two processes is more than it takes in a minute."""
    with asking(two, certificate, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n") as client:
        client.until(b"\r\n\r\n")
        body = b""
        for _ in range(6):
            before = taken_bytes(two[0])
            while taken_bytes(two[0]) == before:  # so much that its system takes more
                body += client.exactly(TAKEN_BYTES)
            for one in two:
                one.later(50)
        assert body + client.exactly(len(LARGE) - len(body)) == LARGE


def test_who_takes_nothing_costs_the_one_that_speaks_tls_little(
    two: tuple[Running, Running], certificate: dict[str, str]
) -> None:
    """It holds what it was given before it paused, and what it takes at once; the rest waits elsewhere."""
    speaks, _ = two
    with asking(two, certificate, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n") as client:
        client.until(b"\r\n\r\n")

        def held_bytes() -> int:
            return speaks.call(lambda: sum(one.unsent_bytes for one in speaks.server._relayed))

        seen = [held_bytes()]

        def stays() -> bool:
            seen.append(held_bytes())
            return len(seen) > 50 and seen[-50] == seen[-1] > 0

        wait_until(stays, "that it takes no more")
        limit = speaks.server.limits.write_buffer_bytes + 2 * RELAY_BYTES
        assert seen[-1] <= limit, f"{seen[-1]} bytes"


def test_who_takes_nothing_is_cut_off(two: tuple[Running, Running], certificate: dict[str, str]) -> None:
    speaks, answers = two
    with asking(two, certificate, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n") as client:
        client.until(b"\r\n\r\n")

        def is_cut() -> bool:
            speaks.later(50)  # the first time, its system may still have taken some
            return answers.open_connections() == 0

        wait_until(is_cut, "the end of its connection", seconds=30)
        assert not speaks.call(speaks.server._relays)
        wait_until(lambda: not speaks.call(lambda: speaks.server._sweep.runs), "the end of looking")


def test_an_early_refusal_is_seen_by_who_sends_on(
    two: tuple[Running, Running], certificate: dict[str, str]
) -> None:
    head = b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (4 * MIB)
    for _ in range(3):
        with asking(two, certificate, head) as client:
            client.send(bytes(4 * MIB))
            assert client.answer()[0] == 409
        wait_until(lambda: two[1].open_connections() == 0, "closing")


def test_the_end_of_the_clients_side_is_the_end_of_its_connection(
    two: tuple[Running, Running], certificate: dict[str, str]
) -> None:
    """TLS has no half-closed connections. So nobody is told that the body is cut short."""
    answers = two[1]
    refused: list[int] = []
    answers.server.on_refused = lambda method, target, code, _: refused.append(code)
    with asking(two, certificate, b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc") as client:
        assert isinstance(client.sock, ssl.SSLSocket)
    wait_until(lambda: answers.open_connections() == 0, "closing")
    assert refused == []


def test_one_too_many_stays_one(certificate: dict[str, str]) -> None:
    """Its request may be answered elsewhere: then that is all."""
    with (
        running() as answers,
        running(HandsOver(answers), max_connections=1) as accepts,
    ):
        accepts.server.spared = lambda head: True
        answers.server.spared = lambda head: True
        with accepts.connect() as kept:
            wait_until(lambda: accepts.open_connections() == 1, "the first connection")
            answer = accepts.ask(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"Connection: close" in answer
            assert answer.endswith(b"GET /a ")
            kept.send(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
            assert kept.answer()[2] == b"GET /b "
