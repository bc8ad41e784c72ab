"""Every parser of bytes from a disk or a client, with hostile bytes. Only the documented exceptions are
allowed, and time and memory in proportion to the input.
"""

from __future__ import annotations

import base64
import contextlib
import random
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from common.checksum import crc, sums_of
from common.errors import BadRequest, CorruptRecord, Forbidden, NotFound, RangeNotSatisfiable
from common.states import MSG_CREATED, MSG_WRITING, State
from services.access import links
from services.access.decisions import Action
from services.engines.local.disk import multipart_folder, quarantine, record
from services.engines.local.disk.blob import served
from services.engines.local.journal import format as journal
from services.engines.local.recovery import scan
from services.frontends.native import state_locks
from services.frontends.native.copying import copy_order
from services.frontends.restic.names import parse_path as parse_restic_path
from services.frontends.s3 import sigv4, xml
from services.frontends.s3.aws_chunked import Decoder
from services.frontends.s3.errors import S3Error
from services.frontends.s3.names import parse_copy_source, parse_target
from services.frontends.s3.stored import parse_parts
from services.http1.chunked import ChunkedDecoder
from services.http1.errors import Refusal
from services.http1.limits import Limits
from services.http1.parser import check_partial_head, parse_head, skip_empty_lines
from services.rules import conditions as http_conditions
from services.rules import credentials as http_credentials
from services.rules import dates as http_dates
from services.rules import listing as http_listing
from services.rules import locations as http_locations
from services.rules import ranges as http_ranges
from services.rules import uploads as http_uploads
from services.rules.cors import Origins
from tests.support.campaign import SEED, SIZE, tally
from tests.support.work import is_in_proportion

LIMITS = Limits()
NOW_NS = 1_795_507_830_364_475_953
NASTY = [b"\0", b"\r\n", b"\n", b"%", b",", b";", b'"', b"=", b"-", b"9" * 30, b"1e9", b"null", b"\xff"]
EXAMPLES = 150 * SIZE or 20_000


def a_state(size: int = 3_000_000) -> bytes:
    first = record.created(7, "a/\u2713", 12, MSG_CREATED, NOW_NS, "text/plain", "gzip")
    sha256, crcs = sums_of(bytes(size))
    return record.dump(
        first.advanced(State.PENDING, MSG_WRITING, NOW_NS).completed(size, sha256, crcs, NOW_NS)
    )


ORIGINALS = [p.read_bytes() for p in sorted(Path(__file__).parents[1].glob("go-data/*/blob_state*.json"))]
PART = msgspec.json.encode(
    multipart_folder.Placed(3, "a1", 12, "00" * 32, "0011aabb", NOW_NS, {".s3-etag": "x"}, "data.raw", 24, 12)
)
NOTE = msgspec.json.encode(quarantine.Note(7, "a", 12, "short", "2026-11-22T07:45:48Z"))
HEAD = (
    b"PUT /store/a%20b?x=1 HTTP/1.1\r\nHost: localhost:7777\r\nContent-Length: 12\r\nExpect: 100-continue\r\n"
    b'If-Match: "abc", W/"d"\r\nConnection: keep-alive, close\r\nTransfer-Encoding: chunked\r\n\r\n'
)
CHUNKS = b"5;a=b\r\nhello\r\n000\r\nDigest: x\r\n\r\n"
AWS_CHUNKS = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"
KEY = b"0" * 64


def document_of(state: bytes) -> bytes:
    """The JSON in the first line."""
    return base64.b64decode(state[state.index(b"BLOB_BASE64_") :].splitlines()[0].split(b":")[1])


def unsealed(version: bytes, document: bytes) -> bytes:
    """The state file with this JSON, without a checksum."""
    first_line = b"BLOB_BASE64_" + version + b":" + base64.b64encode(document) + b"\n"
    return first_line + b"\n\ndata: 3 bytes\nchunks: 00000000\n"


def sealed(version: bytes, document: bytes) -> bytes:
    """The same with a correct checksum, so that what comes after the check is tested, too."""
    body = unsealed(version, document)
    return body + b"state: crc32c %08x\n" % crc(body)


def as_plain(content: bytes) -> None:
    """What the plain parser accepts is what the full parser gives, if that accepts it."""
    blob = scan.parse(content, 7)
    with contextlib.suppress(CorruptRecord):
        whole = record.load(content)
        if isinstance(blob, int):
            assert (whole.state, whole.id, whole.seq) == (State.FAILURE, 7, blob)
        elif blob is not None:
            assert (whole.state, whole.id) == (State.COMPLETE, 7)
            assert blob == served(whole)


def text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """Fields are decoded like HTTP heads: one character for each byte."""
    return lambda content: parse(content.decode("latin-1"))


def dechunk(content: bytes) -> None:
    """In uneven pieces, as a socket may give them."""
    decoder = ChunkedDecoder(LIMITS)
    rest = b""
    for at in range(0, len(content), 37):
        piece, rest = decoder.decode(rest + content[at : at + 37], 1 << 16)
        assert len(piece) <= len(content)
        if decoder.done:
            break


