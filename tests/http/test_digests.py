"""Digests that a client sends with an upload, in each field for one, in the head or in the trailer."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest

from tests.support.processes import Server
from tests.support.raw import connected

BODIES = [b"", b"a body", os.urandom(700_000)]


def b64(algorithm: str, body: bytes) -> str:
    return base64.b64encode(hashlib.new(algorithm, body).digest()).decode()


def fields_of(body: bytes) -> dict[str, str]:
    return {
        "Content-MD5": b64("md5", body),
        "Digest": f"SHA-256={b64('sha256', body)}",
        "digest": f"md5={b64('md5', body)}, SHA={b64('sha1', body)}, sha-512={b64('sha512', body)},x=y",
        "Repr-Digest": f"sha-512=:{b64('sha512', body)}:",
        "Content-Digest": f"sha=:{b64('sha1', body)}:, sha-256=:{b64('sha256', body)}:, new=:eA==:",
    }


@pytest.mark.parametrize("body", BODIES, ids=["empty", "small", "large"])
@pytest.mark.parametrize("name", fields_of(b""))
def test_a_body_that_is_not_what_was_promised_is_refused(
    creating: Server, location: str, name: str, body: bytes
) -> None:
    value = fields_of(body)[name]
    assert creating.ask("PUT", f"/store/{location}", b"other" + body, {name: value}).status == 400
    assert creating.ask("GET", f"/store/{location}").status == 404
    assert creating.ask("PUT", f"/store/{location}", body, {name: value}).status == 201
    assert creating.ask("GET", f"/store/{location}").body == body


@pytest.mark.parametrize(
    "fields",
    [
        {"Content-MD5": "x"},
        {"Content-MD5": b64("sha256", b"a")},
        {"Digest": "SHA-256=nothing"},
        {"Repr-Digest": "sha-512=:eA==:"},
        {"Repr-Digest": f"sha-512={b64('sha512', b'a')}"},
        {"Digest": f"md5={b64('md5', b'a')}", "Content-MD5": b64("md5", b"b")},
    ],
)
def test_what_is_malformed_or_contradicts_itself_is_refused(
    creating: Server, location: str, fields: dict[str, str]
) -> None:
    assert creating.ask("PUT", f"/store/{location}", b"a", fields).status == 400
    assert creating.ask("GET", f"/store/{location}").status == 404


def chunked(server: Server, location: str, body: bytes, head: dict[str, str], behind: str) -> int:
    with connected(server.port) as raw:
        raw.request("PUT", f"/store/{location}", {"Transfer-Encoding": "chunked", **head})
        content = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        raw.send(content + b"0\r\n" + behind.encode() + b"\r\n")
        return raw.answer().status


@pytest.mark.parametrize("body", BODIES, ids=["empty", "small", "large"])
@pytest.mark.parametrize("name", ["Content-MD5", "Digest", "Repr-Digest", "Content-Digest"])
def test_digests_behind_the_body(creating: Server, location: str, name: str, body: bytes) -> None:
    announced = {"Trailer": name}
    right, wrong = fields_of(body)[name], fields_of(body + b"x")[name]
    if "tornado" in creating.flags and len(body) > 100_000:
        return  # refused before the body, so the connection closes while the client still sends
    assert chunked(creating, location, body, announced, f"{name}: {wrong}\r\n") == 400
    assert chunked(creating, location, body, announced, "") == 400  # it did not come
    assert creating.ask("GET", f"/store/{location}").status == 404
    if "tornado" in creating.flags:  # that connection class drops trailers, so no digest can come there
        return
    assert chunked(creating, location, body, announced, f"{name}: {right}\r\n") == 201
    assert creating.ask("GET", f"/store/{location}").body == body
    # Not announced: a digest that the store computes anyway is checked. Others are refused.
    sha256 = f"Repr-Digest: sha-256=:{b64('sha256', body)}:\r\n"
    assert chunked(creating, location, body, {}, sha256) == 200
    assert chunked(creating, location, body + b"x", {}, sha256) == 400
    assert chunked(creating, location, body, {}, f"Content-MD5: {b64('md5', body)}\r\n") == 400
