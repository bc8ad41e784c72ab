"""Which requests the fast path answers by itself, and that all others reach the Application untouched."""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterator

import pytest
from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerConnectionDelegate

from common.options import Config
from services.access.decisions import Access
from services.access.hosts import HostNames
from services.frontends.native.fast_path import FastPath
from services.frontends.native.headers import PREFIX
from services.frontends.native.quick_reads import is_plain_target
from services.http1 import Exchange
from services.rules.locations import MAX_LOCATION_BYTES, parse_location
from services.watch.request_log import RequestLog
from tests.http1.serving import Running, running
from tests.support.memory_store import MemoryStore
from tests.support.processes import wait_for

_HANDLER = b"HTTP/1.1 299 Handler\r\nContent-Length: 0\r\n\r\n"


class Handlers(HTTPServerConnectionDelegate):
    """Stands in for the Application, and tells that it was asked."""

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        assert isinstance(request_conn, Exchange)
        return Handler(request_conn)


class Handler(HTTPMessageDelegate):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def finish(self) -> None:
        self._exchange.respond(_HANDLER)


@pytest.fixture
def requests() -> RequestLog:
    return RequestLog()


@pytest.fixture
def server(requests: RequestLog) -> Iterator[Running]:
    fast = FastPath(Handlers(), MemoryStore(), Access(), requests, Config())
    with running(fast) as made:
        made.server.quick_answer = fast.quick_answer
        assert ask(made, "POST", "/store/there", body=b"body") == 201
        yield made


def ask(
    server: Running, method: str, target: str, *fields: str, body: bytes = b"", version: str = "1.1"
) -> int:
    """The status; 299 if a handler was asked."""
    head = [f"{method} {target} HTTP/{version}", "Host: a", *fields]
    if body:
        head.append(f"Content-Length: {len(body)}")
    with server.connect() as client:
        client.send("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        return client.answer(to_head=method == "HEAD")[0]


@pytest.mark.parametrize("connection", [(), ("Connection: close",), ("X: y", "User-Agent: curl/8")])
def test_plain_requests_need_no_handler(server: Running, connection: tuple[str, ...]) -> None:
    for _ in range(3):
        assert ask(server, "GET", "/store/there", *connection) == 200
        assert ask(server, "HEAD", "/store/there", *connection) == 200
    assert ask(server, "PUT", "/store/there", *connection, body=b"new") == 200
    assert ask(server, "POST", "/store/there", *connection, body=b"new") == 409
    # Not larger: a body that arrives in more than one piece goes to a handler, and the pieces depend on the
    # system.
    assert ask(server, "POST", "/store/new/one", *connection, body=b"x" * 10_000) == 201
    assert ask(server, "DELETE", "/store/there", *connection) == 200
    assert ask(server, "DELETE", "/store/there", *connection) == 404


@pytest.mark.parametrize(
    "field",
    [
        *("Range: bytes=0-1", "If-Match: *", "If-None-Match: *", "If-Range: x", "Origin: http://b"),
        *("Sec-Fetch-Site: cross-site", "Expect: 100-continue", "If-Modified-Since: x", "Repr-Digest: x"),
        *("If-Unmodified-Since: x", "Content-Range: bytes 0-1/2", "Content-Encoding: gzip"),
        "Content-Digest: x",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
def test_fields_that_change_the_meaning_are_for_handlers(server: Running, method: str, field: str) -> None:
    body = b"x" if method in ("POST", "PUT") else b""
    # the answers to the others are complete
    is_304 = field == "If-None-Match: *" and method in ("GET", "HEAD")
    assert ask(server, method, "/store/there", field.lower(), body=body) == (304 if is_304 else 299)
    assert ask(server, "GET", "/store/there") == 200


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/store/nothing"),
        ("HEAD", "/store/nothing"),
        ("GET", "/store/"),
        ("GET", "/store/there?x"),
        ("GET", "/store/th%65re"),
        ("GET", "/"),
        ("OPTIONS", "/store/there"),
        ("PATCH", "/store/there"),
        ("POST", "/store/a//b"),
        ("PUT", "/store/../b"),
        ("POST", "/store/a/"),
        ("DELETE", "/store/a%20b"),
        ("POST", "/other"),
    ],
)
def test_other_targets_and_methods_are_for_handlers(server: Running, method: str, target: str) -> None:
    assert ask(server, method, target) == 299


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("HEAD", b""), ("PUT", b"x"), ("DELETE", b"")])
def test_a_target_names_the_host_whatever_its_field_says(method: str, body: bytes) -> None:
    """RFC 9112 section 3.2.2: where the target is a whole URL, the Host field is ignored."""
    access = Access()
    access.hosts = HostNames("a", guards=True)
    fast = FastPath(Handlers(), MemoryStore(), access, RequestLog(), Config())
    with running(fast) as made:
        made.server.quick_answer = fast.quick_answer
        assert ask(made, "POST", "/store/there", body=b"body") == 201
        assert ask(made, method, "http://evil.example/store/there", body=body) == 299
        assert ask(made, method, "http://A:1/store/there", body=body) == 200


