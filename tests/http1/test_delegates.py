"""Tornado's contract with delegates: each gets `finish` or `on_connection_close` once, and nothing while
a call is not done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

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
from tests.http1.serving import Running, running, wait_until


class Recorder(HTTPServerConnectionDelegate):
    """Makes recording delegates; `calls` holds what each was told, by target."""

    def __init__(self) -> None:
        self.calls: dict[str, list[str]] = {}
        self.closed = 0

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        assert isinstance(request_conn, Exchange)
        return Recording(self, request_conn)

    def on_close(self, server_conn: object) -> None:
        self.closed += 1


class Recording(HTTPMessageDelegate):
    """Does what its target says: /late-head, /late-piece, /early, /raise-head and so on."""

    def __init__(self, recorder: Recorder, exchange: Exchange) -> None:
        self._recorder = recorder
        self._exchange = exchange
        self._busy = False

    def _tell(self, call: str) -> None:
        assert not self._busy, f"{call} while something is not done"
        self._calls.append(call)

    async def _wait(self) -> None:
        self._busy = True
        await asyncio.sleep(0.05)
        self._busy = False

    def _answer(self) -> None:
        self._exchange.write_headers(
            ResponseStartLine("", 200, "OK"), HTTPHeaders({"Content-Length": "2"}), b"ok"
        )
        self._exchange.finish()

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        self.target = start_line.path
        self._calls = self._recorder.calls.setdefault(self.target, [])
        self._tell("headers")
        self._exchange.set_close_callback(lambda: self._calls.append("close callback"))
        if self.target == "/raise-head":
            raise RuntimeError("as a bug in an application")
        if self.target == "/early":
            self._answer()
        return self._wait() if self.target == "/late-head" else None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self._tell("data")
        if self.target == "/early-piece":
            self._answer()
        return self._wait() if self.target == "/late-piece" else None

    def finish(self) -> None:
        self._tell("finish")
        if self.target == "/never":
            return
        self._answer()

    def on_connection_close(self) -> None:
        self._tell("close")


PUT = "PUT {} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n{}"


def told(recorder: Recorder, target: str) -> list[str]:
    return recorder.calls.get(target, [])


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.mark.parametrize(
    ("target", "calls", "closes"),
    [
        ("/plain", ["headers", "data", "finish"], False),
        ("/late-head", ["headers", "data", "finish"], False),
        ("/late-piece", ["headers", "data", "finish"], False),
        ("/early", ["headers", "close"], False),
        ("/early-piece", ["headers", "data", "close"], False),
    ],
)
def test_whole_requests(recorder: Recorder, target: str, calls: list[str], closes: bool) -> None:
    with running(recorder) as server, server.connect() as client:
        client.send(PUT.format(target, "abcd").encode())
        assert client.answer()[2] == b"ok"
        wait_until(lambda: told(recorder, target) == calls, f"{calls}, not {told(recorder, target)}")
        client.send(PUT.format("/plain2", "abcd").encode())
        assert client.answer()[2] == b"ok"
    assert told(recorder, target) == calls
    assert recorder.closed == 1


@pytest.mark.parametrize("target", ["/plain", "/late-head", "/late-piece"])
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_in_the_body(recorder: Recorder, target: str, reset: bool) -> None:
    with running(recorder) as server:
        with server.connect() as client:
            client.send(PUT.format(target, "ab").encode())
            wait_until(lambda: "headers" in told(recorder, target), "the head")
            if reset:
                _reset(server, client.sock)
        wait_until(lambda: recorder.closed == 1, "the end")
        wait_until(lambda: "close" in told(recorder, target), "close")
    calls = told(recorder, target)
    assert calls.count("close") == 1
    assert "finish" not in calls
    assert "close callback" not in calls


def _reset(server: Running, sock: object) -> None:
    """Cut the connection from the server's side, as close_all_connections does."""
    server.run(server.server.close_all_connections())


