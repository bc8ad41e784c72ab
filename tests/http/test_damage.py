"""A corrupt byte is never sent as good: the answer is 500, or if it has begun, it is cut short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.http.conftest import CONNECTIONS
from tests.support.processes import Server
from tests.support.raw import connected
from tests.support.rules import DataDirectory

MIB = 1 << 20
BODY = bytes(range(256)) * 4096 * 2  # 2 MiB


@pytest.fixture(params=CONNECTIONS)
def served(request: pytest.FixtureRequest, start_server: StartServer, data: DataDirectory) -> Server:
    data.rotten = True
    return start_server("--http", request.param)


def rot(server: Server, data: DataDirectory, location: str, at: int) -> None:
    """Change one bit of the blob's data on disk."""
    blob_id = server.ask("HEAD", f"/store/{location}").headers["blob-id"]
    path = Path(data.root, blob_id, "data.raw")
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_rotten_blob_is_500_until_it_is_written_or_deleted_anew(
    served: Server, data: DataDirectory
) -> None:
    for location in ("written", "deleted", "created"):
        served.ask("POST", f"/store/{location}", BODY)
        rot(served, data, location, 5)
        for method in ("GET", "GET", "HEAD"):  # the first one finds it
            answer = served.ask(method, f"/store/{location}")
            assert answer.status == 500
            assert "etag" not in answer.headers
            if method == "GET":
                assert "damaged" in json.loads(answer.body)["text"]
        # No tag is known that could match, so a conditional write must fail.
        assert served.ask("PUT", f"/store/{location}", b"", {"If-Match": "*"}).status == 412
    assert served.ask("PUT", "/store/written", b"anew").status == 200
    assert served.ask("DELETE", "/store/deleted").status == 200
    assert served.ask("POST", "/store/created", b"anew").status == 201
    assert served.ask("GET", "/store/deleted").status == 404
    assert {served.ask("GET", f"/store/{name}").body for name in ("written", "created")} == {b"anew"}


def test_an_answer_is_cut_where_the_rot_begins(served: Server, data: DataDirectory) -> None:
    served.ask("POST", "/store/a", BODY)
    rot(served, data, "a", MIB + 5)
    with connected(served.port) as connection:
        connection.request("GET", "/store/a")
        answer = connection.answer()
        assert (answer.status, answer.headers["content-length"]) == (200, str(len(BODY)))
        assert answer.body == BODY[:MIB]  # shorter than declared, so that the client notices
        assert connection.at_end()
    assert served.ask("GET", "/store/a").status == 500
    assert "Traceback" not in served.said()


def test_a_part_without_the_rot_is_served_and_one_with_it_is_not(served: Server, data: DataDirectory) -> None:
    served.ask("POST", "/store/a", BODY)
    rot(served, data, "a", MIB + 5)
    answer = served.ask("GET", "/store/a", None, {"Range": "bytes=0-9"})
    assert (answer.status, answer.body) == (206, BODY[:10])
    answer = served.ask("GET", "/store/a", None, {"Range": f"bytes={MIB}-{MIB + 1}"})  # the same MiB
    assert (answer.status, "content-range" in answer.headers) == (500, False)
    answer = served.ask("GET", "/store/a", None, {"Range": "bytes=0-9"})
    assert answer.status == 500