def decode_aws_chunked(content: bytes) -> None:
    """Like `dechunk`."""
    decoder = Decoder(5, None, has_trailer=True)
    for at in range(0, len(content), 37):
        decoder.feed(content[at : at + 37])
    decoder.finish()


def signed(query: str, authorization: str) -> None:
    """The key that the request claims, and whether the key `k` really signed it."""
    fields = {"host": ["a"], "x-amz-date": ["20261128T000000Z"], "x-amz-content-sha256": ["UNSIGNED-PAYLOAD"]}
    asked = sigv4.SignedRequest("GET", "/b/a", query, fields | {"authorization": [authorization]})
    claim = sigv4.parse(asked)
    if claim is not None:
        sigv4.check(claim, asked, "k", "r", 1_795_824_000.0)


def condition(name: str) -> Callable[[bytes], object]:
    def evaluate(value: str) -> None:
        for method in ("GET", "PUT"):
            http_conditions.evaluate({name: value}, '"abc"', 1_700_000_000, method)

    return text(evaluate)


@dataclass(frozen=True)
class Parser:
    """`allowed`: the documented exceptions. `good`: inputs from which others are made."""

    parse: Callable[[bytes], object]
    good: tuple[bytes, ...]
    allowed: tuple[type[Exception], ...] = (BadRequest,)


