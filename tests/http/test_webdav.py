"""PROPFIND and MKCOL as caches send them, and LOCK and UNLOCK as terraform does, on both connection
classes.
"""

from __future__ import annotations

import concurrent.futures
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.conftest import StartServer
from tests.http.test_access import TOKENS, bearer, write_clients
from tests.support.processes import Answer, Server

DAV = "{DAV:}"
BODY = b'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>'


def told(answer: Answer) -> dict[str, str]:
    assert (answer.status, answer.headers["content-type"]) == (207, 'application/xml; charset="utf-8"')
    root = ElementTree.fromstring(answer.body)
    found = {one.tag.removeprefix(DAV): one.text or "" for one in root.iter()}
    assert found["status"] == "HTTP/1.1 200 OK"
    return found


def test_what_a_cache_asks_before_it_writes(strict: Server, location: str) -> None:
    folder = f"/store/{location}/a%20%26/"
    for target in (folder, folder[:-1], folder + "b"):
        assert strict.ask("PROPFIND", target, BODY, {"Depth": "0"}).status == 404
    assert strict.ask("MKCOL", folder).status == 201
    assert strict.ask("MKCOL", folder[:-1]).status == 201
    assert strict.ask("POST", folder + "b", b"12345", {"Content-Type": "text/x"}).status == 201
    blob = told(strict.ask("PROPFIND", folder + "b", BODY, {"Depth": "0"}))
    assert (blob["href"], blob["getcontentlength"], blob["getcontenttype"]) == (folder + "b", "5", "text/x")
    head = strict.ask("HEAD", folder + "b").headers
    assert (blob["getetag"], blob["getlastmodified"]) == (head["etag"], head["last-modified"])
    assert "collection" not in blob
    for target in (folder, folder[:-1]):
        shown = told(strict.ask("PROPFIND", target))
        assert (shown["href"], shown["collection"]) == (folder, "")
    prefixed = told(strict.ask("PROPFIND", folder, None, {"X-Forwarded-Prefix": "/bk"}))
    assert prefixed["href"] == "/bk" + folder
    assert told(strict.ask("PROPFIND", "/store/"))["href"] == "/store/"
    assert strict.ask("MKCOL", folder + "b").status == 405


def lock_of(name: str) -> bytes:
    return json.dumps({"ID": name, "Operation": "OperationTypeApply", "Who": name}).encode()


def test_a_lock_has_one_holder(strict: Server, location: str) -> None:
    target = f"/store/{location}"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(strict.ask, "LOCK", target, lock_of(f"l{n}")) for n in range(8)]
        statuses = sorted(answer.result().status for answer in asked)
    assert statuses == [200] + [423] * 7
    held = strict.ask("LOCK", target, lock_of("late"))
    assert (held.status, held.headers["content-type"]) == (423, "application/json")
    holder = json.loads(held.body)["ID"]
    assert strict.ask("LOCK", target, lock_of(holder)).status == 200  # its answer was lost
    other = strict.ask("UNLOCK", target, lock_of("late"))
    assert (other.status, json.loads(other.body)["ID"]) == (409, holder)
    assert strict.ask("UNLOCK", target, lock_of(holder)).status == 200
    assert strict.ask("UNLOCK", target, lock_of(holder)).status == 200
    assert strict.ask("LOCK", target, lock_of("next")).status == 200
    assert strict.ask("UNLOCK", target).status == 200  # by force
    assert strict.ask("GET", target).status == 404  # the lock is no blob
    assert location.encode() not in strict.ask("GET", f"/store/?prefix={location}").body
    assert strict.ask("LOCK", target, b"no json").status == 400
    assert strict.ask("LOCK", target, lock_of("x" * 20_000)).status == 413


def test_a_lock_outlives_the_server_and_is_not_for_readers(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    write_clients(path, *TOKENS)
    server = start_server("--auth-file", str(path))
    assert server.ask("LOCK", "/store/team/s", lock_of("a"), bearer("team")).status == 200
    server.kill()
    server.restart()
    assert server.ask("LOCK", "/store/team/s", lock_of("b"), bearer("writer")).status == 423
    for who in ("reader", "appender"):
        assert server.ask("UNLOCK", "/store/team/s", b"", bearer(who)).status == 403
        assert server.ask("LOCK", "/store/new", lock_of("c"), bearer(who)).status == 403
    assert server.ask("LOCK", "/store/other", lock_of("d"), bearer("team")).status == 403
    assert server.ask("PROPFIND", "/store/other/", None, bearer("team")).status == 403
    assert server.ask("MKCOL", "/store/other/", None, bearer("reader")).status == 403
    assert server.ask("PROPFIND", "/store/", None).status == 401
