"""The table of steps: every legal one happens to a real connection, every other one raises."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

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

from services.http1 import Exchange, RequestHead
from services.http1.connection import Connection
from services.http1.phases import MEANING, STEPS, WHY, IllegalStep, Phase, diagram
from tests.http1.serving import Client, Running, ordinary_app, running, wait_until

ROOT = Path(__file__).resolve().parents[2]
IDLE, HEAD, BODY, ANSWER = Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.ANSWER
DISCARD, LINGER, CLOSING, CLOSED = Phase.DISCARD, Phase.LINGER, Phase.CLOSING, Phase.CLOSED
DETACHED = Phase.DETACHED

GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
SLOW = b"GET /slow?s=60 HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\n\r\n"
BYE = b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HOT = b"GET /hot HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
REFUSED = b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
LONG = b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
DAY_S = 86_400

paths: list[list[Phase]] = []


class Recorded(Connection):
    """A connection that records its steps in `paths`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._path = [self.phase]
        paths.append(self._path)

    def step(self, to: Phase) -> None:
        super().step(to)
        self._path.append(to)


class Last(RequestHandler):
    """Answers, and announces that it is the last answer."""

    def get(self) -> None:
        self.set_header("Connection", "close")
        self.write(b"last")


class Detaching(HTTPServerConnectionDelegate):
    """Leaves HTTP as soon as it knows the head, and says hello."""

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        assert isinstance(request_conn, Exchange)
        return _Detaching(request_conn)


class _Detaching(HTTPMessageDelegate):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        stream = self._exchange.detach()
        stream.write(b"hello")
        stream.close()


def at_once(head: RequestHead, context: object) -> tuple[bytes, bytes] | None:
    """An application that knows one answer."""
    known = head.start_line == ("GET", "/hot", "HTTP/1.1")
    return (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"hot") if known else None


def until(phase: Phase) -> None:
    wait_until(lambda: paths and paths[-1][-1] is phase, phase.name)


def say(*parts: bytes, then: Phase) -> Callable[[Running, Client], None]:
    """Send these parts, and wait until the connection is in the phase `then`."""

    def act(server: Running, client: Client) -> None:
        for part in parts:
            client.send(part)
        until(then)

    return act


def answered(data: bytes, status: int = 200) -> Callable[[Running, Client], None]:
    def act(server: Running, client: Client) -> None:
        client.send(data)
        assert client.answer()[0] == status

    return act


def leave(server: Running, client: Client) -> None:
    client.sock.close()


def end(server: Running, client: Client) -> None:
    client.end_sending()


def reset(server: Running, client: Client) -> None:
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.sock.close()


def cut(server: Running, client: Client) -> None:
    server.run(server.server.close_all_connections())


def wait_a_day(server: Running, client: Client) -> None:
    server.later(DAY_S)


def pipelined(server: Running, client: Client) -> None:
    client.send(GET + GET)
    for _ in range(2):
        assert client.answer()[2] == b"GET /echo "


Act = Callable[[Running, Client], None]
# What a client does, and the phases that its connection goes through.
SCENARIOS: dict[str, tuple[list[Act], list[Phase]]] = {
    "a request": ([answered(GET), say(then=IDLE), leave], [IDLE, HEAD, ANSWER, IDLE, CLOSING, CLOSED]),
    "a request in two parts": (
        [say(GET[:9], then=HEAD), answered(GET[9:]), say(then=IDLE), leave],
        [IDLE, HEAD, ANSWER, IDLE, CLOSING, CLOSED],
    ),
    "an upload": (
        [say(PUT, then=BODY), answered(b"1234"), say(then=IDLE), leave],
        [IDLE, HEAD, BODY, ANSWER, IDLE, CLOSING, CLOSED],
    ),
    "two requests at once": (
        [pipelined, say(then=IDLE), leave],
        [IDLE, HEAD, ANSWER, HEAD, ANSWER, IDLE, CLOSING, CLOSED],
    ),
    "a hot request, three times": (
        [answered(HOT), answered(HOT), answered(HOT), say(then=IDLE), leave],
        [IDLE, HEAD, IDLE, CLOSING, CLOSED],
    ),
    "empty lines": ([say(b"\r\n\r\n", then=IDLE), leave], [IDLE, HEAD, IDLE, CLOSING, CLOSED]),
    "no request": ([wait_a_day], [IDLE, CLOSING, CLOSED]),
    "a malformed head": (
        [answered(b"GET\r\n\r\n", 400), say(then=LINGER), leave],
        [IDLE, HEAD, LINGER, CLOSING, CLOSED],
    ),
    "a head that takes a day": (
        [say(b"GET", then=HEAD), wait_a_day, say(then=LINGER), wait_a_day],
        [IDLE, HEAD, LINGER, CLOSING, CLOSED],
    ),
    "a body that takes a day": (
        [say(PUT, then=BODY), wait_a_day, answered(b"", 408), say(then=LINGER), leave],
        [IDLE, HEAD, BODY, LINGER, CLOSING, CLOSED],
    ),
    "refused early, the rest is long": (
        [answered(LONG, 409), say(then=LINGER), leave],
        [IDLE, HEAD, BODY, LINGER, CLOSING, CLOSED],
    ),
    "refused early, the rest is short": (
        [answered(REFUSED, 409), say(then=DISCARD), say(b"1234", then=IDLE), leave],
        [IDLE, HEAD, BODY, DISCARD, IDLE, CLOSING, CLOSED],
    ),
    "the same, and the next request": (
        [answered(REFUSED, 409), say(then=DISCARD), answered(b"1234" + GET), say(then=IDLE), leave],
        [IDLE, HEAD, BODY, DISCARD, HEAD, ANSWER, IDLE, CLOSING, CLOSED],
    ),
    "the rest takes a day": (
        [answered(REFUSED, 409), say(then=DISCARD), wait_a_day, leave],
        [IDLE, HEAD, BODY, DISCARD, LINGER, CLOSING, CLOSED],
    ),
    "the rest does not come": (
        [answered(REFUSED, 409), say(then=DISCARD), end],
        [IDLE, HEAD, BODY, DISCARD, CLOSING, CLOSED],
    ),
    "the server's last answer": (
        [answered(LAST), say(then=LINGER), leave],
        [IDLE, HEAD, ANSWER, LINGER, CLOSING, CLOSED],
    ),
    "the client's last request": ([answered(BYE)], [IDLE, HEAD, ANSWER, CLOSING, CLOSED]),
    "half a head, then no more": ([say(b"GET", then=HEAD), end], [IDLE, HEAD, CLOSING, CLOSED]),
    "half a body, then no more": ([say(PUT + b"12", then=BODY), end], [IDLE, HEAD, BODY, CLOSING, CLOSED]),
    "cut off in the answer": ([say(SLOW, then=ANSWER), cut], [IDLE, HEAD, ANSWER, CLOSING, CLOSED]),
    "reset before a request": ([say(then=IDLE), reset], [IDLE, CLOSED]),
    "reset in the head": ([say(b"GET", then=HEAD), reset], [IDLE, HEAD, CLOSED]),
    "reset in the body": ([say(PUT, then=BODY), reset], [IDLE, HEAD, BODY, CLOSED]),
    "reset in the answer": ([say(SLOW, then=ANSWER), reset], [IDLE, HEAD, ANSWER, CLOSED]),
    "reset in the rest": (
        [answered(REFUSED, 409), say(then=DISCARD), reset],
        [IDLE, HEAD, BODY, DISCARD, CLOSED],
    ),
    "reset after the last answer": (
        [answered(LAST), say(then=LINGER), reset],
        [IDLE, HEAD, ANSWER, LINGER, CLOSED],
    ),
}
# The same, with servers of their own, below.
REFUSED_PATH = [IDLE, LINGER, CLOSING, CLOSED]
DETACHED_PATHS = {GET: [IDLE, HEAD, ANSWER, DETACHED], PUT: [IDLE, HEAD, BODY, DETACHED]}


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    paths.clear()
    monkeypatch.setattr("services.http1.server.Connection", Recorded)
    yield
    paths.clear()


