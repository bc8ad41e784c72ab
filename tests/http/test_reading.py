"""Reading a blob: every header, condition and range of the contract, on both connection classes."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import time
from dataclasses import dataclass, field

import pytest

from tests.support.processes import Answer, Server
from tests.support.raw import connected

BODY = bytes(range(256)) * 40  # 10,240 bytes
SIZE = len(BODY)
SHA = hashlib.sha256(BODY).digest()
TAG = f'"{SHA.hex()}"'
OTHER = f'"{"0" * 64}"'
TYPE = "text/html; charset=utf-8"
LONG_AGO = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Fri, 01 Jan 2100 00:00:00 GMT"


@dataclass
class Row:
    """One request for the blob, and its answer. `modified` in a value is replaced by its Last-Modified."""

    name: str
    headers: dict[str, str]
    status: int
    body: bytes | None = None  # None: it is not looked at
    says: dict[str, str | None] = field(default_factory=dict)  # None: the field is absent
    method: str = "GET"
    target: str = ""


def part(first: int, last: int) -> dict[str, str | None]:
    return {"content-range": f"bytes {first}-{last}/{SIZE}", "content-length": str(last + 1 - first)}


WHOLE: dict[str, str | None] = {"content-length": str(SIZE), "content-range": None, "content-type": TYPE}
UNMODIFIED: dict[str, str | None] = {"etag": TAG, "content-type": None, "content-length": None}
ALLOW = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PROPFIND, MKCOL, LOCK, UNLOCK"

ROWS = [
    Row("GET: 200", {}, 200, BODY, WHOLE),
    Row("GET ignores a query", {}, 200, BODY, WHOLE, target="?versionId=7"),
    Row("HEAD: as GET, no body", {}, 200, b"", WHOLE, method="HEAD"),
    Row("HEAD: ranges are for GET alone", {"Range": "bytes=0-0"}, 200, b"", WHOLE, method="HEAD"),
    Row("OPTIONS: 204 with Allow", {}, 204, b"", {"allow": ALLOW}, "OPTIONS"),
    Row("PATCH: 405 with Allow", {}, 405, None, {"allow": ALLOW}, "PATCH"),
    Row("BREW: 405 with Allow", {}, 405, None, {"allow": ALLOW}, "BREW"),
    # conditions
    Row("If-None-Match, same: 304", {"If-None-Match": TAG}, 304, b"", UNMODIFIED),
    Row("If-None-Match, weak: 304", {"If-None-Match": "W/" + TAG}, 304, b"", UNMODIFIED),
    Row("If-None-Match, a list: 304", {"If-None-Match": f"{OTHER}, {TAG}"}, 304, b"", UNMODIFIED),
    Row("If-None-Match *: 304", {"If-None-Match": "*"}, 304, b"", UNMODIFIED),
    Row("If-None-Match, other: 200", {"If-None-Match": OTHER}, 200, BODY, WHOLE),
    Row("If-None-Match, malformed: 200", {"If-None-Match": TAG.strip('"')}, 200, BODY, WHOLE),
    Row("If-None-Match, HEAD: 304", {"If-None-Match": TAG}, 304, b"", UNMODIFIED, "HEAD"),
    Row("If-Match, same: 200", {"If-Match": TAG}, 200, BODY, WHOLE),
    Row("If-Match *: 200", {"If-Match": "*"}, 200, BODY, WHOLE),
    Row("If-Match, other: 412", {"If-Match": OTHER}, 412),
    Row("If-Match, weak: 412", {"If-Match": "W/" + TAG}, 412),
    Row("If-Match, malformed: 400", {"If-Match": "abc"}, 400),
    Row("If-Modified-Since, same: 304", {"If-Modified-Since": "modified"}, 304, b"", UNMODIFIED),
    Row("If-Modified-Since, later: 304", {"If-Modified-Since": LATER}, 304, b"", UNMODIFIED),
    Row("If-Modified-Since, before: 200", {"If-Modified-Since": LONG_AGO}, 200, BODY, WHOLE),
    Row("If-Modified-Since, no date: 200", {"If-Modified-Since": "yesterday"}, 200, BODY, WHOLE),
    Row("If-Unmodified-Since, same: 200", {"If-Unmodified-Since": "modified"}, 200, BODY, WHOLE),
    Row("If-Unmodified-Since, before: 412", {"If-Unmodified-Since": LONG_AGO}, 412),
    # RFC 9110, section 13.2.2: which one decides
    Row(
        "If-Match before If-Unmodified-Since",
        {"If-Match": TAG, "If-Unmodified-Since": LONG_AGO},
        200,
        BODY,
        WHOLE,
    ),
    Row("If-Match before If-None-Match", {"If-Match": OTHER, "If-None-Match": TAG}, 412),
    Row(
        "If-None-Match before If-Modified-Since",
        {"If-None-Match": OTHER, "If-Modified-Since": LATER},
        200,
        BODY,
        WHOLE,
    ),
    Row("conditions before Range", {"If-None-Match": TAG, "Range": "bytes=0-1"}, 304, b"", UNMODIFIED),
    Row("conditions before a bad Range", {"If-Match": OTHER, "Range": f"bytes={SIZE}-"}, 412),
    # ranges
    Row("Range, one: 206", {"Range": "bytes=1-9"}, 206, BODY[1:10], part(1, 9)),
    Row("Range, one byte: 206", {"Range": "bytes=0-0"}, 206, BODY[:1], part(0, 0)),
    Row("Range, open: 206", {"Range": f"bytes={SIZE - 3}-"}, 206, BODY[-3:], part(SIZE - 3, SIZE - 1)),
    Row("Range, past the end: 206", {"Range": "bytes=10000-99999"}, 206, BODY[10000:], part(10000, SIZE - 1)),
    Row("Range, suffix: 206", {"Range": "bytes=-7"}, 206, BODY[-7:], part(SIZE - 7, SIZE - 1)),
    Row("Range, suffix of all: 206", {"Range": f"bytes=-{SIZE * 9}"}, 206, BODY, part(0, SIZE - 1)),
    Row("Range, overlapping: one part", {"Range": "bytes=0-9,5-19"}, 206, BODY[:20], part(0, 19)),
    Row(
        "Range, unsatisfiable: 416",
        {"Range": f"bytes={SIZE}-"},
        416,
        None,
        {"content-range": f"bytes */{SIZE}"},
    ),
    Row("Range, empty suffix: 416", {"Range": "bytes=-0"}, 416, None, {"content-range": f"bytes */{SIZE}"}),
    Row("Range, backwards: 200", {"Range": "bytes=9-1"}, 200, BODY, WHOLE),
    Row("Range, another unit: 200", {"Range": "lines=1-9"}, 200, BODY, WHOLE),
    Row(
        "Range, too many: 200",
        {"Range": "bytes=" + ",".join(f"{n * 9}-{n * 9}" for n in range(99))},
        200,
        BODY,
        WHOLE,
    ),
    Row("If-Range, same: 206", {"Range": "bytes=1-9", "If-Range": TAG}, 206, BODY[1:10], part(1, 9)),
    Row("If-Range, date: 206", {"Range": "bytes=1-9", "If-Range": "modified"}, 206, BODY[1:10], part(1, 9)),
    Row("If-Range, other: 200", {"Range": "bytes=1-9", "If-Range": OTHER}, 200, BODY, WHOLE),
    Row("If-Range, weak: 200", {"Range": "bytes=1-9", "If-Range": "W/" + TAG}, 200, BODY, WHOLE),
    Row("If-Range, older date: 200", {"Range": "bytes=1-9", "If-Range": LONG_AGO}, 200, BODY, WHOLE),
    Row(
        "If-Range, other, unsatisfiable: 200",
        {"Range": f"bytes={SIZE}-", "If-Range": OTHER},
        200,
        BODY,
        WHOLE,
    ),
]


@pytest.fixture(scope="module")
def modified(strict: Server) -> str:
    """The Last-Modified of the blob that all rows read."""
    assert strict.ask("POST", "/store/the/blob", BODY, {"Content-Type": TYPE}).status == 201
    return strict.ask("HEAD", "/store/the/blob").headers["last-modified"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_read(row: Row, strict: Server, modified: str) -> None:
    headers = {name: modified if value == "modified" else value for name, value in row.headers.items()}
    with connected(strict.port) as connection:
        answer = connection.ask(row.method, "/store/the/blob" + row.target, headers)
        assert answer.status == row.status
        if row.body is not None:
            assert answer.body == row.body
        for name, value in row.says.items():
            assert answer.headers.get(name) == value, name
        if row.status in (200, 206) and row.method in ("GET", "HEAD"):
            assert_described(answer, modified)
        if row.status >= 400:
            assert_refused(answer)
        if answer.headers.get("connection") == "close":
            assert connection.at_end()
        else:  # the connection still works for the next request
            again = connection.ask("GET", "/store/the/blob")
            assert (again.status, again.body) == (200, BODY)


def assert_described(answer: Answer, modified: str) -> None:
    """The fields that every blob is sent with, by http.md."""
    says = answer.headers
    assert says["etag"] == TAG
    assert says["last-modified"] == modified
    assert says["accept-ranges"] == "bytes"
    assert says["repr-digest"] == f"sha-256=:{base64.b64encode(SHA).decode()}:"
    assert says["x-content-type-options"] == "nosniff"
    assert says["content-security-policy"] == "sandbox; default-src 'none'"
    assert 0 <= int(says["blob-id"]) < 65536
    assert "transfer-encoding" not in says
    assert "content-encoding" not in says
    date = email.utils.parsedate_to_datetime(says["date"]).timestamp()
    assert email.utils.parsedate_to_datetime(modified).timestamp() <= date <= time.time()


def assert_refused(answer: Answer) -> None:
    """One sentence of JSON with the status in it."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.body.startswith(b'{"code": %d, "text": "' % answer.status)
    assert "etag" not in answer.headers