def test_a_plain_target_of_a_length_that_may_be_is_a_location_as_it_stands() -> None:
    alphabet = ["a", "/", ".", "..", "%41", "?", "~", "é", "/store/", "b" * (MAX_LOCATION_BYTES - 1)]
    plain = 0
    for parts in itertools.product(alphabet, repeat=4):
        location = "".join(parts)
        if is_plain_target(PREFIX + location):
            assert parse_location(location) == location
            plain += 1
    assert plain > 50


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_location_that_is_too_long_is_for_handlers(server: Running, method: str) -> None:
    body = b"x" if method != "DELETE" else b""
    assert ask(server, method, PREFIX + "x" * (MAX_LOCATION_BYTES + 1), body=body) == 299


def test_bodies_that_are_large_or_late_need_no_handler(server: Running, requests: RequestLog) -> None:
    assert ask(server, "POST", "/store/large", body=b"x" * 1_500_000) == 201
    with server.connect() as client:
        client.send(b"PUT /store/large HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        assert not client.is_closed(within_s=0.05)
        client.send(b"y")
        assert client.answer()[0] == 200
    assert requests.tallies["POST"].bytes_in == 1_500_004  # with that of `there`
    assert requests.tallies["PUT"].bytes_in == 2


def test_a_large_body_is_refused_before_it_comes(server: Running, requests: RequestLog) -> None:
    with server.connect() as client:
        client.send(b"POST /store/there HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
        assert client.answer()[0] == 409
    assert requests.tallies["POST"].statuses == {201: 1, 409: 1}


def test_a_client_that_leaves_within_its_body_is_counted_and_leaves_nothing(
    server: Running, requests: RequestLog
) -> None:
    with server.connect() as client:
        client.send(b"POST /store/cut HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
        assert not client.is_closed(within_s=0.05)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    wait_for(lambda: 499 in requests.tallies["POST"].statuses, what="its being counted")
    assert requests.tallies["POST"].statuses == {201: 1, 499: 1}
    assert ask(server, "POST", "/store/cut", body=b"x") == 201


def test_bodies_that_are_chunked_or_have_no_place_are_for_handlers(server: Running) -> None:
    assert ask(server, "GET", "/store/there", body=b"x") == 299
    assert ask(server, "DELETE", "/store/there", body=b"x") == 299
    with server.connect() as client:
        client.send(
            b"POST /store/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        )
        assert client.answer()[0] == 299


def test_each_answer_is_counted(server: Running, requests: RequestLog) -> None:
    for target in ("/store/there", "/store/there", "/store/nothing"):
        ask(server, "GET", target)
    ask(server, "HEAD", "/store/there")
    ask(server, "PUT", "/store/there", body=b"123")
    counted = {method: tally.statuses for method, tally in requests.tallies.items()}
    assert counted == {"GET": {200: 2}, "HEAD": {200: 1}, "POST": {201: 1}, "PUT": {200: 1}}
    assert (requests.tallies["GET"].bytes_out, requests.tallies["PUT"].bytes_in) == (8, 3)