def test_a_client_that_leaves_before_the_answer(recorder: Recorder) -> None:
    with running(recorder) as server:
        with server.connect() as client:
            client.send(PUT.format("/never", "abcd").encode())
            wait_until(lambda: "finish" in told(recorder, "/never"), "the request")
        wait_until(lambda: "close callback" in told(recorder, "/never"), "the callback")
    assert told(recorder, "/never") == ["headers", "data", "finish", "close callback"]


def test_an_application_that_raises_loses_its_connection_only(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    with running(recorder) as server:
        with server.connect() as client:
            client.send(PUT.format("/raise-head", "abcd").encode())
            assert client.rest() == b""
        with server.connect() as client:
            client.send(PUT.format("/plain", "abcd").encode())
            assert client.answer()[2] == b"ok"
    assert told(recorder, "/raise-head") == ["headers", "close"]
    assert "as a bug in an application" in caplog.text


class Odd(HTTPMessageDelegate):
    """Answers with the head that it was made with."""

    def __init__(self, exchange: Exchange, fields: dict[str, str], pieces: list[bytes]) -> None:
        self._exchange, self._fields, self._pieces = exchange, fields, pieces
        self.error: Exception | None = None

    def finish(self) -> None:
        try:
            self._exchange.write_headers(ResponseStartLine("", 200, "OK"), HTTPHeaders(self._fields))
            for piece in self._pieces:
                self._exchange.write(piece)
            self._exchange.finish()
        except Exception as err:  # noqa: BLE001 - looked at by the test
            self.error = err


class Odder(HTTPServerConnectionDelegate):
    def __init__(self, fields: dict[str, str], pieces: list[bytes]) -> None:
        self._fields, self._pieces = fields, pieces
        self.made: list[Odd] = []

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        assert isinstance(request_conn, Exchange)
        self.made.append(Odd(request_conn, self._fields, self._pieces))
        return self.made[-1]


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("length", "pieces", "error"),
    [("2", [b"abc"], "more data than"), ("4", [b"abc"], "less than"), ("x", [b"abc"], "integer")],
)
def test_a_body_unlike_its_length_is_an_error_and_never_looks_whole(
    length: str, pieces: list[bytes], error: str
) -> None:
    app = Odder({"Content-Length": length}, pieces)
    with running(app) as server, server.connect() as client:
        client.send(GET)
        if length != "x":
            _, _, body = client.rest().partition(b"\r\n\r\n")
            assert len(body) < int(length)
        wait_until(lambda: app.made and app.made[0].error, "the error")
    assert error in str(app.made[0].error)


def test_a_body_without_length_is_chunked_and_ends_with_the_connection_for_1_0() -> None:
    app = Odder({}, [b"abc", b"", b"defg"])
    with running(app) as server, server.connect() as client:
        client.send(GET)
        _, fields, body = client.answer()
        assert (fields["transfer-encoding"], body) == ("chunked", b"abcdefg")
        answer = server.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert answer.endswith(b"\r\n\r\nabcdefg")
        assert b"chunked" not in answer
        assert b"Connection: close" in answer


class Late(HTTPMessageDelegate):
    """Answers long after; then tries to write once more."""

    def __init__(self, exchange: Exchange, sink: list[Exchange]) -> None:
        sink.append(exchange)
        self._exchange = exchange

    def finish(self) -> None:
        self._exchange.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok")


class Lates(HTTPServerConnectionDelegate):
    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        assert isinstance(request_conn, Exchange)
        return Late(request_conn, self.exchanges)


def test_who_writes_too_late_cannot_touch_the_next_answer() -> None:
    app = Lates()
    with running(app) as server, server.connect() as client:
        client.send(GET + GET)
        assert [client.answer()[2] for _ in range(2)] == [b"ok", b"ok"]
        failed = server.call(lambda: app.exchanges[0].write(b"late"))
        assert failed.exception() is not None
        assert app.exchanges[0].closed()
        client.send(GET)
        assert client.answer()[2] == b"ok"
