"""Writing a blob: statuses, conditions, names, bodies and digests, on both connection classes."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field

import pytest

from tests.support.processes import Answer, Server
from tests.support.raw import connected

OLD, NEW = b"old bytes", b"new bytes"
DATE_BEFORE = "Sun, 06 Nov 1994 08:49:37 GMT"


def tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()}"'


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


@dataclass
class Row:
    """A write of NEW to a location that has OLD or nothing. Its status, and what the location has
    afterwards.
    """

    name: str
    method: str
    there: bool
    status: int
    after: bytes | None
    headers: dict[str, str] = field(default_factory=dict)


STRICT = [
    Row("POST: 201", "POST", False, 201, NEW),
    Row("POST: 409 it is there", "POST", True, 409, OLD),
    Row("PUT: 200 updated", "PUT", True, 200, NEW),
    Row("PUT: 404 it is not there", "PUT", False, 404, None),
    Row("DELETE: 200", "DELETE", True, 200, None),
    Row("DELETE: 404", "DELETE", False, 404, None),
    # conditions
    Row("PUT If-Match, same: swapped", "PUT", True, 200, NEW, {"If-Match": tag(OLD)}),
    Row("PUT If-Match *: swapped", "PUT", True, 200, NEW, {"If-Match": "*"}),
    Row("PUT If-Match, other: 412", "PUT", True, 412, OLD, {"If-Match": tag(NEW)}),
    Row("PUT If-Match, weak: 412", "PUT", True, 412, OLD, {"If-Match": "W/" + tag(OLD)}),
    Row("PUT If-Match, malformed: 400", "PUT", True, 400, OLD, {"If-Match": tag(OLD)[1:-1]}),
    Row("PUT If-Match, not there: 404", "PUT", False, 404, None, {"If-Match": "*"}),
    Row("PUT If-None-Match *: 412", "PUT", True, 412, OLD, {"If-None-Match": "*"}),
    Row("PUT If-None-Match, same: 412", "PUT", True, 412, OLD, {"If-None-Match": tag(OLD)}),
    Row("PUT If-None-Match, other: 200", "PUT", True, 200, NEW, {"If-None-Match": tag(NEW)}),
    Row("PUT If-None-Match, malformed: 400", "PUT", True, 400, OLD, {"If-None-Match": "old"}),
    Row("PUT If-Unmodified-Since, before: 412", "PUT", True, 412, OLD, {"If-Unmodified-Since": DATE_BEFORE}),
    Row("PUT If-Modified-Since is for reads", "PUT", True, 200, NEW, {"If-Modified-Since": DATE_BEFORE}),
    Row("POST If-None-Match *: created", "POST", False, 201, NEW, {"If-None-Match": "*"}),
    Row("POST If-None-Match *: 412", "POST", True, 412, OLD, {"If-None-Match": "*"}),
    Row("POST If-Match, not there: 412", "POST", False, 412, None, {"If-Match": "*"}),
    Row("POST If-Match, there: 409", "POST", True, 409, OLD, {"If-Match": tag(OLD)}),
    Row("DELETE If-Match, same: 200", "DELETE", True, 200, None, {"If-Match": tag(OLD)}),
    Row("DELETE If-Match, other: 412", "DELETE", True, 412, OLD, {"If-Match": tag(NEW)}),
    Row("DELETE If-Match, not there: 404", "DELETE", False, 404, None, {"If-Match": tag(NEW)}),
    Row("DELETE If-Match, malformed: 400", "DELETE", True, 400, OLD, {"If-Match": '"a'}),
    # digests
    Row("Repr-Digest, right", "POST", False, 201, NEW, {"Repr-Digest": digest(NEW)}),
    Row("Content-Digest, right", "PUT", True, 200, NEW, {"Content-Digest": digest(NEW)}),
    Row("Repr-Digest, wrong: 400", "POST", False, 400, None, {"Repr-Digest": digest(OLD)}),
    Row("Content-Digest, wrong: 400", "PUT", True, 400, OLD, {"Content-Digest": digest(OLD)}),
    Row("Repr-Digest, malformed: 400", "POST", False, 400, None, {"Repr-Digest": "sha-256=abc"}),
    Row("digests of another kind alone", "POST", False, 201, NEW, {"Repr-Digest": "adler=:AAAA:"}),
    # refused
    Row("Content-Range on PUT: 400", "PUT", True, 400, OLD, {"Content-Range": "bytes 0-8/99"}),
    Row("Content-Encoding, malformed: 400", "PUT", True, 400, OLD, {"Content-Encoding": "g zip"}),
]
CREATING = [
    Row("PUT, put_creates: 201", "PUT", False, 201, NEW),
    Row("PUT, put_creates: 200", "PUT", True, 200, NEW),
    Row("PUT If-None-Match *, put_creates: 201", "PUT", False, 201, NEW, {"If-None-Match": "*"}),
    Row("PUT If-None-Match *, put_creates: 412", "PUT", True, 412, OLD, {"If-None-Match": "*"}),
    Row("PUT If-Match, not there, put_creates: 412", "PUT", False, 412, None, {"If-Match": tag(OLD)}),
    Row("POST, put_creates: 409", "POST", True, 409, OLD),
]


@pytest.mark.parametrize("row", STRICT, ids=lambda row: row.name)
def test_write(row: Row, strict: Server, location: str) -> None:
    check(row, strict, location)


@pytest.mark.parametrize("row", CREATING, ids=lambda row: row.name)
def test_write_where_put_creates(row: Row, creating: Server, location: str) -> None:
    check(row, creating, location)


def check(row: Row, server: Server, location: str) -> None:
    target = f"/store/{location}"
    if row.there:
        assert server.ask("POST", target, OLD).status == 201
    answer = server.ask(row.method, target, None if row.method == "DELETE" else NEW, row.headers)
    assert answer.status == row.status
    if row.status >= 400:
        assert answer.headers["content-type"] == "application/json"
        assert answer.body.startswith(b'{"code": %d, "text": "' % row.status)
    else:
        assert (answer.body, answer.headers["content-length"]) == (b"", "0")
        assert answer.headers.get("etag") == (None if row.method == "DELETE" else tag(NEW))
    assert answer.headers.get("location") == (target if row.status == 201 else None)
    found = server.ask("GET", target)
    assert (found.status, found.body) == (200, row.after) if row.after else found.status == 404


# --- what is stored with a blob ---

TYPES = [
    (None, "application/octet-stream"),
    ("application/x-www-form-urlencoded", "application/octet-stream"),
    ("APPLICATION/x-www-form-urlencoded; charset=utf-8", "application/octet-stream"),
    ("image/svg+xml", "image/svg+xml"),
    ('Text/HTML; charset="utf-8"', 'Text/HTML; charset="utf-8"'),
    ("nonsense", "application/octet-stream"),
]


@pytest.mark.parametrize(("sent", "stored"), TYPES)
def test_the_media_type_is_given_back(sent: str | None, stored: str, strict: Server, location: str) -> None:
    strict.ask("POST", f"/store/{location}", NEW, {"Content-Type": sent} if sent else {})
    assert strict.ask("GET", f"/store/{location}").headers["content-type"] == stored


def test_the_coding_is_given_back_and_never_applied(strict: Server, location: str) -> None:
    strict.ask("POST", f"/store/{location}", b"no gzip at all", {"Content-Encoding": "gzip"})
    found = strict.ask("GET", f"/store/{location}", None, {"Accept-Encoding": "identity"})
    assert (found.headers["content-encoding"], found.body) == ("gzip", b"no gzip at all")
    assert strict.ask("PUT", f"/store/{location}", b"plain").status == 200
    found = strict.ask("GET", f"/store/{location}", None, {"Accept-Encoding": "gzip"})
    assert ("content-encoding" in found.headers, found.body) == (False, b"plain")


METADATA = {
    "Cache-Control": "max-age=60",
    "Content-Disposition": 'attachment; filename="a b.txt"',
    "Content-Language": "de, en",
    "Expires": "Thu, 01 Dec 2033 16:00:00 GMT",
    "X-Meta-Owner": "Ann",
    "X-META-more-Words": "one; two",
}


@pytest.mark.parametrize("size", [0, 9, 300_000])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_metadata_are_given_back_and_shown_by_id(
    method: str, size: int, strict: Server, location: str
) -> None:
    target = f"/store/{location}"
    assert strict.ask("POST", target, bytes(size), METADATA).status == 201
    for _ in range(3):
        found = strict.ask(method, target)
        assert {name: found.headers[name.lower()] for name in METADATA} == METADATA
    cached = strict.ask(method, target, None, {"If-None-Match": found.headers["etag"]})
    assert cached.status == 304
    assert (cached.headers["cache-control"], cached.headers["expires"]) == ("max-age=60", METADATA["Expires"])
    shown = json.loads(strict.ask("GET", f"/blobs/{found.headers['blob-id']}").body)["metadata"]
    assert shown == {name.lower(): value for name, value in METADATA.items()}


def test_an_update_replaces_the_metadata(strict: Server, location: str) -> None:
    target = f"/store/{location}"
    strict.ask("POST", target, OLD, METADATA)
    strict.ask("PUT", target, NEW, {"X-Meta-Owner": "Bob"})
    found = strict.ask("GET", target).headers
    assert found["x-meta-owner"] == "Bob"
    assert not {"content-language", "expires", "x-meta-more-words"} & set(found)
    strict.ask("PUT", target, OLD)
    assert "x-meta-owner" not in strict.ask("GET", target).headers


@pytest.mark.parametrize("much", [{"X-Meta-A": "x" * 2041}, {f"X-Meta-{n}": "x" * 100 for n in range(20)}])
def test_too_much_metadata_is_refused_and_nothing_is_stored(
    much: dict[str, str], strict: Server, location: str
) -> None:
    assert strict.ask("POST", f"/store/{location}", NEW, much).status == 400
    assert strict.ask("GET", f"/store/{location}").status == 404


# --- bodies ---

CHUNKED = {"Transfer-Encoding": "chunked"}


def in_chunks(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
@pytest.mark.parametrize("framing", ["declared", "chunked"])
def test_a_body_is_stored_byte_for_byte(framing: str, size: int, strict: Server, location: str) -> None:
    body = hashlib.sha256(location.encode()).digest() * (size // 32 + 1)
    body = body[:size]
    target = f"/store/{location}"
    for method, status in (("POST", 201), ("PUT", 200)):
        with connected(strict.port) as connection:
            if framing == "declared":
                answer = connection.ask(method, target, {"Repr-Digest": digest(body)}, body)
            else:
                connection.request(method, target, CHUNKED | {"Repr-Digest": digest(body)})
                connection.send(in_chunks(body, 50_000))
                answer = connection.answer()
            assert (answer.status, answer.headers["etag"]) == (status, tag(body))
            assert connection.ask("GET", target).body == body  # on the same connection
        body = body[::-1]


def test_a_post_without_a_body_stores_nothing_but_a_name(strict: Server, location: str) -> None:
    with connected(strict.port) as connection:
        assert connection.ask("POST", f"/store/{location}").status == 201
        assert connection.ask("GET", f"/store/{location}").headers["content-length"] == "0"


# --- Expect ---


@pytest.mark.parametrize("spelling", ["100-continue", "100-Continue", "100-CONTINUE"])
def test_continue_is_said_in_any_letter_case(spelling: str, strict: Server, location: str) -> None:
    with connected(strict.port) as connection:
        connection.request("POST", f"/store/{location}", {"Expect": spelling, "Content-Length": "3"})
        assert connection.answer().status == 100  # a client that gets no answer waits, and at last gets 408
        connection.send(b"abc")
        assert connection.answer().status == 201
    assert strict.ask("GET", f"/store/{location}").body == b"abc"


def refusal(server: Server, method: str, target: str, headers: dict[str, str]) -> Answer:
    """The first answer to an upload that waits for 100 Continue."""
    with connected(server.port) as connection:
        connection.request(method, target, {"Expect": "100-Continue", "Content-Length": "999999"} | headers)
        answer = connection.answer()
        assert connection.at_end()  # the body was not read, so no other request can follow
        return answer


def test_a_refusal_comes_before_the_body(strict: Server, location: str) -> None:
    target = f"/store/{location}"
    assert refusal(strict, "PUT", target, {}).status == 404
    strict.ask("POST", target, OLD)
    assert refusal(strict, "POST", target, {}).status == 409
    assert refusal(strict, "PUT", target, {"If-Match": tag(NEW)}).status == 412
    assert refusal(strict, "PUT", target, {"Content-Range": "bytes 0-1/2"}).status == 400
    assert refusal(strict, "PUT", target, {"Content-Length": str(1 << 58)}).status == 507
    assert refusal(strict, "PUT", target, {"Repr-Digest": "sha-256=1"}).status == 400
    assert refusal(strict, "PATCH", target, {}).status == 405
    assert refusal(strict, "PUT", "/store/a/../b", {}).status == 400
    assert refusal(strict, "PUT", "/nowhere", {}).status == 404
    assert strict.ask("GET", target).body == OLD


@pytest.mark.parametrize(
    ("prefix", "shown"),
    [
        ("/bk", "/bk"),
        ("/a/b/", "/a/b"),
        ("", ""),
        ("//evil", ""),
        ("https://evil", ""),
        ("/a b", ""),
        ("bk", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 200_000])
def test_behind_a_proxy_the_location_has_its_path(
    prefix: str, shown: str, size: int, strict: Server, location: str
) -> None:
    answer = strict.ask("POST", f"/store/{location}", bytes(size), {"X-Forwarded-Prefix": prefix})
    assert (answer.status, answer.headers["location"]) == (201, f"{shown}/store/{location}")
