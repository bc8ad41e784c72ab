"""`Blob-Copy-From` and `Blob-Move-From`: copies and moves on the server, on both connection classes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.http.test_access import TOKENS, bearer, write_clients
from tests.http.test_writing import tag
from tests.support.processes import Server

LARGE = os.urandom(3 << 20)


@pytest.mark.parametrize("body", [b"", b"small", LARGE], ids=["empty", "small", "large"])
def test_a_copy_and_then_a_move(strict: Server, location: str, body: bytes) -> None:
    said = {"Content-Type": "text/x", "X-Meta-Who": "me", "Cache-Control": "no-store"}
    assert strict.ask("POST", f"/store/{location}/a%20b", body, said).status == 201
    source = {"Blob-Copy-From": f"/store/{location}/a%20b"}
    answer = strict.ask("POST", f"/store/{location}/copy", headers=source)
    assert (answer.status, answer.headers["etag"]) == (201, tag(body))
    assert answer.headers["location"] == f"/store/{location}/copy"
    got = strict.ask("GET", f"/store/{location}/copy")
    assert got.body == body
    assert (got.headers["content-type"], got.headers["x-meta-who"]) == ("text/x", "me")
    assert got.headers["cache-control"] == "no-store"
    assert strict.ask("POST", f"/store/{location}/copy", headers=source).status == 409
    other = {"Content-Type": "text/y", "X-Meta-New": "1"}
    assert strict.ask("PUT", f"/store/{location}/copy", headers={**source, **other}).status == 200
    got = strict.ask("GET", f"/store/{location}/copy")
    assert (got.body, got.headers["content-type"], got.headers["x-meta-new"]) == (body, "text/y", "1")
    assert "x-meta-who" not in got.headers
    moved = {"Blob-Move-From": f"/store/{location}/copy"}
    assert strict.ask("POST", f"/store/{location}/new", headers=moved).status == 201
    assert strict.ask("GET", f"/store/{location}/new").body == body
    assert strict.ask("GET", f"/store/{location}/copy").status == 404
    assert strict.ask("GET", f"/store/{location}/a%20b").body == body


def test_conditions_and_what_is_refused(strict: Server, location: str) -> None:
    strict.ask("POST", f"/store/{location}/a", b"source")
    strict.ask("POST", f"/store/{location}/b", b"target")

    def ask(method: str, body: bytes | None = None, **fields: str) -> int:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        return strict.ask(method, f"/store/{location}/b", body, headers).status

    source = f"/store/{location}/a"
    assert ask("PUT", Blob_Move_From=source, Blob_If_Match=tag(b"other")) == 412
    assert ask("PUT", Blob_Move_From=source, If_Match=tag(b"other")) == 412
    assert ask("PUT", Blob_Move_From=source + "x") == 404
    assert ask("PUT", Blob_Move_From="a") == 400
    assert ask("PUT", Blob_Move_From="/store/../a") == 400
    assert ask("PUT", Blob_Move_From=source, Blob_Copy_From=source) == 400
    assert ask("PUT", b"bytes", Blob_Copy_From=source) == 400
    assert ask("POST", Blob_Move_From=source, If_None_Match="*") == 412
    assert strict.ask("GET", f"/store/{location}/a").body == b"source"
    assert strict.ask("GET", f"/store/{location}/b").body == b"target"
    right = ask("PUT", Blob_Move_From=source, Blob_If_Match=tag(b"source"), If_Match=tag(b"target"))
    assert right == 200
    assert strict.ask("GET", f"/store/{location}/b").body == b"source"
    assert strict.ask("GET", f"/store/{location}/a").status == 404


def test_both_sides_must_be_the_clients(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    write_clients(path, *TOKENS)
    server = start_server("--auth-file", str(path), "--put-creates")
    for location in ("team/a", "other"):
        assert server.ask("POST", f"/store/{location}", b"x", bearer("writer")).status == 201

    def ask(who: str, kind: str, source: str, target: str, method: str = "PUT") -> int:
        headers = {**bearer(who), f"Blob-{kind}-From": f"/store/{source}"}
        return server.ask(method, f"/store/{target}", None, headers).status

    assert ask("team", "Copy", "other", "team/b") == 403
    assert ask("team", "Copy", "team/a", "b") == 403
    assert ask("team", "Copy", "team/a", "team/b") == 201
    assert ask("reader", "Copy", "team/a", "c") == 403
    assert ask("appender", "Copy", "other", "c") == 201
    assert ask("appender", "Copy", "other", "team/a") == 403  # it is there
    assert ask("appender", "Move", "other", "d") == 403
    assert ask("writer", "Move", "other", "d") == 201


@pytest.mark.parametrize("name", ["Blob-If-Match", "blob-if-match", "Blob-Id", "Blob-Other"])
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_field_of_ours_without_effect_is_refused(
    strict: Server, location: str, method: str, name: str
) -> None:
    """A DELETE with Blob-If-Match deleted what was there, whatever it was."""
    at = f"/store/{location}"
    if method != "POST":
        assert strict.ask("POST", at, b"a").status == 201
    body = None if method == "DELETE" else b"b"
    answer = strict.ask(method, at, body, {name: tag(b"other")})
    assert answer.status == 400
    assert b"has no effect" in answer.body
    got = strict.ask("GET", at)
    assert (got.status, got.body) == (200, b"a") if method != "POST" else got.status == 404


@pytest.mark.parametrize(
    "name", ["Blob-Other", "Repr-Digest", "Content-Digest", "Content-MD5", "Content-Range"]
)
def test_a_copy_with_a_field_that_it_does_not_look_at_is_refused(
    strict: Server, location: str, name: str
) -> None:
    assert strict.ask("POST", f"/store/{location}/a", b"source").status == 201
    said = {"Blob-Copy-From": f"/store/{location}/a", name: "bytes 0-1/2"}
    assert strict.ask("POST", f"/store/{location}/b", None, said).status == 400
    assert strict.ask("GET", f"/store/{location}/b").status == 404


def test_a_delete_does_not_expire(strict: Server, location: str) -> None:
    assert strict.ask("POST", f"/store/{location}", b"a").status == 201
    assert strict.ask("DELETE", f"/store/{location}", None, {"Blob-Expires": "60"}).status == 400
    assert strict.ask("GET", f"/store/{location}").body == b"a"
