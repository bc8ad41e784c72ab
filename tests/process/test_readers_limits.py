"""Limits on clients, and counts of what they sent, are the same with a reader and without."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.test_tls import make_certificate
from tests.support.processes import Process
from tests.support.reader_pair import OWN, Pair, wire

MAX_BLOB = 100_000
MOST = 6  # connections
MANY = 1000  # answers that are more than any socket holds
CLOSE = "Connection: close"
GET = wire("GET", "/store/a")


@pytest.fixture(scope="module", params=["plain", "tls"])
def limited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("limited")
    options = {
        "max_target_bytes": "300",
        "max_header_bytes": "4000",
        "max_blob_size_bytes": str(MAX_BLOB),
        "header_timeout_s": "2",
        "body_timeout_s": "2",
        "send_timeout_s": "1",
        "put_creates": "true",
        "s3_path": "/s3",
    }
    trust = None
    if request.param == "tls":
        cert, key = make_certificate(folder)
        options |= {"tls_cert": str(cert), "tls_key": str(key)}
        trust = ssl.create_default_context(cafile=str(cert))
    pair = Pair(folder, options, trust)
    pair.put("a", b"0123456789")
    pair.put("large", os.urandom(MAX_BLOB))
    yield pair
    pair.end()


ODD_HEADS = [
    GET + b"GET / HTTP/9.9\r\n\r\n",
    b"\r\n\r\n" + GET + wire("GET", "/store/a", CLOSE),
    b"GET /store/a HTTP/1.1\r\n\r\n",  # no Host
    b"GET /store/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /store/a HTTP/1.0\r\n\r\n",
    b"GET /store/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2 + b"GET /store/a HTTP/1.0\r\n\r\n",
    b"GET http://localhost/store/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET  /store/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /store/a HTTP/1.1\r\nHost: localhost\r\n folded: 1\r\n\r\n",
    b"GET /store/a HTTP/1.1\r\nHost: localhost\r\nA : 1\r\n\r\n",
    b"GET /store/a HTTP/1.1\r\nHost: localhost\r\nA: \0\r\n\r\n",
    b"GET /store/a HTTP/1.1\nHost: localhost\n\n\r\n\r\n",
    wire("CONNECT", "localhost:1", CLOSE),
    wire("OPTIONS", "*", CLOSE),
    wire("TRACE", "/store/a", CLOSE),
    wire("BREW", "/store/a", CLOSE),
    wire("GET", "/store/a", "Upgrade: websocket", CLOSE),
    # Sizes of heads.
    wire("GET", "/store/" + "x" * 400),
    b"GET /store/" + b"x" * 5000,
    wire("GET", "/store/a", "A: " + "x" * 5000),
    b"GET /store/a HTTP/1.1\r\nA: " + b"x" * 5000,
    wire("GET", "/store/a", *["A: 1"] * 255, CLOSE),
    wire("GET", "/store/a", *["A: 1"] * 300),
    # Framing of bodies.
    wire("POST", "/store/a", "Content-Length: 1", "Content-Length: 2"),
    wire("POST", "/store/a", "Content-Length: -1"),
    wire("POST", "/store/a", "Content-Length: 1", "Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\n\r\n",
    wire("POST", "/store/a", "Transfer-Encoding: gzip, chunked"),
    wire("PUT", "/store/a", "Transfer-Encoding: chunked") + b"zz\r\n",
    wire("GET", "/store/a", "Content-Length: 3") + b"abc" + wire("GET", "/store/a", CLOSE),
    wire("DELETE", "/store/a", "Content-Length: 70000"),
    wire("GET", "/store/a", "Transfer-Encoding: chunked")
    + b"3\r\nabc\r\n0\r\n\r\n"
    + wire("GET", "/store/a", CLOSE),
    # Sizes of bodies.
    wire("PUT", "/store/more", f"Content-Length: {MAX_BLOB + 1}"),
    wire("PUT", "/store/more", f"Content-Length: {MAX_BLOB + 1}", "Expect: 100-continue"),
    wire("PUT", "/s3/bucket/more", f"Content-Length: {MAX_BLOB + 1}"),
    wire("PUT", "/store/most", f"Content-Length: {MAX_BLOB}", CLOSE) + bytes(MAX_BLOB),
]


def test_heads_and_bodies_are_refused_alike_and_counted_alike(limited: Pair) -> None:
    """Also behind requests that the reader has answered itself, so that the rest of the connection moves."""
    for request in ODD_HEADS:
        limited.ask(request)
        limited.ask(GET * 2, request)
    limited.counts_become_alike()


def test_a_continue_is_said_once(limited: Pair) -> None:
    for first in (b"", GET):
        for connection in limited.connections():
            connection.send(first, wire("PUT", "/store/b", "Content-Length: 3", "Expect: 100-Continue"))
            if first:
                assert connection.answer().body == b"0123456789"
            assert connection.answer().status == 100
            connection.send(b"abc", wire("GET", "/store/b"))
            assert connection.answer().status in (200, 201)
            assert connection.answer().body == b"abc"
            connection.close()


SLOW = [
    b"GET /store/a HTTP/1.1\r\nHost: ",
    GET + b"GET /store/a HTTP/1.1\r\n",
    wire("PUT", "/store/empty") + b"PUT",
    wire("PUT", "/store/slow", "Content-Length: 10") + b"abc",
    GET + wire("PUT", "/store/slow", "Transfer-Encoding: chunked") + b"3\r\nab",
    wire("PUT", "/store/slow", "Content-Length: 90000") + bytes(80_000),
]


def test_who_is_slow_is_told_so(limited: Pair) -> None:
    pairs = []
    for sent in SLOW:
        pairs.append((sent, limited.connections()))
        for connection in pairs[-1][1]:
            connection.send(sent)
    for sent, connections in pairs:
        assert b"408" in limited.rest(*connections), sent


def test_who_leaves_in_the_middle_of_a_body_is_counted_alike(limited: Pair) -> None:
    limited.ask(GET, wire("GET", "/store/a", CLOSE))
    limited.counts_become_alike()
    for sent in (wire("PUT", "/store/left", "Content-Length: 10") + b"abc", GET + GET[:20]):
        for connection in limited.connections():
            connection.send(sent)
            if sent.startswith(GET):
                assert connection.answer().status == 200
            limited.close(connection)
    limited.ask(wire("GET", "/store/a", CLOSE))
    limited.counts_become_alike()


def test_an_early_refusal_is_seen_by_who_sends_on(limited: Pair) -> None:
    """Its system still takes our answer, which a reset would remove."""
    body = bytes(1 << 20)
    for connection in limited.connections():
        connection.send(wire("PUT", "/store/a", f"Content-Length: {len(body)}"))
        connection.send(body)
        assert connection.answer().status == 413
        connection.close()


def test_who_does_not_speak_tls_is_told_so(limited: Pair) -> None:
    """And who says nothing is cut off."""
    if limited.shared.trust is None:
        pytest.skip("this pair speaks no TLS")
    for sent, expected in ((GET, b"HTTP/1.1 400 "), (b"\x16\x03\x01\xff\xff" + bytes(100), b""), (b"", b"")):
        answers = []
        for one in limited.plain_connections():
            if sent:
                one.send(sent)
            with contextlib.suppress(ConnectionResetError):
                answers.append(OWN.sub(rb"\1...", one.rest()))
            one.close()
        if expected:
            assert answers[0] == answers[1]
            assert answers[0].startswith(expected)
    limited.counts_become_alike()


@pytest.mark.parametrize("at", ["a/64k", "large"])
def test_who_takes_nothing_is_cut_off(limited: Pair, at: str) -> None:
    """Of answers of the reader, and of the server's. What is kept for it is little: requests wait unread.

    The last test of this pair, since how much is answered depends on what the sockets hold.
    """
    if at == "a/64k":
        limited.both(lambda server: server.ask("PUT", f"/store/{at}", bytes(65_536)))
    processes = [limited.shared, limited.reader, limited.alone]
    before = [memory_bytes(one) for one in processes]
    connections = limited.connections()
    for one in connections:
        one.send(wire("GET", f"/store/{at}") * MANY)
    for one in connections:
        limited.wait_for_the_end(one)
    assert all(
        now < then + (40 << 20) for now, then in zip(map(memory_bytes, processes), before, strict=True)
    )
    for one in connections:
        assert len(one.rest()) < MANY * 65_536
        one.close()


def memory_bytes(process: Process) -> int:
    """The most that it ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found
    return int(found[1]) << 10


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    options = {
        "max_connections": str(MOST),
        "max_uploads": "2",
        "min_upload_rate_bytes_per_s": "0",
        "max_blob_size_bytes": str(MAX_BLOB),
    }
    pair = Pair(tmp_path_factory.mktemp("crowded"), options)
    pair.put("a", b"0123456789")
    yield pair
    pair.end()