def test_several_ranges_are_multipart_byteranges(strict: Server, modified: str) -> None:
    answer = strict.ask("GET", "/store/the/blob", None, {"Range": "bytes=0-1, 100-102, -2"})
    assert answer.status == 206
    assert "content-range" not in answer.headers
    assert_described(answer, modified)
    media_type, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert media_type == "multipart/byteranges"
    first, *parts, last = (b"\r\n" + answer.body).split(b"\r\n--" + boundary.encode())
    assert (first, last) == (b"", b"--\r\n")
    assert len(answer.body) == int(answer.headers["content-length"])
    found = [tuple(part.removeprefix(b"\r\n").split(b"\r\n\r\n", 1)) for part in parts]
    assert found == [
        (f"Content-Type: {TYPE}\r\nContent-Range: bytes {a}-{b}/{SIZE}".encode(), BODY[a : b + 1])
        for a, b in ((0, 1), (100, 102), (SIZE - 2, SIZE - 1))
    ]


def test_ranges_across_the_checked_chunks_of_a_large_blob(strict: Server, location: str) -> None:
    body = bytes(range(251)) * 14_000  # 3.5 MB: four chunks
    strict.ask("POST", f"/store/{location}", body)
    mib = 1 << 20
    for first, last in ((mib - 1, mib), (mib, 2 * mib - 1), (5, 3 * mib + 5), (len(body) - 1, len(body) - 1)):
        answer = strict.ask("GET", f"/store/{location}", None, {"Range": f"bytes={first}-{last}"})
        assert answer.status == 206
        assert answer.body == body[first : last + 1]
    assert strict.ask("GET", f"/store/{location}").body == body


