"""Blob-Expires over HTTP: set by an upload, sent back, obeyed, and changed by a copy of the blob onto
itself.
"""

from __future__ import annotations

import json
import time

import pytest

from common.times import unix_ns
from services.rules.dates import format_http_date, parse_http_date
from tests.conftest import StartServer
from tests.support.processes import Server


@pytest.mark.parametrize("size_bytes", [5, 200_000])
def test_an_upload_says_when_its_blob_expires(server: Server, size_bytes: int) -> None:
    body, soon = b"x" * size_bytes, format_http_date(int(time.time()) + 3600)
    assert server.ask("POST", "/store/a", body, {"Blob-Expires": soon}).status == 201
    assert server.ask("GET", "/store/a").headers["blob-expires"] == soon
    assert server.ask("POST", "/store/b", body, {"Blob-Expires": "3600"}).status == 201
    at_s = parse_http_date(server.ask("HEAD", "/store/b").headers["blob-expires"], 0)
    assert at_s is not None
    assert time.time() < at_s <= time.time() + 3600
    assert server.ask("POST", "/store/c", body, {"Blob-Expires": "0"}).status == 201
    assert server.ask("GET", "/store/c").status == 404
    assert server.ask("DELETE", "/store/c").status == 404
    assert server.ask("POST", "/store/c", body).status == 201


def test_the_time_is_changed_by_a_copy_onto_itself(server: Server) -> None:
    said = {"Content-Type": "text/x", "X-Meta-A": "1", "Blob-Expires": "3600"}
    server.ask("POST", "/store/a", b"x", said)
    onto = {"Blob-Copy-From": "/store/a"}
    assert server.ask("PUT", "/store/a", None, onto | {"Blob-Expires": "7200"}).status == 200
    now = server.ask("GET", "/store/a")
    at_s = parse_http_date(now.headers["blob-expires"], 0)
    assert at_s is not None
    assert at_s > time.time() + 3700
    assert (now.body, now.headers["content-type"], now.headers["x-meta-a"]) == (b"x", "text/x", "1")
    assert server.ask("PUT", "/store/a", None, onto | {"Blob-Expires": "0"}).status == 200
    assert server.ask("GET", "/store/a").status == 404


def test_by_id_one_sees_when_a_blob_expires_by_its_own_time_or_its_prefix(start_server: StartServer) -> None:
    server = start_server("--expire", "tmp/=1d")
    own = {"Blob-Expires": "3600"}
    expected = {"tmp/a": 86400, "tmp/b": 3600, "c": 3600, "d": None}
    for location, after_s in expected.items():
        answer = server.ask("POST", f"/store/{location}", b"x", own if after_s == 3600 else {})
        assert answer.status == 201
    listed = json.loads(server.ask("GET", "/blobs/").body)["blobs"]
    for one in listed:
        assert json.loads(server.ask("GET", f"/blobs/{one['id']}").body)["expires"] == one["expires"]
        after_s = expected.pop(one["location"])
        assert (one["expires"] is None) == (after_s is None)
        if after_s is not None:
            assert after_s - 60 < unix_ns(one["expires"]) / 1e9 - time.time() <= after_s
    assert not expected
    assert server.ask("DELETE", "/store/tmp/a").status == 200
    assert {
        one["expires"] for one in json.loads(server.ask("GET", "/blobs/?state=Failure").body)["blobs"]
    } <= {None}


@pytest.mark.parametrize("said", ["tomorrow", "-1", "1e9", "99999999999", ""])
def test_a_time_that_is_none_is_refused(server: Server, said: str) -> None:
    assert server.ask("POST", "/store/a", b"x", {"Blob-Expires": said}).status == 400