def test_one_upload_too_many_is_told_so(crowded: Pair) -> None:
    answers = []
    for make in (crowded.through_the_reader, crowded.past_readers):
        first, second, third = make(3)
        for number, one in enumerate((first, second)):
            one.send(wire("POST", f"/store/held/{number}", "Content-Length: 2", "Expect: 100-continue"))
            assert one.answer().status == 100
        third.send(wire("POST", "/store/more", "Content-Length: 90000"))
        answers.append(OWN.sub(rb"\1...", third.rest()))
        for one in (first, second):
            one.send(b"ab", wire("GET", "/store/a", CLOSE))
            assert one.answer().status == 201
            assert one.answer().status == 200
            assert one.at_end()
        for one in (first, second, third):
            one.close()
    assert answers[0] == answers[1]
    assert b"503" in answers[0][:12]
    assert b"Retry-After: 5" in answers[0]


def test_one_connection_too_many_is_told_so(crowded: Pair) -> None:
    """But it is told how the server is."""
    answers = []
    for make in (crowded.through_the_reader, crowded.past_readers):
        made = make(MOST + 2)
        made[MOST].send(GET)
        made[MOST + 1].send(wire("GET", "/healthz"))
        answers.append([OWN.sub(rb"\1...", one.rest()) for one in made[MOST:]])
        made[0].send(wire("GET", "/store/a", CLOSE))
        assert made[0].answer().status == 200
        for one in made:
            one.close()
    assert answers[0] == answers[1]
    assert [answer[9:12] for answer in answers[0]] == [b"503", b"200"]


def test_a_body_that_grows_too_large_is_refused(crowded: Pair) -> None:
    chunks = (b"186a0\r\n" + bytes(MAX_BLOB) + b"\r\n") * 2
    answers = []
    for make in (crowded.through_the_reader, crowded.past_readers):
        (one,) = make(1)
        one.send(wire("POST", "/store/more", "Transfer-Encoding: chunked"), chunks)
        answers.append(OWN.sub(rb"\1...", one.rest()))
        one.close()
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"HTTP/1.1 413 ")