PARSERS = {
    "state": Parser(record.load, (a_state(), a_state(0), *ORIGINALS), (CorruptRecord,)),
    "plain state": Parser(as_plain, (a_state(10), a_state(0), *ORIGINALS), ()),
    "sealed plain document": Parser(
        lambda content: as_plain(sealed(b"blobkeep1", content)), (document_of(a_state(3)),), ()
    ),
    "sealed document": Parser(
        lambda content: record.load(sealed(b"blobkeep1", content)),
        (document_of(a_state(3)), *map(document_of, ORIGINALS)),
        (CorruptRecord,),
    ),
    "original's document": Parser(
        lambda content: record.load(unsealed(b"dev", content)),
        tuple(map(document_of, ORIGINALS)),
        (CorruptRecord,),
    ),
    "journal header": Parser(journal._parse_header, (journal.header_of(5, False, 99),), ()),
    "head": Parser(lambda content: parse_head(skip_empty_lines(content), LIMITS), (HEAD,), (Refusal,)),
    "partial head": Parser(lambda content: check_partial_head(content, 0, LIMITS), (HEAD,), (Refusal,)),
    "chunks": Parser(dechunk, (CHUNKS,), (Refusal,)),
    "location": Parser(http_locations.parse_location, (b"a/b%2Fc/%E2%9C%93", b"with%20space")),
    "listing's path": Parser(http_locations.split_listing, (b"a/b/", b"")),
    "listing": Parser(http_listing.parse_listing, (b"prefix=a%2F&delimiter=/&limit=10&after=b",)),
    "id listing": Parser(http_listing.parse_id_listing, (b"state=Pending&after=7&limit=3",)),
    "accept": Parser(text(http_listing.wants_html), (b"text/html;q=0.9, application/json;q=0.5, */*",)),
    "ranges": Parser(
        text(lambda value: http_ranges.parse_ranges(value, 1000)),
        (b"bytes=0-9, 20-, -5", b"bytes=999-"),
        (RangeNotSatisfiable,),
    ),
    "If-Match": Parser(condition("If-Match"), (b'"abc", W/"d", *',)),
    "If-None-Match": Parser(condition("If-None-Match"), (b'W/"abc"',)),
    "If-Modified-Since": Parser(condition("If-Modified-Since"), (b"Sun, 06 Nov 1994 08:49:37 GMT",)),
    "If-Unmodified-Since": Parser(condition("If-Unmodified-Since"), (b"Sunday, 06-Nov-94 08:49:37 GMT",)),
    "If-Range": Parser(
        text(lambda value: http_conditions.if_range_holds(value, '"abc"', 1_700_000_000)),
        (b'"abc"', b"Sun Nov  6 08:49:37 1994"),
        (),
    ),
    "date": Parser(
        text(lambda value: http_dates.parse_http_date(value, 1_700_000_000)),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT"),
        (),
    ),
    "authorization": Parser(
        text(http_credentials.parse_authorization), (b"Basic dXNlcjpwYXNz", b"Bearer abc.def"), ()
    ),
    "link": Parser(
        text(lambda value: links.holder("k" * 43, Action.READ, "a/b", value, 1_700_000_000.0)),
        (links.query("k" * 43, links.READ, "a/b", 1_800_000_000).encode(), b"expires=1&signature=x"),
        (Forbidden,),
    ),
    "copy's source": Parser(
        text(lambda value: copy_order({"Blob-Copy-From": value}, "a", guesses=True)),
        (b"/store/a/b%2Fc", b"/store/a//./b"),
    ),
    "origins": Parser(text(lambda value: Origins(value).allows(value)), (b"https://a.example, *",), ()),
    "part's line": Parser(
        lambda content: multipart_folder.parse_line(b"%08x " % crc(content) + content),
        (PART,),
        (CorruptRecord,),
    ),
    "lock": Parser(state_locks.lock_id, (b'{"ID": "a", "Who": "b"}',)),
    "S3's target": Parser(text(parse_target), (b"/bucket/a//b%2F..%C3%BC", b"/b"), (S3Error,)),
    "S3's copy source": Parser(
        text(parse_copy_source), (b"/bucket/a%20b?versionId=null", b"bucket/a"), (S3Error,)
    ),
    "S3's signature": Parser(
        text(lambda value: signed("", value)),
        (
            b"AWS4-HMAC-SHA256 Credential=a/20261128/r/s3/aws4_request, SignedHeaders=host, Signature="
            + b"0" * 64,
        ),
        (S3Error,),
    ),
    "S3's signed query": Parser(
        text(lambda value: signed(value, "")),
        (
            b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F20261128%2Fr%2Fs3%2Faws4_request&"
            b"X-Amz-Date=20261128T000000Z&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature="
            + b"0"
            * 64,
        ),
        (S3Error,),
    ),
    "S3's XML": Parser(
        lambda content: xml.parse(content, "Delete"),
        (b'<Delete xmlns="x"><Object><Key>a &amp; b</Key></Object><Quiet>true</Quiet></Delete>',),
        (S3Error,),
    ),
    "S3's chunks": Parser(
        decode_aws_chunked, (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n",), (S3Error,)
    ),
    "S3's parts": Parser(text(parse_parts), (b"8388608x12,77", b"1,2,3"), ()),
    "restic's path": Parser(
        text(parse_restic_path),
        (b"/restic/a/b/data/" + b"0" * 64, b"/restic/a/config"),
        (BadRequest, NotFound),
    ),
    "digest": Parser(
        text(lambda value: http_uploads.expected_digests({"Repr-Digest": value, "Digest": value})),
        (b"sha-256=:" + b"A" * 43 + b"=:, sha-512=:AAAA:",),
    ),
    "media type": Parser(text(http_uploads.stored_media_type), (b'text/plain; charset="utf-8"',), ()),
    "encoding": Parser(text(http_uploads.stored_encoding), (b"gzip, br",)),
    "expect": Parser(text(http_uploads.parse_expect), (b"100-Continue",)),
}


_inputs = [0]


def survives(parser: Parser, content: bytes) -> None:
    _inputs[0] += 1
    with contextlib.suppress(*parser.allowed):
        parser.parse(content)


def mutated(good: bytes, how: random.Random) -> bytes:
    """`good` after some changes: a bit flipped, a part replaced, removed, doubled or inserted, or the end
    cut off.
    """
    content = bytearray(good)
    for _ in range(how.randrange(1, 6)):
        at = how.randrange(len(content) + 1)
        end = min(len(content), at + how.choice([1, 1, 2, 8, 64]))
        kind = how.randrange(6)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << how.randrange(8)
        elif kind == 1:
            content[at:end] = bytes([how.randrange(256)])
        elif kind == 2:
            del content[at:end]
        elif kind == 3:
            content[at:at] = content[at:end] * how.choice([1, 2, 50])
        elif kind == 4:
            content[at:at] = how.choice(
                [b"\0", b"\r\n", b"\n", b"%", b",", b";", b'"', b"=", b"-", b"9" * 30]
            )
        else:
            del content[at:]
    return bytes(content)


@pytest.mark.parametrize("name", PARSERS)
def test_no_exception_but_the_documented_ones(name: str) -> None:
    parser = PARSERS[name]

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=300))
    def anything(content: bytes) -> None:
        survives(parser, content)

    before = _inputs[0]
    anything()
    how = random.Random(f"{SEED} {name}")
    for _ in range(EXAMPLES * 5):
        survives(parser, mutated(how.choice(parser.good), how))
    tally("inputs", _inputs[0] - before)


@pytest.mark.parametrize("name", PARSERS)
def test_time_and_memory_are_in_proportion(name: str) -> None:
    """On 128 KiB of input for which a careless parser would read everything again for each byte. At most
    32 MiB of memory.
    """
    parser = PARSERS[name]
    for good in parser.good:
        parts = [good[at : at + n] for n in (1, 2, 9) for at in range(0, min(len(good), 60), 7)]
        parts += [b" ", b",", b"%", b"%41", b'"', b"\\", b"\r\n", b"a=b&", b"0-0,", b"=:", b"1\r\na\r\n"]
        for part in parts[:: 1 if SIZE != 1 else 3]:
            if not part:
                continue
            content = good + part * ((128 << 10) // len(part))
            tracemalloc.start()
            survives(parser, content)
            peak_bytes = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak_bytes < 32 << 20, part

            def judge(size: int) -> None:
                survives(parser, good + part * (size // len(part)))  # noqa: B023 - called at once

            assert is_in_proportion(judge, 128 << 10), part
