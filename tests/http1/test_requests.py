"""Whole requests on real sockets: order, keep-alive, bodies, and what each method and version must get."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http1.serving import NothingIsReady, Running, running


@pytest.fixture(scope="module", params=["uvloop", "asyncio", "turns"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    answers = NothingIsReady() if request.param == "turns" else None
    with running(with_uvloop=request.param != "asyncio", answers=answers) as made:
        yield made


def get(path: str = "/", *fields: str, version: str = "1.1") -> bytes:
    lines = [f"GET {path} HTTP/{version}", "Host: a", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin1")


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    with server.connect() as client:
        client.send(get("/slow?s=0.05") + get("/2") + get("/slow?s=0.01") + b"".join(map(_nth, range(200))))
        assert client.answer()[2] == b"0.05"
        assert client.answer()[2] == b"GET /2 "
        assert client.answer()[2] == b"0.01"
        assert [client.answer()[2] for _ in range(200)] == [b"GET /n%d " % n for n in range(200)]


def _nth(number: int) -> bytes:
    return get(f"/n{number}")


def test_requests_with_bodies_are_pipelined_too(server: Running) -> None:
    post = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    chunked = (
        b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nde\r\n0\r\nT: 1\r\n\r\n"
    )
    with server.connect() as client:
        client.send(post + chunked + b"\r\n" + get("/g"))
        assert [client.answer()[2] for _ in range(3)] == [b"POST /p abc", b"PUT /c de", b"GET /g "]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 400), max_size=12))
def test_answers_do_not_depend_on_how_requests_are_cut(server: Running, sizes: list[int]) -> None:
    data = (
        get("/1")
        + b"PUT /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
        + b"\r\nPOST http://b/3 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n1234"
        + get("/4", "Connection: close")
    )
    with server.connect() as client:
        at = 0
        for size in sizes:
            client.send(data[at : at + size])
            at += size
        client.send(data[at:])
        answers = [client.answer()[2] for _ in range(4)]
        assert answers == [b"GET /1 ", b"PUT /2 abcd", b"POST /3 1234", b"GET /4 "]
        assert client.is_closed()


@pytest.mark.parametrize(
    ("request_", "closes", "says"),
    [
        (get(), False, None),
        (get("/", "Connection: close"), True, "close"),
        (get("/", "Connection: foo, close"), True, "close"),
        (get("/", version="1.0"), True, None),
        (get("/", "Connection: keep-alive", version="1.0"), False, "Keep-Alive"),
        (get("/", "Connection: keep-alive", version="1.9"), False, None),
    ],
)
def test_a_connection_stays_or_closes(
    server: Running, request_: bytes, closes: bool, says: str | None
) -> None:
    with server.connect() as client:
        client.send(request_)
        _, fields, _ = client.answer()
        assert fields.get("connection") == says
        if closes:
            assert client.is_closed()
        else:
            client.send(get("/again", "Connection: close"))
            assert client.answer()[2] == b"GET /again "


def test_head_is_answered_without_a_body(server: Running) -> None:
    with server.connect() as client:
        client.send(b"HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n" + get("/g"))
        code, fields, _ = client.answer(to_head=True)
        assert (code, fields["content-length"]) == (200, "8")
        assert client.answer()[2] == b"GET /g "


@pytest.mark.parametrize(
    ("line", "code"), [("OPTIONS /a", 204), ("OPTIONS *", 204), ("GET /304", 304), ("DELETE /x", 405)]
)
def test_answers_without_bodies_keep_the_connection(server: Running, line: str, code: int) -> None:
    with server.connect() as client:
        client.send(f"{line} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + get("/g"))
        found, fields, _ = client.answer()
        assert found == code
        assert code == 405 or not fields.keys() & {"content-length", "transfer-encoding"}
        assert client.answer()[2] == b"GET /g "


@pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
def test_100_continue_comes_before_the_body(server: Running, expect: str) -> None:
    with server.connect() as client:
        client.send(f"PUT /e HTTP/1.1\r\nHost: a\r\nExpect: {expect}\r\nContent-Length: 2\r\n\r\n".encode())
        assert client.answer()[0] == 100
        client.send(b"ok")
        assert client.answer()[2] == b"PUT /e ok"


def test_100_continue_comes_also_where_no_body_follows(server: Running) -> None:
    """botocore would not read the next answer on the connection as one."""
    empty = b"PUT %b HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n"
    with server.connect() as client:
        for _ in range(2):
            client.send(empty % b"/e")
            assert client.answer()[0] == 100
            assert client.answer()[2] == b"PUT /e "
        client.send(empty % b"/refuse")
        code, fields, _ = client.answer()
        assert (code, fields["connection"]) == (409, "close")
        assert client.is_closed()


def test_no_100_to_who_did_not_wait_or_speaks_1_0(server: Running) -> None:
    with server.connect() as client:
        client.send(b"PUT /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok")
        assert client.answer()[2] == b"PUT /e ok"
    with server.connect() as client:
        client.send(b"PUT /e HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert not client.is_closed(within_s=0.1)
        client.send(b"ok")
        assert client.answer()[2] == b"PUT /e ok"


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS"])
def test_a_large_body_that_nobody_needs_is_refused(server: Running, method: bytes) -> None:
    for length, status in ((64 << 10, 200), ((64 << 10) + 1, 413)):
        with server.connect() as client:
            client.send(b"%b /count HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (method, length))
            client.send(bytes(length))
            assert client.answer()[0] in (status, 405 if status == 200 else status)


def test_a_refused_expectation_closes_without_a_100(server: Running) -> None:
    with server.connect() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        code, fields, _ = client.answer()
        assert (code, fields["connection"]) == (409, "close")
        assert client.is_closed()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0", 400),
        (b"GET /" + b"a" * 9000, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000, 431),
        (b"PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n", 413),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_what_is_refused_is_told_and_closed(server: Running, data: bytes, code: int) -> None:
    with server.connect() as client:
        client.send(get("/first") + data)
        assert client.answer()[2] == b"GET /first "
        found, fields, body = client.answer()
        assert (found, fields["connection"], fields["content-type"]) == (code, "close", "application/json")
        assert b'"code": %d' % code in body
        assert client.is_closed()


def test_after_a_refusal_nothing_is_answered(server: Running) -> None:
    answer = server.ask(b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n" + get("/smuggled"))
    assert answer.count(b"HTTP/1.1") == 1


def test_a_large_head_is_read_where_the_limit_allows() -> None:
    with running(head_bytes=1 << 20, pipeline_bytes=1000) as server, server.connect() as client:
        client.send(get("/", "X: " + "a" * 500_000))
        assert client.answer()[0] == 200


@pytest.mark.parametrize("cut", ["GET / HT", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"])
def test_a_request_that_ends_early_is_told_where_someone_listens(server: Running, cut: str) -> None:
    with server.connect() as client:
        client.send(cut.encode())
        client.end_sending()
        assert client.answer()[0] == 400
        assert client.is_closed()


def test_a_client_that_ends_sending_still_gets_its_answers(server: Running) -> None:
    with server.connect() as client:
        client.send(get("/slow?s=0.05") + get("/2"))
        client.end_sending()
        assert [client.answer()[2] for _ in range(2)] == [b"0.05", b"GET /2 "]
        assert client.is_closed()
