"""A real server of services/http1 in a thread with its own loop, and clients that send exact bytes to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

import uvloop
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.web import Application, RequestHandler, stream_request_body

from services.http1 import HTTPServer, Limits
from services.http1.turns import ReadyAnswers
from tests.support.processes import wait_for

T = TypeVar("T")


class NothingIsReady:
    """Ready answers of a server that has none."""

    def begin_turn(self) -> None:
        """See ReadyAnswers."""

    def answer_to(self, data: bytes) -> bytes | None:
        return None

    def end_turn(self, seconds: float) -> None:
        """See ReadyAnswers."""


class Running:
    """A server on `port` of 127.0.0.1, made by `running`."""

    def __init__(self, server: HTTPServer, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self.server = server
        self.port = port
        self._loop = loop
        self._later_s = 0.0
        self._own_clock = server.clock

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of `coroutine`, run on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    def call(self, function: Callable[[], T]) -> T:
        """The result of `function`, called on the server's loop."""

        async def call() -> T:
            return function()

        return self.run(call())

    def open_connections(self) -> int:
        """How many connections the server has."""
        return self.call(lambda: len(self.server._open))

    def requests_under_way(self) -> int:
        """How many connections have a request under way, from its head to the end of its answer."""
        return self.call(lambda: sum(1 for c in self.server._open if c._cycle is not None))

    def taken_bytes(self) -> int:
        """How many bytes sent on open connections have been acknowledged by the clients' kernels."""

        def count() -> int:
            return sum(c.transport.taken_bytes for c in self.server._open)

        return self.call(count)

    def later(self, seconds: float) -> None:
        """Put the server's clock forward, and let it check its limits. So a test of what must not time out
        does not depend on how busy the machine is.
        """

        def check() -> None:
            self._later_s += seconds
            self.server.check_time()

        self.call(check)

    def clock(self) -> float:
        """The server's clock in seconds, as set by `later`."""
        return self._own_clock() + self._later_s

    def connect(self, timeout_s: float = 120.0, **options: int) -> Client:
        """A connection of a new client."""
        sock = socket.socket()
        for name, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        sock.settimeout(timeout_s)
        sock.connect(("127.0.0.1", self.port))
        return Client(sock)

    def ask(self, request: bytes) -> bytes:
        """Send `request` on a new connection. Gives everything until the server closes it."""
        with self.connect() as client:
            client.send(request)
            return client.rest()


@contextlib.contextmanager
def running(
    app: HTTPServerConnectionDelegate | Callable[[Any], None] | None = None,
    *,
    with_uvloop: bool = True,
    ssl_options: Any = None,
    server_options: dict[str, Any] | None = None,
    answers: ReadyAnswers | None = None,
    **limits: Any,
) -> Iterator[Running]:
    """Serve `app`, or `ordinary_app()`, until the block ends; `limits` are fields of Limits.

    `answers`: what HTTPServer.answer_from gets, so connections have a PlainTransport.
    """
    ready = threading.Event()
    made: list[Running] = []
    failures: list[BaseException] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(_failure(context)))
        server = HTTPServer(
            ordinary_app() if app is None else app,
            limits=Limits(**limits),
            ssl_options=ssl_options,
            **(server_options or {}),
        )
        if answers is not None:
            server.answer_from(answers)
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        server.add_sockets([listener])
        made.append(Running(server, loop, listener.getsockname()[1]))
        server.clock = made[0].clock
        stopped = asyncio.Event()
        made[0].stop = lambda: loop.call_soon_threadsafe(stopped.set)  # type: ignore[attr-defined]
        ready.set()
        await stopped.wait()
        server.stop()
        await server.close_all_connections()

    def thread() -> None:
        try:
            if with_uvloop:
                uvloop.run(serve())
            else:
                asyncio.run(serve())
        finally:
            ready.set()

    worker = threading.Thread(target=thread, name="server")
    worker.start()
    assert ready.wait(120)
    try:
        yield made[0]
    finally:
        made[0].stop()  # type: ignore[attr-defined]
        worker.join(120)
        assert not worker.is_alive()
        assert not failures, failures


def _failure(context: dict[str, Any]) -> BaseException:
    return context.get("exception") or RuntimeError(context["message"])


