"""/session tells clients who they are, and only what they may see. A ticket is a link to one blob, for a
minute.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from common.errors import NotFound
from common.times import unix_ns
from common.version import VERSION
from services.access import file as access_file
from services.access.decisions import Access
from services.frontends.native import downloads
from tests.conftest import StartServer
from tests.http.test_access import TOKENS, basic, bearer, write_clients
from tests.support.processes import Answer, Server, wait_for

NOTHING_MORE = {"links": False, "keep_deleted_s": 0.0}


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    path = tmp_path / "clients.toml"
    write_clients(path, *TOKENS)
    return path


@pytest.fixture
def guarded(start_server: StartServer, clients: Path) -> Server:
    return start_server("--auth-file", str(clients))


def session(server: Server, headers: dict[str, str] | None = None) -> dict[str, object]:
    answer = server.ask("GET", "/session", headers=headers)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    told: dict[str, object] = json.loads(answer.body)
    return told


def ticket(server: Server, location: str, headers: dict[str, str]) -> Answer:
    return server.ask("POST", f"/tickets/{location}", headers=headers)


def test_an_open_server_says_so_and_which_it_is(server: Server) -> None:
    told = session(server, bearer("reader"))  # where no token is needed, one means nothing
    about = told.pop("server")
    assert told == {"open": True, "user": None, "role": "read-write", "prefix": "", **NOTHING_MORE}
    assert isinstance(about, dict)
    assert about["version"] == VERSION
    assert about["listen"].startswith("127.0.0.1:")
    assert Path(about["place"]).is_dir()
    assert about["name"]


def test_each_client_is_told_what_it_may_and_of_the_server_only_who_may_see_all(guarded: Server) -> None:
    nobody = {"open": False, "user": None, "role": None, "prefix": "", "server": None, **NOTHING_MORE}
    assert session(guarded) == nobody
    for name, role in (("reader", "read-only"), ("appender", "append-only"), ("writer", "read-write")):
        told = session(guarded, bearer(name))
        assert told.pop("server")
        assert told == {"open": False, "user": name, "role": role, "prefix": "", **NOTHING_MORE}
    team = {"open": False, "user": "team", "role": "read-write", "prefix": "team/", "server": None}
    team |= NOTHING_MORE
    assert session(guarded, bearer("team")) == team
    assert session(guarded, basic("team", TOKENS["team"])) == team


def test_a_wrong_secret_is_refused_there_too(guarded: Server) -> None:
    assert guarded.ask("GET", "/session", headers={"Authorization": "Bearer guess"}).status == 401


def test_who_may_read_a_blob_gets_a_link_that_needs_no_token(guarded: Server) -> None:
    made = guarded.ask("POST", "/store/team/a%20%22b%22", b"12345", bearer("team"))
    assert made.status == 201
    answer = ticket(guarded, "team/a%20%22b%22", bearer("reader"))
    assert (answer.status, answer.headers["cache-control"]) == (201, "no-store")
    url = "/" + json.loads(answer.body)["url"]
    for _ in range(2):  # a browser may ask again
        blob = guarded.ask("GET", url)
        assert (blob.status, blob.body) == (200, b"12345")
        assert blob.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20%22b%22"
        assert blob.headers["cache-control"] == "no-store"
    part = guarded.ask("GET", url, headers={"Range": "bytes=1-2"})
    assert (part.status, part.body) == (206, b"23")
    assert guarded.ask("HEAD", url).headers["content-length"] == "5"
    assert guarded.ask("DELETE", url).status == 405
    assert guarded.ask("GET", "/store/team/a%20%22b%22").status == 401


def test_who_may_not_read_it_gets_none(guarded: Server) -> None:
    assert guarded.ask("POST", "/store/other", b"1", bearer("writer")).status == 201
    assert ticket(guarded, "other", {}).status == 401
    assert ticket(guarded, "other", bearer("team")).status == 403
    assert ticket(guarded, "team/none", bearer("team")).status == 404
    assert ticket(guarded, "../other", bearer("team")).status in (400, 403)
    assert guarded.ask("GET", "/downloads/guess").status == 404


def test_who_may_read_it_gets_a_signed_link_for_as_long_as_they_say(
    start_server: StartServer, clients: Path
) -> None:
    clients.write_text(access_file.with_link_key(clients.read_text(), "k" * 32))
    server = start_server("--auth-file", str(clients), "--keep-deleted", "1d")
    told = session(server, bearer("team"))
    assert (told["links"], told["keep_deleted_s"]) == (True, 86400.0)
    assert session(server)["keep_deleted_s"] == 0.0
    assert server.ask("POST", "/store/team/a%20b", b"12345", bearer("team")).status == 201
    answer = ticket(server, "team/a%20b?for=3600", bearer("reader"))
    made = json.loads(answer.body)
    assert answer.status == 201
    assert 3590 < unix_ns(made["expires"]) / 1e9 - time.time() <= 3600
    url = "/" + made["url"]
    assert server.ask("GET", url).body == b"12345"
    assert server.ask("DELETE", url).status == 403
    assert server.ask("GET", url.replace("a%20b", "c")).status == 403
    assert ticket(server, "other?for=3600", bearer("team")).status == 403
    for wrong in ("for=0", "for=1d", "for=604801", "for=60&for=60", "to=60"):
        assert ticket(server, f"team/a%20b?{wrong}", bearer("team")).status == 400


def test_an_open_server_makes_no_link_since_it_would_not_expire(server: Server) -> None:
    assert server.ask("POST", "/store/a", b"1").status == 201
    answer = ticket(server, "a?for=60", {})
    assert (answer.status, "open to everyone" in json.loads(answer.body)["text"]) == (403, True)


def test_without_a_key_there_is_no_link_and_the_answer_says_how_to_make_one(guarded: Server) -> None:
    assert guarded.ask("POST", "/store/a", b"1", bearer("writer")).status == 201
    answer = ticket(guarded, "a?for=60", bearer("writer"))
    assert (answer.status, "blobkeep link" in json.loads(answer.body)["text"]) == (403, True)


def test_a_link_is_void_when_the_access_file_changes(guarded: Server, clients: Path) -> None:
    assert guarded.ask("POST", "/store/a", b"1", bearer("writer")).status == 201
    url = "/" + json.loads(ticket(guarded, "a", bearer("reader")).body)["url"]
    assert guarded.ask("GET", url).status == 200
    write_clients(clients, "writer")
    guarded.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: guarded.ask("GET", url).status == 404, what="the end of the link")


def test_a_link_is_void_after_a_minute_and_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    tickets = downloads.Tickets(Access([]))
    first = tickets.issue("a", "ann")
    assert tickets.find(first).location == "a"
    for _ in range(downloads._MAX_TICKETS):
        last = tickets.issue("b", "ann")
    with pytest.raises(NotFound):
        tickets.find(first)
    assert tickets.find(last).user == "ann"
    monkeypatch.setattr(downloads, "VALID_S", -1.0)
    with pytest.raises(NotFound):
        tickets.find(tickets.issue("c", "ann"))