def test_an_empty_blob_has_no_ranges_but_all_fields(strict: Server, location: str) -> None:
    assert strict.ask("POST", f"/store/{location}", b"").status == 201
    for method in ("GET", "HEAD"):
        answer = strict.ask(method, f"/store/{location}")
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
        assert answer.headers["etag"] == f'"{hashlib.sha256().hexdigest()}"'
    answer = strict.ask("GET", f"/store/{location}", None, {"Range": "bytes=1-"})
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */0")
    for all_of_it in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        answer = strict.ask("GET", f"/store/{location}", None, {"Range": all_of_it})
        assert (answer.status, answer.body) == (200, b"")


ERRORS = {
    "a handler": b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "the connection": b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", ERRORS.values(), ids=ERRORS.keys())
def test_each_error_begins_with_the_same_fields_whoever_answers(request_bytes: bytes, strict: Server) -> None:
    """The connection's own 400 had no Server field."""
    with connected(strict.port) as connection:
        connection.send(request_bytes)
        head = connection.rest().split(b"\r\n\r\n")[0].decode().splitlines()
    names = [line.split(":")[0] for line in head[1:4]]
    assert names == ["Server", "Date", "X-Content-Type-Options"]
    assert head[1] == "Server: Blobkeep"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}, {"If-Match": "*"}, {"Range": "bytes=0-"}])