class Client:
    """One connection, with what was received and not read yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._received = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_while_taken(self, data: bytes, wait_s: float = 0.3) -> int:
        """Send `data` again and again until nothing more is taken for so long. Gives how many bytes were
        taken.
        """
        timeout_s = self.sock.gettimeout()
        self.sock.settimeout(wait_s)
        sent = 0
        try:
            while True:
                sent += self.sock.send(data[sent % len(data) :])
        except TimeoutError:
            return sent
        finally:
            self.sock.settimeout(timeout_s)

    def end_sending(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def rest(self) -> bytes:
        """Everything until the server closes. Raises ConnectionResetError, TimeoutError."""
        parts = [self._received]
        self._received = b""
        while part := self.sock.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)

    def until(self, end: bytes) -> bytes:
        """Everything up to and including `end`."""
        while (at := self._received.find(end)) < 0:
            self._more()
        at += len(end)
        data, self._received = self._received[:at], self._received[at:]
        return data

    def exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._more()
        data, self._received = self._received[:count], self._received[count:]
        return data

    def answer(self, to_head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, fields by lower-case name, and body of the next answer, of a declared length or chunked."""
        head = self.until(b"\r\n\r\n").decode("latin1")
        lines = head.split("\r\n")[:-2]
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) [ -~]+", lines[0])
        assert found, lines[0]
        fields: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            fields[name.lower()] = value
        code = int(found[1])
        if to_head or code in (204, 304) or code < 200:
            return code, fields, b""
        if "transfer-encoding" in fields:
            body = b""
            while size := int(self.until(b"\r\n"), 16):
                body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            assert self.exactly(2) == b"\r\n"
            return code, fields, body
        return code, fields, self.exactly(int(fields["content-length"]))

    def is_closed(self, within_s: float = 120.0) -> bool:
        """True when the server closes within that time; False when it sends something or keeps it open."""
        patience_s = self.sock.gettimeout()
        self.sock.settimeout(within_s)
        try:
            return not self._received and self.sock.recv(1) == b""
        except TimeoutError:
            return False
        finally:
            self.sock.settimeout(patience_s)

    def _more(self) -> None:
        part = self.sock.recv(1 << 16)
        if not part:
            raise EOFError(self._received)
        self._received += part


class Echo(RequestHandler):
    """Answers with method, target and body."""

    def get(self) -> None:
        request = self.request
        self.set_header("X-Target", request.uri or "")
        self.write(f"{request.method} {request.uri} ".encode() + request.body)

    head = post = put = get

    def options(self) -> None:
        self.set_header("Allow", "GET, HEAD, POST, PUT, OPTIONS")
        self.set_status(204)


class Slow(RequestHandler):
    """Answers after `?s=` seconds."""

    async def get(self) -> None:
        await asyncio.sleep(float(self.get_query_argument("s")))
        self.write(self.get_query_argument("s"))


class NotModified(RequestHandler):
    def get(self) -> None:
        self.set_status(304)


@stream_request_body
class Refusing(RequestHandler):
    """Refuses uploads in `prepare`, before the body."""

    def prepare(self) -> None:
        self.set_status(409)
        self.finish("it is there")

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        raise AssertionError("it answered before")


@stream_request_body
class Counting(RequestHandler):
    """Reads the body, waiting `?wait=` seconds for each piece, and answers its length."""

    def prepare(self) -> None:
        self.count = 0
        self.wait_s = float(self.get_query_argument("wait", "0"))

    async def data_received(self, chunk: bytes) -> None:
        self.count += len(chunk)
        if self.wait_s:
            await asyncio.sleep(self.wait_s)

    def put(self) -> None:
        self.write(str(self.count))


def take_a_little_for_ten_minutes(server: Running, client: Client) -> None:
    """Take 300,000 bytes of an answer every 50 s. The server waits 60 s for a reader, so it must allow
    that.
    """
    for _ in range(12):
        before = server.taken_bytes()
        client.exactly(300_000)
        wait_until(lambda seen=before: server.taken_bytes() > seen, "the client's progress")  # type: ignore[misc]
        server.later(50)
        assert server.open_connections() == 1


def ordinary_app(*more: Any) -> Application:
    """An application with ordinary handlers, and `more`."""
    table = [
        (r"/slow", Slow),
        (r"/304", NotModified),
        (r"/refuse", Refusing),
        (r"/count", Counting),
        *more,
        (r".*", Echo),
    ]
    return Application(table, log_function=lambda handler: None)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Wait for a condition; fails after `seconds`, a bound."""
    wait_for(condition, seconds, what)


logging.getLogger("tornado.general").setLevel(logging.WARNING)
