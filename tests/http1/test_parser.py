"""Request heads: what is accepted, and that a head which two programs could read differently is refused."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.http1.errors import Refusal
from services.http1.limits import Limits
from services.http1.parser import CHUNKED, RequestHead, check_partial_head, parse_head, skip_empty_lines
from tests.support.work import is_in_proportion

LIMITS = Limits()


def parse(text: str | bytes, limits: Limits = LIMITS) -> RequestHead:
    data = text if isinstance(text, bytes) else text.encode("latin1")
    return parse_head(data, limits)


def head(*fields: str, line: str = "GET / HTTP/1.1", host: str = "Host: a\r\n") -> bytes:
    return (f"{line}\r\n{host}" + "".join(f"{field}\r\n" for field in fields)).encode("latin1")


def refused(data: bytes) -> int:
    with pytest.raises(Refusal) as info:
        parse(data)
    assert info.value.text.endswith(".")
    return info.value.code


def test_a_head_is_understood() -> None:
    found = parse("PUT /a%20b?c=d HTTP/1.1\r\nHost: x:80\r\ncontent-LENGTH: 007\r\nX: 1\r\nx:\t2 \r\n")
    assert found.start_line == ("PUT", "/a%20b?c=d", "HTTP/1.1")
    assert found.headers["Content-Length"] == "007"
    assert found.headers.get_list("X") == ["1", "2"]
    assert (found.body_bytes, found.keep_alive, found.expects_continue) == (7, True, False)


@pytest.mark.parametrize(
    "line",
    [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/ HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/11",
        "GET / HTTP/1.10",
        "GET / HTTP/1.",
        "GET /",
        "GET",
        "",
        "G{T / HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
        "GET http:///a HTTP/1.1",
        "GET http://user@a/ HTTP/1.1",
        "GET http://a/#f HTTP/1.1",
        "CONNECT / HTTP/1.1x",
    ],
)
def test_malformed_request_lines_are_refused(line: str) -> None:
    assert refused(head(line=line)) == 400


@pytest.mark.parametrize("version", ["2.0", "0.9", "3.1"])
def test_other_major_versions_are_refused(version: str) -> None:
    assert refused(head(line=f"GET / HTTP/{version}")) == 505


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("/a", "/a", "a"),
        ("//a//b", "//a//b", "a"),
        ("http://other/x?y", "/x?y", "other"),
        ("HTTP://other:81", "/", "other:81"),
        ("https://[::1]:5?q", "/?q", "[::1]:5"),
    ],
)
def test_the_host_of_an_absolute_target_wins(target: str, path: str, host: str) -> None:
    found = parse(head(line=f"GET {target} HTTP/1.1"))
    assert (found.start_line.path, found.headers["Host"]) == (path, host)


def test_asterisk_and_authority_forms() -> None:
    assert parse(head(line="OPTIONS * HTTP/1.1")).start_line.path == "*"
    assert parse(head(line="OPTIONS http://b HTTP/1.1")).start_line.path == "*"
    assert parse(head(line="CONNECT b:443 HTTP/1.1")).start_line.path == "b:443"


@pytest.mark.parametrize(
    "field",
    [
        " folded: a",
        "\tfolded",
        "X : a",
        "X\t: a",
        ": a",
        "no colon",
        "X: a\0b",
        "X: a\rb",
        "X: a\nb",
        "X: \x1f",
        "X: \x7f",
        "X\x00: a",
        "(X): a",
        "X\xe9: a",
    ],
)
def test_malformed_fields_are_refused(field: str) -> None:
    assert refused(head(field)) == 400


def test_values_may_hold_bytes_above_ascii_and_tabs() -> None:
    assert parse(head("X: \xe9\ta")).headers["X"] == "\xe9\ta"


@pytest.mark.parametrize("host", ["", "Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n", "Host: a, b\r\n"])
def test_not_exactly_one_host_is_refused(host: str) -> None:
    assert refused(head(host=host)) == 400


@pytest.mark.parametrize("name", ["a/b", "a b", "a@b", "a?b", "a\xe9", "a#"])
def test_a_host_that_is_none_is_refused(name: str) -> None:
    assert refused(head(host=f"Host: {name}\r\n")) == 400


def test_http_1_0_needs_no_host() -> None:
    assert parse(head(line="GET / HTTP/1.0", host="")).start_line.version == "HTTP/1.0"


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 1", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 0"),
        ("Content-Length: 1", "Content-Length: 2"),
        ("Content-Length: 1, 2",),
        ("Content-Length: 1, ",),
        ("Content-Length: ",),
        ("Content-Length: +1",),
        ("Content-Length: -1",),
        ("Content-Length: 1_0",),
        ("Content-Length: 0x1",),
        ("Content-Length: 1.0",),
        ("Content-Length: \xb2",),
        ("Content-Length: 1234567890123456789",),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked,",),
        ("Transfer-Encoding: ",),
    ],
)
def test_ambiguous_framing_is_refused(fields: tuple[str, ...]) -> None:
    assert refused(head(*fields, line="POST / HTTP/1.1")) == 400


@pytest.mark.parametrize(
    "coding", ["gzip", "gzip, chunked", "chunked, gzip", "identity", "xchunked", "\xa0chunked"]
)
def test_unknown_transfer_codings_are_not_implemented(coding: str) -> None:
    assert refused(head(f"Transfer-Encoding: {coding}", line="POST / HTTP/1.1")) == 501


def test_chunked_from_http_1_0_is_refused() -> None:
    assert refused(head("Transfer-Encoding: chunked", line="POST / HTTP/1.0")) == 400


@pytest.mark.parametrize(
    ("fields", "body_bytes"),
    [
        ((), 0),
        (("Content-Length: 0",), 0),
        (("Content-Length: 5", "Content-Length: 5"), 5),
        (("Content-Length: 5,5",), 5),
        (("Transfer-Encoding: Chunked",), CHUNKED),
    ],
)
def test_framing(fields: tuple[str, ...], body_bytes: int) -> None:
    assert parse(head(*fields, line="POST / HTTP/1.1")).body_bytes == body_bytes


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.1", "Close", False),
        ("1.1", "foo, close", False),
        ("1.1", "closed", True),
        ("1.1", "keep-alive", True),
        ("1.9", None, True),
        ("1.0", None, False),
        ("1.0", "keep-alive", True),
        ("1.0", "foo,Keep-Alive", True),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_keep_alive(version: str, connection: str | None, stays: bool) -> None:
    fields = [] if connection is None else [f"Connection: {connection}"]
    assert parse(head(*fields, line=f"GET / HTTP/{version}")).keep_alive is stays


@pytest.mark.parametrize(
    ("version", "expect", "waits"),
    [
        ("1.1", "100-continue", True),
        ("1.1", "100-Continue", True),
        ("1.0", "100-continue", False),
        ("1.1", "other", False),
    ],
)
def test_expect(version: str, expect: str, waits: bool) -> None:
    found = parse(head(f"Expect: {expect}", "Content-Length: 1", line=f"PUT / HTTP/{version}"))
    assert found.expects_continue is waits


def test_long_targets_and_heads_have_their_own_codes() -> None:
    assert refused(head(line=f"GET /{'a' * LIMITS.target_bytes} HTTP/1.1")) == 414
    assert parse(head(line=f"GET /{'a' * (LIMITS.target_bytes - 1)} HTTP/1.1"))
    assert refused(head(f"X: {'a' * LIMITS.head_bytes}")) == 431
    assert parse(head(f"X: {'a' * (LIMITS.head_bytes - 100)}"))


def test_a_cached_block_is_not_shared_between_requests() -> None:
    first = parse(head("X: 1"))
    first.headers.add("X", "2")
    first.headers["Y"] = "3"
    second = parse(head("X: 1"))
    assert second.headers.get_list("X") == ["1"]
    assert "Y" not in second.headers


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\nHost: a\n", b"GET / HTTP/1.1\r\nHost\rx", b"GET /\0", b"\n"]
)
def test_what_can_not_become_right_is_refused_before_the_head_is_whole(data: bytes) -> None:
    with pytest.raises(Refusal) as info:
        check_partial_head(data, 0, LIMITS)
    assert info.value.code == 400


def test_the_end_of_what_came_may_be_half_a_line_end() -> None:
    check_partial_head(b"GET / HTTP/1.1\r", 0, LIMITS)
    with pytest.raises(Refusal):
        check_partial_head(b"GET / HTTP/1.1\rx", 13, LIMITS)


def test_each_way_that_line_ends_can_come_in_two_pieces() -> None:
    for text in map(bytes, itertools.product(b"\r\nx\0", repeat=5)):
        for middle in range(len(text) + 1):
            rest = text.removesuffix(b"\r").replace(b"\r\n", b"")
            wrong = any(byte in b"\r\n\0" for byte in rest)
            assert is_refused(text[:middle], 0) or is_refused(text, middle) == wrong, (text, middle)


def is_refused(data: bytes, checked_bytes: int) -> bool:
    try:
        check_partial_head(data, checked_bytes, LIMITS)
    except Refusal:
        return True
    return False


def test_empty_lines_before_a_request_are_skipped() -> None:
    assert skip_empty_lines(b"\r\n\r\nGET") == b"GET"
    assert skip_empty_lines(b"\rGET") == b"\rGET"


@given(
    st.lists(
        st.sampled_from([b"GET ", b"/", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"\0", b"Host: a", b" ", b":"])
    )
    | st.binary(max_size=200)
)
def test_any_bytes_are_understood_or_refused(data: bytes | list[bytes]) -> None:
    raw = data if isinstance(data, bytes) else b"".join(data)
    try:
        found = parse(raw + b"\r\n")
    except Refusal:  # and nothing else
        return
    assert found.start_line.path[0] in "/*" or found.start_line.method == "CONNECT"
    for name, value in found.headers.get_all():
        assert not set(name + value) & set("\r\n\0")


@pytest.mark.parametrize(
    ("start", "unit", "end"),
    [
        (b"", b"X: a\r\n", b""),
        (b"X:", b" ", b"a\r\n"),
        (b"Content-Length: ", b"1,", b"\r\n"),
        (b"Connection: ", b" ,", b"\r\n"),
        (b"Transfer-Encoding: ", b",", b"\r\n"),
        (b"", b"a", b"\r\n"),
        (b"Host: ", b"a", b"\r\n"),
    ],
)
def test_hostile_heads_take_time_in_proportion(start: bytes, unit: bytes, end: bytes) -> None:
    boundless = Limits(head_bytes=1 << 30)

    def judge(size: int) -> None:
        with contextlib.suppress(Refusal):
            parse(b"GET / HTTP/1.1\r\nHost: a\r\n" + start + unit * (size // len(unit)) + end, boundless)

    assert is_in_proportion(judge, 400_000)
