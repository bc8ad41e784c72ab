"""No request of S3 makes others wait: one turn of the event loop has a bound, in counted work."""

from __future__ import annotations

import asyncio

import pytest

from common.config import Config
from services.access.decisions import Access
from services.frontends.s3.app import S3FrontEnd
from services.frontends.s3.fast_path import S3FastPath
from services.frontends.s3.multipart import part_tag
from services.frontends.s3.parts_in_blobs import parts_of
from services.http1 import Limits
from services.watch.request_log import RequestLog
from tests.support.memory_store import MemoryStore
from tests.support.turns import Turn, longest_turn

# As for native requests (tests/http/test_turns.py). A query of 8 KB in 600 parameters takes the most.
MOST_CALLS = 5_000
KEYS = 700


def request(method: str, target: str, body: bytes | None = None, fields: bytes = b"") -> bytes:
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n".encode()
    return head + fields + length + b"\r\n" + (body or b"")


def field(name: str, part: bytes, count: int = 30_000) -> bytes:
    return name.encode() + b": " + part * (count // len(part)) + b"\r\n"


def framed(size: int) -> bytes:
    return (
        b"x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n"
        b"x-amz-decoded-content-length: %d\r\n" % size
    )


def delete(key: bytes, count: int = 1000) -> bytes:
    return b"<Delete>" + (b"<Object><Key>" + key + b"</Key></Object>") * count + b"</Delete>"


ATTACKS = {
    "chunks of one byte": request("PUT", "/bkt/new", b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n", framed(40_000)),
    "a chunk with a long extension": request("PUT", "/bkt/new", b"1;" + b"a" * 300_000, framed(1)),
    "many trailers": request("PUT", "/bkt/new", b"0\r\n" + b"a:b\r\n" * 3000 + b"\r\n", framed(0)),
    "many names of trailers": request(
        "PUT", "/bkt/new", b"x", framed(1) + field("x-amz-trailer", b"x-amz-checksum-crc32,")
    ),
    "no names of trailers": request("PUT", "/bkt/new", b"x", framed(1) + field("x-amz-trailer", b",")),
    "a source of percents": request("PUT", "/bkt/new", b"", field("x-amz-copy-source", b"%41")),
    "a source as long as it may be": request(
        "PUT", "/bkt/new", b"", field("x-amz-copy-source", b"%41", 5000)
    ),
    "a thousand deletes": request("POST", "/bkt?delete", delete(b"nothing")),
    "a thousand refused deletes": request("POST", "/bkt?delete", delete(b"a/" * 600)),
    "a document of nothing": request("POST", "/bkt?delete", b"<Delete>" + b"<a/>" * 7000 + b"</Delete>"),
    "a deep document": request("POST", "/bkt?delete", b"<a>" * 9000),
    "a list": request("GET", "/bkt?list-type=2"),
    "a list of versions": request("GET", "/bkt?versions"),
    "a list of groups": request("GET", "/bkt?list-type=2&delimiter=-"),
    "a location of percents": request("GET", "/bkt/" + "%41" * 1300),
    "metadata": request(
        "PUT", "/bkt/new", b"x", b"".join(b"x-amz-meta-%d: v\r\n" % one for one in range(90))
    ),
}


@pytest.fixture
def front() -> S3FastPath:
    return S3FrontEnd(MemoryStore(), Config(http="blobkeep"), Access(None), RequestLog()).fast_path


def longest(front: S3FastPath, data: bytes) -> tuple[Turn, bytes]:
    return longest_turn(front, data, Limits(body_bytes=1 << 62), front.quick_answer)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_known_attack_does_not_make_others_wait(name: str, front: S3FastPath) -> None:
    longest(front, request("PUT", "/bkt"))  # what is made once is made here
    longest(front, b"".join(request("PUT", f"/bkt/{number:04}-x", b"x") for number in range(KEYS)))
    turn, answer = longest(front, ATTACKS[name])
    assert answer.startswith(b"HTTP/1.1 ")
    assert turn.calls < MOST_CALLS


def test_a_completion_of_many_parts_does_not_either() -> None:
    """It is refused, since its parts are too small; that can be asked for again and again."""
    store, many = MemoryStore(), 150
    s3 = S3FrontEnd(store, Config(http="blobkeep"), Access(None), RequestLog())
    longest(s3.fast_path, request("PUT", "/bkt"))
    longest(s3.fast_path, request("POST", "/bkt/new?uploads", b""))
    (upload,) = asyncio.run(parts_of(store).list_multiparts("bkt/", ("", ""), 2))
    at = f"uploadId={upload.id}"
    longest(
        s3.fast_path,
        b"".join(request("PUT", f"/bkt/new?partNumber={one}&{at}", b"x") for one in range(1, many + 1)),
    )
    named = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>{part_tag(part)}</ETag></Part>"
        for part in asyncio.run(parts_of(store).list_parts("bkt/new", upload.id))
    )
    body = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    turn, answer = longest(s3.fast_path, request("POST", f"/bkt/new?{at}", body))
    assert b" 400 " in answer
    assert turn.calls < MOST_CALLS
