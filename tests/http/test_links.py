"""Signed links, anonymous reading and other origins, over HTTP: see docs/access.md."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.access import file as access_file
from services.access import links
from tests.conftest import StartServer
from tests.http.conftest import CONNECTIONS
from tests.http.test_access import TOKENS, bearer, write_clients
from tests.support.processes import ROOT, Answer, Server

ORIGIN = "https://app.example.org"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "clients.toml"
    write_clients(path, *TOKENS)
    return path


def link(path: Path, location: str, *flags: str) -> str:
    """What `blobkeep link` prints, from the path on."""
    done = subprocess.run(
        [sys.executable, "-m", "services.tools", "link", location, "--file", str(path), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    url = urlsplit(done.stdout.strip())
    return f"{url.path}?{url.query}"


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_link_does_one_thing_to_one_blob_for_a_time(
    start_server: StartServer, keys: Path, connection: str
) -> None:
    reading = link(keys, "a/é b")  # makes the key
    server = start_server("--auth-file", str(keys), "--http", connection)
    target = reading.partition("?")[0]
    assert server.ask("POST", target, b"bytes", bearer("writer")).status == 201
    assert server.ask("GET", target).status == 401
    got = server.ask("GET", reading)
    assert (got.status, got.body) == (200, b"bytes")
    assert server.ask("HEAD", reading).status == 200
    assert server.ask("GET", reading, None, {"Range": "bytes=1-2"}).body == b"yt"
    for method in ("PUT", "POST", "DELETE"):
        assert server.ask(method, reading, b"" if method != "DELETE" else None).status == 403
    query = reading.partition("?")[2]
    for other in ("/store/other", "/store/a/", "/store/", "/blobs/", "/metrics"):
        assert server.ask("GET", f"{other}?{query}").status in (401, 403), other
    assert server.ask("GET", f"/store/?prefix=a%2F%C3%A9%20b&{query}").status == 401
    assert server.ask("GET", reading[:-1] + ("A" if reading[-1] != "A" else "B")).status == 403
    later = reading.replace("expires=", "expires=1")
    assert server.ask("GET", later).status == 403

    writing = link(keys, "new", "--put", "--for", "30m")
    assert server.ask("GET", writing).status == 403
    assert server.ask("PUT", writing, b"first").status == 201  # though put_creates is off
    assert server.ask("PUT", writing, b"second").status == 200
    assert server.ask("DELETE", writing).status == 403
    assert server.ask("GET", "/store/new", None, bearer("reader")).body == b"second"

    key = access_file.load_rules(str(keys)).link_key
    over = links.query(key, links.READ, "new", int(time.time()) - 1)
    answer = server.ask("GET", f"/store/new?{over}")
    assert answer.status == 403
    assert b"expired" in answer.body
    text = keys.read_text().replace(key, "k" * 43)
    keys.write_text(text)
    server.popen.send_signal(1)
    for _ in range(1000):
        if server.ask("GET", reading).status == 403:
            break
        time.sleep(0.01)
    else:
        raise AssertionError("another key ends all links")


def test_a_server_without_a_key_takes_no_links(start_server: StartServer, keys: Path) -> None:
    server = start_server("--auth-file", str(keys))
    forged = links.query("", links.READ, "a", int(time.time()) + 60)
    assert server.ask("GET", f"/store/a?{forged}").status == 403


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_everybody_may_read_what_is_public(start_server: StartServer, keys: Path, connection: str) -> None:
    server = start_server("--auth-file", str(keys), "--public", "site/, open", "--http", connection)
    for location in ("site/index.html", "open.txt", "secret", "sit"):
        assert server.ask("POST", f"/store/{location}", b"x", bearer("writer")).status == 201
    for _ in range(2):  # the second from memory
        assert server.ask("GET", "/store/site/index.html").status == 200
    assert server.ask("GET", "/store/open.txt").status == 200
    assert server.ask("GET", "/store/site/").status == 200
    assert server.ask("GET", "/store/?prefix=site/").status == 200
    for target in ("secret", "sit", "site/../secret", "site%2F..%2Fsecret", "", "?prefix=s", "?prefix=sit"):
        assert server.ask("GET", f"/store/{target}").status == 401, target
    for method in ("PUT", "POST", "DELETE"):
        assert server.ask(method, "/store/site/new", b"").status == 401
    assert server.ask("POST", "/store/site/c", None, {"Blob-Copy-From": "/store/secret"}).status == 401
    for target in ("/blobs/", "/metrics", "/events"):
        assert server.ask("GET", target).status == 401
    assert server.ask("GET", "/store/site/index.html", None, {"Authorization": "Bearer no"}).status == 401


def preflight(server: Server, origin: str, method: str = "PUT") -> Answer:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return server.ask("OPTIONS", "/store/a", None, asked)


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("option", [f"https://other.example, {ORIGIN}", "*"])
def test_pages_of_named_origins_may_use_it(
    start_server: StartServer, keys: Path, connection: str, option: str
) -> None:
    server = start_server(
        "--auth-file", str(keys), "--cors-origins", option, "--http", connection, "--put-creates"
    )
    asked = preflight(server, ORIGIN)
    assert asked.status == 204
    allowed = "*" if option == "*" else ORIGIN
    assert asked.headers["access-control-allow-origin"] == allowed
    assert asked.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "PUT" in asked.headers["access-control-allow-methods"]
    page = {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}
    written = server.ask("PUT", "/store/a", b"x", {**page, **bearer("writer")})
    assert (written.status, written.headers["access-control-allow-origin"]) == (201, allowed)
    refused = server.ask("GET", "/store/a", None, page)
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, allowed)
    assert "access-control-allow-credentials" not in asked.headers
    for _ in range(2):
        read = server.ask("GET", "/store/a", None, bearer("reader"))
        assert (read.headers.get("vary") == "Origin") == (option != "*")
    if option != "*":
        evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        assert preflight(server, "https://evil.example").status == 401
        denied = server.ask("GET", "/store/a", None, {**evil, **bearer("reader")})
        assert "access-control-allow-origin" not in denied.headers
        assert server.ask("PUT", "/store/a", b"y", {**evil, **bearer("writer")}).status == 403


def test_without_the_option_no_other_origin_may(start_server: StartServer) -> None:
    server = start_server("--put-creates", "--s3-path", "/s3")
    assert preflight(server, ORIGIN).headers.get("access-control-allow-origin") is None
    page = {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}
    assert server.ask("PUT", "/store/a", b"x", page).status == 403
    assert "access-control-allow-origin" not in server.ask("GET", "/store/a", None, page).headers