@pytest.mark.parametrize("with_uvloop", [True, False], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_connection_goes_its_way(name: str, with_uvloop: bool) -> None:
    acts, expected = SCENARIOS[name]
    app = ordinary_app((r"/last", Last))
    with running(app, with_uvloop=with_uvloop, idle_timeout_s=300) as server:
        server.server.quick_answer = at_once
        with server.connect() as client:
            wait_until(server.open_connections, "the connection")
            for act in acts:
                act(server, client)
            if expected[-1] is CLOSED:
                wait_until(lambda: paths[0][-1] is CLOSED, f"the end, not {paths[0]}")
    assert paths == [expected]


def test_one_too_many_that_asks_nothing() -> None:
    with running(max_connections=1) as server, server.connect() as first:
        wait_until(server.open_connections, "the first")
        with server.connect() as second:
            wait_until(lambda: server.open_connections() == 2, "the second")
            server.later(3)
            assert second.answer()[0] == 503
        wait_until(lambda: paths[1][-1] is CLOSED, "the end of the second")
        assert paths[0] == [IDLE]
        assert first.sock.fileno() >= 0
    assert paths[1] == REFUSED_PATH


@pytest.mark.parametrize("request_bytes", DETACHED_PATHS, ids=["no body", "body"])
def test_leaving_http(request_bytes: bytes) -> None:
    with running(Detaching()) as server, server.connect() as client:
        client.send(request_bytes)
        assert client.rest() == b"hello"
    assert paths == [DETACHED_PATHS[request_bytes]]


def test_every_legal_step_happens_above() -> None:
    ways = [*(way for _, way in SCENARIOS.values()), REFUSED_PATH, *DETACHED_PATHS.values()]
    assert {step for way in ways for step in pairwise(way)} == set(WHY)


def test_every_other_step_raises_and_cuts_that_connection_only() -> None:
    def take_all_illegal_steps() -> int:
        [connection] = server.server._open
        raised = 0
        for come_from in Phase:
            for to in Phase:
                if (come_from, to) in WHY:
                    continue
                connection.phase = come_from
                with pytest.raises(IllegalStep, match=f"from {come_from.name} to {to.name}"):
                    connection.step(to)
                assert connection.phase is come_from
                raised += 1
        connection.phase = IDLE
        return raised

    with running() as server:
        with server.connect() as client:
            wait_until(server.open_connections, "the connection")
            assert server.call(take_all_illegal_steps) == len(Phase) ** 2 - len(WHY)
            assert client.is_closed()
        with server.connect() as other:
            other.send(GET)
            assert other.answer()[0] == 200


def test_the_table_is_whole() -> None:
    assert set(MEANING) == set(STEPS) == set(Phase)
    assert {(a, b) for a, follow in STEPS.items() for b in follow} == set(WHY)
    assert [phase for phase in Phase if not STEPS[phase]] == [CLOSED, DETACHED]


def test_the_diagram_in_the_document_is_that_of_the_table() -> None:
    text = (ROOT / "docs" / "connection.md").read_text()
    assert diagram() in text, "put there what `python -m services.http1.phases` prints"
