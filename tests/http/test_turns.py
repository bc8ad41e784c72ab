"""No request to the product makes others wait: one turn of the event loop has a bound, in counted work."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from common.config import Config
from services.access.decisions import Access
from services.frontends.native.app import make_app
from services.frontends.native.fast_path import FastPath
from services.http1 import Limits
from services.watch.monitor import Monitor
from services.watch.request_log import RequestLog
from tests.support.campaign import choose
from tests.support.memory_engine import MemoryEngine
from tests.support.turns import Turn, longest_turn

# A request to a handler takes some 500 calls. A turn of 5,000 calls takes 2.5 ms.
MOST_CALLS = 5_000
MIB = 1 << 20


def request(method: str, target: str, fields: bytes = b"", body: bytes = b"") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n".encode() + fields + b"\r\n" + body


def field(name: str, part: bytes, count: int = 60_000) -> bytes:
    return name.encode() + b": " + (part * (count // len(part) + 1))[:count] + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked\r\n"
ONE_BYTE_CHUNKS = b"1\r\nx\r\n" * 70_000 + b"0\r\n\r\n"

ATTACKS = {
    "chunks of one byte, healthz": request("GET", "/healthz", CHUNKED, ONE_BYTE_CHUNKS),
    "chunks of one byte, upload": request("POST", "/store/new", CHUNKED, ONE_BYTE_CHUNKS),
    "chunks of one byte, dashboard": request("OPTIONS", "/", CHUNKED, ONE_BYTE_CHUNKS),
    "chunks of one byte, nowhere": request("POST", "/nowhere", CHUNKED, ONE_BYTE_CHUNKS),
    "pipelined reads": request("GET", "/store/blob") * 2000,
    "pipelined creates": request("POST", "/store/blob", b"Content-Length: 1\r\n", b"x") * 500,
    "commas in Accept": request("GET", "/store/", field("Accept", b",")),
    "types in Accept": request("GET", "/store/", field("Accept", b"a/b;q=0.1,")),
    "commas in If-None-Match": request("GET", "/store/blob", field("If-None-Match", b",")),
    "tags in If-None-Match": request("GET", "/store/blob", field("If-None-Match", b'"a",')),
    "tags in If-Match": request(
        "PUT", "/store/blob", field("If-Match", b'"a",') + b"Content-Length: 1\r\n", b"x"
    ),
    "an open quote in If-None-Match": request("GET", "/store/blob", field("If-None-Match", b'"a')),
    "ranges": request("GET", "/store/blob", field("Range", b"bytes=0-0,0-0,", 60_000)),
    "digests": request(
        "PUT", "/store/blob", field("Repr-Digest", b"a=:b:,") + b"Content-Length: 1\r\n", b"x"
    ),
    "codings": request(
        "PUT", "/store/blob", field("Content-Encoding", b"a,") + b"Content-Length: 1\r\n", b"x"
    ),
    "a password": request("GET", "/store/blob", field("Authorization", b"Basic ")),
    "cookies": request("GET", "/", field("Cookie", b"a=b;")),
    "a location of percents": request("GET", "/store/" + "%41" * 2600),
    "a location of slashes": request("GET", "/store/" + "a/" * 4000),
    "a listing of a long prefix": request("GET", "/store/?prefix=" + "a" * 8000),
    "a listing of many arguments": request("GET", "/store/?" + "a=&" * 2600),
}


@pytest.fixture
def app(tmp_path: Path) -> FastPath:
    engine = MemoryEngine(str(tmp_path))
    store, config = engine.store, Config(dir=str(tmp_path))
    requests = RequestLog()
    monitor = Monitor(engine, store, requests)
    access = Access(None)
    return FastPath(make_app(store, engine.admin(), config, monitor, access), store, access, requests, config)


def longest(app: FastPath, data: bytes) -> tuple[Turn, bytes]:
    seed = request("POST", "/store/blob", b"Repr-Digest: a=:b:\r\nContent-Length: 5\r\n", b"bytes")
    longest_turn(app, seed)  # what is made once is made here
    return longest_turn(app, data, Limits(body_bytes=1 << 62), app.quick_answer)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_known_attack_does_not_make_others_wait(name: str, app: FastPath) -> None:
    turn, answer = longest(app, ATTACKS[name])
    assert answer.startswith(b"HTTP/1.1 ")
    assert turn.calls < MOST_CALLS
    assert turn.received_bytes <= MIB
    assert turn.sent_bytes <= MIB


def test_the_dearest_request_of_all_has_turns_like_any_other(app: FastPath) -> None:
    turn, answer = longest(app, request("GET", "/metrics"))
    assert b" 200 " in answer
    assert turn.calls < 1_500  # in one piece it would take more than 3,000


METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "FOO"]
TARGETS = [
    "/store/blob",
    "/store/new",
    "/store/",
    "/blobs/",
    "/healthz?verbose=1",
    "/metrics",
    "/",
    "*",
    "/x",
]
NAMES = [
    *(
        "Accept",
        "Authorization",
        "Content-Encoding",
        "Content-Type",
        "Cookie",
        "Expect",
        "If-Match",
        "If-None-Match",
    ),
    *("If-Modified-Since", "If-Range", "Origin", "Range", "Repr-Digest", "Want-Repr-Digest", "X"),
]
PARTS = [
    b",",
    b'"',
    b'"a",',
    b"a=b;",
    b"a, ",
    b"\\",
    b'"\\',
    b"%",
    b"\t",
    b";q=",
    b"bytes=0-,",
    b"/",
    b"*,",
    b"W/",
]


@pytest.mark.parametrize("seed", choose("random requests", range(200), 12))
def test_a_random_request_does_not_either(seed: int, app: FastPath) -> None:
    chance = random.Random(seed)
    data = b"".join(_message(chance) for _ in range(chance.choice((1, 5, 50))))
    turn, _ = longest(app, data)
    assert turn.calls < MOST_CALLS, f"seed {seed}"
    assert turn.sent_bytes <= MIB, f"seed {seed}"


def _message(chance: random.Random) -> bytes:
    target = chance.choice(TARGETS) + chance.choice(
        ["", "", "?" + chance.choice(["a&", "limit=1&", "%"]) * 2000]
    )
    fields = b"".join(
        field(chance.choice(NAMES), chance.choice(PARTS), chance.choice((5, 500, 20_000)))
        for _ in range(chance.randrange(4))
    )
    if chance.randrange(3):
        return request(chance.choice(METHODS), target, fields)
    size = chance.choice((1, 30, 5000))
    body = (b"%x\r\n" % size + bytes(size) + b"\r\n") * chance.choice((1, 500)) + b"0\r\n\r\n"
    return request(chance.choice(METHODS), target, fields + CHUNKED, body)