def test_what_is_not_there_is_404_whatever_the_conditions(
    method: str, headers: dict[str, str], strict: Server, location: str
) -> None:
    assert strict.ask(method, f"/store/{location}", None, headers).status == 404


@pytest.mark.parametrize("path", ["/", "/stor", "/store", "/storee/x", "/blob/1", "/favicon.ico"][1:])
@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_an_unknown_resource_is_404_in_json(path: str, method: str, strict: Server) -> None:
    answer = strict.ask(method, path, b"x" if method == "PUT" else None)
    assert answer.status == 404
    assert_refused(answer)


def test_options_of_the_server_as_a_whole(strict: Server) -> None:
    with connected(strict.port) as connection:
        answer = connection.ask("OPTIONS", "*")
        assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, POST, PUT, DELETE, OPTIONS")
        assert "content-length" not in answer.headers


def test_requests_sent_at_once_are_answered_in_order(strict: Server, modified: str) -> None:
    with connected(strict.port) as connection:
        for first in range(50):
            connection.request("GET", "/store/the/blob", {"Range": f"bytes={first}-{first}"})
        assert [connection.answer().body for _ in range(50)] == [BODY[n : n + 1] for n in range(50)]


PLAYED = "sandbox allow-same-origin; default-src 'none'; media-src 'self'"


@pytest.mark.parametrize(
    ("media_type", "policy"),
    [
        ("video/webm", PLAYED),
        ("Audio/ogg", PLAYED),
        ("text/html", "sandbox; default-src 'none'"),
        ("image/svg+xml", "sandbox; default-src 'none'"),
        ("application/video/webm", "sandbox; default-src 'none'"),
        ("videos/webm", "sandbox; default-src 'none'"),
    ],
)
def test_audio_and_video_alone_may_load_themselves(
    media_type: str, policy: str, strict: Server, location: str
) -> None:
    """A stored video that was opened by its link did not play in Chromium."""
    strict.ask("POST", f"/store/{location}", b"x", {"Content-Type": media_type})
    for _ in range(2):  # by a handler, by the fast path
        assert strict.ask("GET", f"/store/{location}").headers["content-security-policy"] == policy


def test_a_browser_asks_each_time_unless_the_blob_says_otherwise(strict: Server, location: str) -> None:
    """With only an old Last-Modified, a browser showed the old content for days."""
    strict.ask("POST", f"/store/{location}/plain", b"x")
    strict.ask("POST", f"/store/{location}/own", b"x", {"Cache-Control": "max-age=60"})
    strict.ask("POST", f"/store/{location}/expires", b"x", {"Expires": LATER})
    for name, expected in (("plain", "no-cache"), ("own", "max-age=60"), ("expires", None)):
        target = f"/store/{location}/{name}"
        answer = strict.ask("GET", target)
        tag = {"If-None-Match": answer.headers["etag"]}
        for found in (answer, strict.ask("HEAD", target), strict.ask("GET", target, None, tag)):
            assert found.headers.get("cache-control") == expected, (name, found.status)
