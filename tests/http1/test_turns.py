"""No client makes the others wait: one turn of the event loop has a bound, in counted work."""

from __future__ import annotations

import random

import pytest
from tornado.web import RequestHandler, stream_request_body

from services.http1 import Limits
from tests.http1.serving import ordinary_app
from tests.support.campaign import choose
from tests.support.turns import longest_turn

# A request takes some 400 calls with Tornado's handlers. A turn of 4,000 calls takes 2 ms.
MOST_CALLS = 4_000
MIB = 1 << 20


@stream_request_body
class Dropping(RequestHandler):
    """Drops its body, as handlers do that need none."""

    def data_received(self, chunk: bytes) -> None:
        """Drop it."""

    def get(self) -> None:
        self.write("ok")

    post = delete = get


def request(method: str, target: str, fields: bytes, body: bytes = b"") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\n".encode() + fields + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"
ONE_BYTE_CHUNKS = b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
TRAILERS = b"0\r\n" + b"a:\r\n" * 20_000 + b"\r\n"

ATTACKS = {
    "chunks of one byte, body dropped": request("POST", "/drop", CHUNKED, ONE_BYTE_CHUNKS),
    "chunks of one byte, GET": request("GET", "/drop", CHUNKED, ONE_BYTE_CHUNKS),
    "chunks of one byte, answered before": request("PUT", "/refuse", CHUNKED, ONE_BYTE_CHUNKS),
    "chunks of one byte, buffered": request("POST", "/echo", CHUNKED, ONE_BYTE_CHUNKS),
    "chunks of one byte, streamed": request("PUT", "/count", CHUNKED, ONE_BYTE_CHUNKS),
    "chunks with extensions": request("POST", "/drop", CHUNKED, b"1;\r\nx\r\n" * 20_000 + b"0\r\n\r\n"),
    "trailers": request("POST", "/drop", CHUNKED, TRAILERS),
    "one large chunk": request("POST", "/drop", CHUNKED, b"800000\r\n" + bytes(8 * MIB) + b"\r\n0\r\n\r\n"),
    "a large body": request("POST", "/drop", b"Content-Length: 8388608\r\n", bytes(8 * MIB)),
    "a large body, answered before": request(
        "PUT", "/refuse", b"Content-Length: 9999999\r\n", bytes(8 * MIB)
    ),
    "pipelined requests": request("GET", "/x", b"") * 1000,
    "pipelined small bodies": request("POST", "/drop", b"Content-Length: 1\r\n", b"x") * 1000,
    "pipelined small bodies, chunked": request("POST", "/drop", CHUNKED, b"1\r\nx\r\n0\r\n\r\n") * 1000,
    "pipelined refusals": request("PUT", "/refuse", b"Content-Length: 1\r\n", b"x") * 1000,
    "empty lines": b"\r\n" * 100_000,
    "many fields": request("GET", "/x", b"a:\r\n" * 15_000),
    "many fields of one name": request("GET", "/x", b"Cookie: a=b\r\n" * 250),
    "commas in Connection": request("GET", "/x", b"Connection: " + b"," * 60_000 + b"\r\n"),
    "commas in Content-Length": request("POST", "/x", b"Content-Length: " + b"1," * 30_000 + b"1\r\n"),
    "commas in Transfer-Encoding": request("POST", "/x", b"Transfer-Encoding: " + b"," * 60_000 + b"\r\n"),
    "a query of many arguments": request("GET", "/x?" + "a=&" * 2_600, b""),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_known_attack_does_not_make_others_wait(name: str) -> None:
    turn, answer = longest_turn(ordinary_app((r"/drop", Dropping)), ATTACKS[name])
    assert turn.calls < MOST_CALLS
    assert turn.received_bytes <= MIB
    assert answer.startswith(b"HTTP/1.1 ") or name == "empty lines"


def test_the_count_would_show_it() -> None:
    """The same attack on a server without bounds."""
    data = ATTACKS["chunks of one byte, body dropped"]
    boundless = Limits(turn_lines=1 << 30, turn_bytes=1 << 30)
    turn, _ = longest_turn(ordinary_app((r"/drop", Dropping)), data, boundless)
    assert turn.calls > 5 * MOST_CALLS


@pytest.mark.parametrize("seed", choose("random attacks", range(200), 12))
def test_a_random_attack_does_not_either(seed: int) -> None:
    chance = random.Random(seed)
    data = b"".join(_message(chance) for _ in range(chance.choice((1, 5, 200))))
    turn, _ = longest_turn(ordinary_app((r"/drop", Dropping)), data)
    assert turn.calls < MOST_CALLS, f"seed {seed}"
    assert turn.received_bytes <= MIB, f"seed {seed}"


def _message(chance: random.Random) -> bytes:
    """A request of random parts, few of them sensible."""
    method = chance.choice(["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "FOO"])
    target = chance.choice(["/drop", "/count", "/refuse", "/echo", "/304"]) + chance.choice(
        ["", "?" + "a&" * 2000]
    )
    part = chance.choice([b",", b"a=b;", b'"', b"\\", b"%", b"a, ", b"\t", b'W/"a",'])
    name = chance.choice([b"Cookie", b"Accept", b"If-None-Match", b"Connection", b"X", b"Expect"])
    fields = (name + b": " + part * chance.choice((1, 10, 5000)) + b"\r\n") * chance.choice((0, 1, 3, 300))
    kind = chance.randrange(4)
    if kind == 0:
        return request(method, target, fields)
    if kind == 1:
        size = chance.choice((1, 1000, 300_000, 3 * MIB))
        body = bytes(size - chance.choice((0, 0, 1)))
        return request(method, target, fields + b"Content-Length: %d\r\n" % size, body)
    size = chance.choice((1, 2, 15, 1000, 70_000))
    chunk = b"%x%b\r\n%b\r\n" % (size, chance.choice((b"", b";", b" ; a=b")), bytes(size))
    end = chance.choice((b"", b"0\r\n\r\n", b"0\r\n" + b"a:\r\n" * 300 + b"\r\n", b"x\r\n"))
    return request(method, target, fields + CHUNKED, chunk * chance.choice((1, 30, 20_000 // size + 1)) + end)
