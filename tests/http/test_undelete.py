"""GET /blobs/{id}/data and POST /blobs/{id}/undelete over HTTP, while a gc runs, and who may use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.access import file as access_file
from services.access.secret_hash import hash_token
from tests.conftest import StartServer
from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory
from tests.support.tools import tool

KEEP = ("--keep-deleted", "7d")
TOKENS = {"reader": "read-only", "appender": "append-only", "writer": "read-write", "team": "read-write"}


@pytest.fixture
def keeping(start_server: StartServer) -> Server:
    return start_server(*KEEP)


def kept(server: Server, location: str, **options: Any) -> list[dict[str, Any]]:
    """The kept blobs of `location`, the newest first."""
    found = json.loads(server.ask("GET", "/blobs/?state=Failure", **options).body)["blobs"]
    mine = [one for one in found if one["location"] == location and one["kept_until"]]
    return sorted(mine, key=lambda one: -one["sequence"])


def told(server: Server, wanted: str) -> str:
    text = server.ask("GET", "/metrics").body.decode()
    return text if wanted in text else ""


def test_a_deleted_blob_is_there_by_id_and_comes_back(keeping: Server, data: DataDirectory) -> None:
    server = keeping
    said = {"Content-Type": "text/plain", "X-Meta-Who": "ann", "Cache-Control": "max-age=9"}
    server.ask("POST", "/store/a/b", b"0123456789", headers=said)
    before = server.ask("GET", "/store/a/b")
    server.ask("DELETE", "/store/a/b")
    gc = Process("gc", data.path, *KEEP, "--once")
    assert gc.popen.wait(120) == 0
    (one,) = kept(server, "a/b")
    assert (one["size"], one["etag"], one["type"]) == (10, before.headers["etag"], "text/plain")
    target = f"/blobs/{one['id']}/data"
    answer = server.ask("GET", target)
    assert (answer.status, answer.body) == (200, b"0123456789")
    for name in ("etag", "content-type", "x-meta-who", "cache-control", "repr-digest", "blob-id"):
        assert answer.headers[name] == before.headers[name], name
    assert server.ask("GET", target, headers={"Range": "bytes=2-3"}).body == b"23"
    assert server.ask("GET", target, headers={"If-None-Match": before.headers["etag"]}).status == 304
    assert server.ask("HEAD", target).headers["content-length"] == "10"
    assert server.ask("GET", "/store/a/b").status == 404
    back = server.ask("POST", f"/blobs/{one['id']}/undelete")
    assert (back.status, back.body) == (201, b"")
    assert back.headers["location"] == "/store/a/b"
    assert back.headers["etag"] == before.headers["etag"]
    now = server.ask("GET", "/store/a/b")
    assert now.body == b"0123456789"
    assert now.headers["x-meta-who"] == "ann"
    assert now.headers["blob-id"] == back.headers["blob-id"] != str(one["id"])
    assert server.ask("GET", f"/blobs/{back.headers['blob-id']}/data").body == b"0123456789"


def test_an_undelete_over_another_blob_is_409_unless_asked_for(keeping: Server) -> None:
    keeping.ask("POST", "/store/a", b"first")
    keeping.ask("PUT", "/store/a", b"second")
    (one,) = kept(keeping, "a")
    target = f"/blobs/{one['id']}/undelete"
    assert keeping.ask("POST", target).status == 409
    assert keeping.ask("GET", "/store/a").body == b"second"
    wrong = keeping.ask("POST", f"{target}?replace", headers={"If-Match": one["etag"]})
    assert wrong.status == 412
    answer = keeping.ask("POST", f"{target}?replace")
    assert answer.status == 200
    assert keeping.ask("GET", "/store/a").body == b"first"
    assert [keeping.ask("GET", f"/blobs/{k['id']}/data").body for k in kept(keeping, "a")] == [
        b"second",
        b"first",
    ]


@pytest.mark.parametrize("blob_id", ["1", "x", "07", "99999999999", "%2e"])
def test_what_is_not_kept_is_404(keeping: Server, blob_id: str) -> None:
    assert keeping.ask("GET", f"/blobs/{blob_id}/data").status == 404
    assert keeping.ask("POST", f"/blobs/{blob_id}/undelete").status == 404


def test_other_methods_and_parameters_are_refused(keeping: Server) -> None:
    assert keeping.ask("PUT", "/blobs/1/data", b"x").status == 405
    assert keeping.ask("GET", "/blobs/1/undelete").headers["allow"] == "POST, OPTIONS"
    assert keeping.ask("POST", "/blobs/1/undelete?over=yes").status == 400


def test_without_the_option_nothing_is_kept(server: Server) -> None:
    server.ask("POST", "/store/a", b"x")
    blob_id = server.ask("HEAD", "/store/a").headers["blob-id"]
    server.ask("DELETE", "/store/a")
    assert server.ask("GET", f"/blobs/{blob_id}/data").status == 404
    assert server.ask("POST", f"/blobs/{blob_id}/undelete").status == 404


def test_the_figures_tell_of_what_is_kept(keeping: Server, data: DataDirectory) -> None:
    keeping.ask("POST", "/store/a", b"12345")
    keeping.ask("DELETE", "/store/a")
    gc = Process("gc", data.path, *KEEP, "--gc-interval", "0.05")
    try:
        wanted = 'blobkeep_blobs{state="Kept"} 1'
        text = wait_for(lambda: told(keeping, wanted), what="what the gc keeps")
        assert 'blobkeep_blob_bytes{state="Kept"} 5' in text
        failure = 'blobkeep_blobs{state="Failure"} 0'  # counted by the server, at another time
        wait_for(lambda: told(keeping, failure), what="the count of blobs in Failure")
    finally:
        gc.end()


@pytest.fixture
def guarded(start_server: StartServer, tmp_path: Path) -> Server:
    path = tmp_path / "access.toml"
    text = access_file.HEADER
    for name, role in TOKENS.items():
        prefix = "team/" if name == "team" else ""
        text += access_file.entry_text(
            access_file.make_client(name, role, prefix, hash_token(f"token-of-{name}"))
        )
    path.write_text(text)
    path.chmod(0o600)
    return start_server(*KEEP, "--auth-file", str(path))


def test_who_may_depends_on_the_location(guarded: Server) -> None:
    def ask(name: str, method: str, target: str, body: bytes | None = None) -> int:
        return guarded.ask(method, target, body, headers=bearer(name)).status

    def bearer(name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer token-of-{name}"}

    ids = {}
    for location in ("team/a", "mine"):
        assert ask("writer", "POST", f"/store/{location}", b"x") == 201
        assert ask("writer", "DELETE", f"/store/{location}") == 200
        ids[location] = kept(guarded, location, headers=bearer("writer"))[0]["id"]
    for what in ("data", "undelete"):
        method = "GET" if what == "data" else "POST"
        assert guarded.ask(method, f"/blobs/{ids['mine']}/{what}").status == 401
        assert ask("team", method, f"/blobs/{ids['mine']}/{what}") == 403
    assert ask("reader", "GET", f"/blobs/{ids['mine']}/data") == 200
    assert ask("reader", "POST", f"/blobs/{ids['mine']}/undelete") == 403
    assert ask("team", "GET", f"/blobs/{ids['team/a']}/data") == 200
    assert ask("team", "POST", f"/blobs/{ids['team/a']}/undelete") == 201
    assert ask("appender", "POST", f"/blobs/{ids['mine']}/undelete") == 201
    assert ask("appender", "POST", f"/blobs/{ids['mine']}/undelete?replace") == 403
    assert ask("writer", "POST", f"/blobs/{ids['mine']}/undelete?replace") == 200


def test_the_command_brings_back_the_newest_and_refuses_to_replace(keeping: Server) -> None:
    where = ("--url", f"http://127.0.0.1:{keeping.port}")
    assert tool("undelete", "a", *where).status == 3
    keeping.ask("POST", "/store/a", b"first")
    keeping.ask("PUT", "/store/a", b"second")
    keeping.ask("DELETE", "/store/a")
    listed = tool("undelete", "a", "--list", "--json", *where).json["kept"]
    assert [one["size"] for one in listed] == [6, 5]
    assert tool("undelete", "a", *where).status == 0
    assert keeping.ask("GET", "/store/a").body == b"second"
    first = ("--id", str(listed[1]["id"]))
    assert tool("undelete", "a", *first, *where).status == 5
    assert tool("undelete", "a", *first, "--replace", *where).status == 0
    assert keeping.ask("GET", "/store/a").body == b"first"


def test_the_command_says_how_to_give_a_token(guarded: Server) -> None:
    """`rm` and the others did; this one only said that the server wants one."""
    for more in ((), ("--list",)):
        ran = tool("undelete", "a", *more, "--url", f"http://127.0.0.1:{guarded.port}")
        assert (ran.status, "--token-file" in ran.err) == (5, True), ran.err
