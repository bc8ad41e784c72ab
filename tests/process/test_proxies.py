"""Blobkeep behind nginx and Caddy with the configurations of conf/: clients get what the server sends."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Server
from tests.support.programs import need
from tests.support.proxies import Proxy, caddy, nginx
from tests.support.rules import DataDirectory, live_blobs

PROXIES = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(params=PROXIES)
def behind(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy in front of `server`."""
    need(request.param)
    folder = tmp_path / "proxy"
    folder.mkdir()
    with PROXIES[request.param](folder, server.port) as proxy:
        yield proxy


def test_behind_a_proxy_everything_is_as_it_is_without(
    behind: Proxy, server: Server, data: DataDirectory
) -> None:
    body = random.Random(3).randbytes(5 << 20)
    created = behind.ask("POST", "/store/large", body, {"Content-Type": "video/x"})
    assert (created.status, created.headers["location"]) == (201, "/store/large")
    assert behind.ask("POST", "/store/small", b"1").status == 201
    refused = behind.ask("POST", "/store/small", b"2")
    assert refused.status == 409
    assert b'"code"' in refused.body
    assert behind.ask("PUT", "/store/missing", b"x").status == 404
    assert behind.ask("GET", "/store/missing").status == 404

    whole = behind.ask("GET", "/store/large")
    assert whole.body == body
    direct = server.ask("GET", "/store/large")
    for name in ("etag", "content-type", "last-modified", "repr-digest", "content-length", "blob-id"):
        assert whole.headers.get(name) == direct.headers.get(name), name
    etag = whole.headers["etag"]

    part = behind.ask("GET", "/store/large", headers={"Range": "bytes=1048570-1048580"})
    assert (part.status, part.body) == (206, body[1048570:1048581])
    assert part.headers["content-range"] == f"bytes 1048570-1048580/{len(body)}"
    several = behind.ask("GET", "/store/large", headers={"Range": "bytes=0-1,5-6"})
    assert several.status == 206
    assert several.headers["content-type"].startswith("multipart/byteranges")
    outside = behind.ask("GET", "/store/large", headers={"Range": f"bytes={len(body)}-"})
    assert (outside.status, outside.headers["content-range"]) == (416, f"bytes */{len(body)}")

    assert behind.ask("GET", "/store/large", headers={"If-None-Match": etag}).status == 304
    assert behind.ask("PUT", "/store/large", b"new", {"If-Match": '"other"'}).status == 412
    assert behind.ask("PUT", "/store/large", b"new", {"If-Match": etag}).status == 200
    assert behind.ask("HEAD", "/store/large").headers["content-length"] == "3"

    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    digest = {"Repr-Digest": f"sha-256=:{wrong}:"}
    assert behind.ask("PUT", "/store/large", b"newer", digest).status == 400
    assert behind.ask("DELETE", "/store/large").status == 200
    assert behind.ask("DELETE", "/store/large").status == 404
    assert live_blobs(data.root) == {"small": b"1"}


def test_locations_pass_a_proxy_as_they_are(behind: Proxy, server: Server) -> None:
    for target, location in (
        ("a%20b/%E2%9C%93", "a b/✓"),
        ("one%2Ftwo", "one/two"),
        ("100%25", "100%"),
        ("plus+and%3Fand%23", "plus+and?and#"),
        ("n" * 1024, "n" * 1024),
        ("%E2%9C%93" * 341, "✓" * 341),
    ):
        assert behind.ask("POST", "/store/" + target, b"x").status == 201, target
        listed = server.ask("GET", "/store/").body.decode()
        assert (
            location.replace("\\", "\\\\") in listed or location.encode("unicode_escape").decode() in listed
        )
        assert behind.ask("DELETE", "/store/" + target).status == 200
    for bad in ("a/../b", "%2e%2e/x", "%00"):
        assert behind.ask("POST", "/store/" + bad, b"x").status in (400, 404), bad
    assert json.loads(server.ask("GET", "/store/").body)["blobs"] == []


def test_a_body_of_unknown_length_streams_through(behind: Proxy, data: DataDirectory) -> None:
    pieces = [bytes([n]) * 100_000 for n in range(30)]
    assert behind.ask("POST", "/store/chunked", iter(pieces)).status == 201
    assert behind.ask("GET", "/store/chunked").body == b"".join(pieces)


def test_an_upload_that_breaks_off_before_the_proxy_leaves_nothing(
    behind: Proxy, server: Server, data: DataDirectory
) -> None:
    connection = behind.connect()
    connection.putrequest("POST", "/store/broken")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(b"x" * 300_000)
    connection.close()
    assert behind.ask("POST", "/store/broken", b"whole").status == 201
    assert server.ask("GET", "/store/broken").body == b"whole"


def test_a_large_body_that_is_refused_gets_the_refusal(behind: Proxy) -> None:
    assert behind.ask("POST", "/store/there", b"x").status == 201
    answer = behind.ask("POST", "/store/there", bytes(300_000))
    assert answer.status == 409
    assert b"there already" in answer.body


def test_the_events_of_the_dashboard_come_at_once(behind: Proxy) -> None:
    connection = behind.connect()
    connection.request("GET", "/events")
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.readline().startswith(b"event: hello")
    while answer.readline().strip():
        pass
    assert behind.ask("POST", "/store/seen", b"x").status == 201
    while b"seen" not in (line := answer.readline()):
        assert line, "the stream ended"
    connection.close()
