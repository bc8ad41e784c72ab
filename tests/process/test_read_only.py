"""A directory that is read-only at the start is served for reading, such as a failing disk or a backup."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.test_original_directory import copy_original
from tests.support.disks import Switch, read_only_folder
from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory

LARGE = os.urandom(300_000)
TEXT = "The data directory is read-only"


@pytest.fixture(params=["mount", "mode"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ended() -> Iterator[list[Process]]:
    """Processes that end with the test, before its folder becomes writable again."""
    started: list[Process] = []
    yield started
    for process in started:
        process.end()


def content(root: Path) -> dict[str, bytes | None]:
    """Every name below `root`, with its bytes. Sockets and folders have none."""
    found = sorted(root.rglob("*"))
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in found}


def filled(data: DataDirectory, *, killed: bool = False) -> None:
    """Some blobs, one of them in Failure. If the server is `killed`, the journal is not clean."""
    server = Server(data.path)
    assert server.ask("POST", "/store/small", b"s").status == 201
    assert server.ask("POST", "/store/large", LARGE).status == 201
    assert server.ask("POST", "/store/deleted", b"d").status == 201
    assert server.ask("DELETE", "/store/deleted").status == 200
    if killed:
        server.kill()
    else:
        assert server.stop() == 0


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_it_is_read_not_written_and_its_workers_wait(
    data: DataDirectory, kind: str, killed: bool, ended: list[Process]
) -> None:
    filled(data, killed=killed)
    with read_only_folder(data.path, kind) as switch:
        before = content(data.path)
        server = Server(data.path, through=switch.through)
        ended.append(server)
        assert f"{data.path}: {TEXT}" in server.said()
        assert server.ask("GET", "/store/small").body == b"s"
        assert server.ask("GET", "/store/large", None, {"Range": "bytes=5-9"}).body == LARGE[5:10]
        assert server.ask("HEAD", "/store/large").status == 200
        assert [one["location"] for one in listed(server)] == ["large", "small"]
        assert server.ask("GET", "/store/deleted").status == 404
        for method, location in (("POST", "new"), ("PUT", "small"), ("DELETE", "large")):
            answer = server.ask(method, f"/store/{location}", b"w" if method != "DELETE" else None)
            assert answer.status == 503
            assert TEXT in json.loads(answer.body)["text"]
        health = server.ask("GET", "/healthz")
        assert (health.status, TEXT in json.loads(health.body)["text"]) == (503, True)
        assert server.ask("GET", "/metrics").status == 200
        for program in ("gc", "recovery"):
            worker = Process(program, data.path, f"--{program}-interval-s", "0.05", through=switch.through)
            ended.append(worker)
            wait_for(lambda: "the data directory is read-only" in worker.said(), what="its word")  # noqa: B023
            assert worker.stop() == 0
            assert "ERROR" not in worker.said()
        if kind == "mount":
            assert content(data.path) == before
        switch.turn(read_only=False)
        assert server.popen.wait(60) == 1  # a start knows what is there
        server.restart()
        assert server.ask("GET", "/healthz").status == 200
        assert server.ask("PUT", "/store/small", b"t").status == 200
        assert server.stop() == 0


def listed(server: Server) -> list[dict[str, object]]:
    answer = server.ask("GET", "/store/", None, {"Accept": "application/json"})
    assert answer.status == 200
    return list(json.loads(answer.body)["blobs"])


def test_what_only_the_journal_knows_is_not_told_wrongly(data: DataDirectory, ended: list[Process]) -> None:
    """After a system crash folders may be older than what was acknowledged. In this test they are as at
    the start.
    """
    first = Server(data.path)
    assert first.ask("POST", "/store/old", b"as it was").status == 201
    assert first.ask("POST", "/store/kept", b"kept").status == 201
    assert first.stop() == 0
    id_of_old = listed_ids(data)["old"]
    old_state = Path(data.root, id_of_old, "blob_state.base64.json").read_bytes()
    second = Server(data.path)
    assert second.ask("PUT", "/store/old", b"as it is").status == 200
    new_id = second.ask("HEAD", "/store/old").headers["blob-id"]
    assert second.ask("POST", "/store/new", b"new").status == 201
    lost_id = second.ask("HEAD", "/store/new").headers["blob-id"]
    second.kill()
    Path(data.root, id_of_old, "blob_state.base64.json").write_bytes(old_state)
    for blob_id in (new_id, lost_id):
        for name in ("data.raw", "blob_state.base64.json"):
            Path(data.root, blob_id, name).unlink()
    with read_only_folder(data.path, "mount") as switch:
        server = Server(data.path)
        ended.append(server)
        assert server.ask("GET", "/store/kept").body == b"kept"
        for location in ("old", "new"):
            answer = server.ask("GET", f"/store/{location}")
            assert (answer.status, b"only in the journal" in answer.body) == (503, True)
        assert server.ask("GET", "/store/never").status == 404
        assert b"blobkeep_unread_blobs 2.0" in server.ask("GET", "/metrics").body
        switch.turn(read_only=False)
        server.popen.wait(60)
        server.restart()
        assert server.ask("GET", "/store/old").body == b"as it is"
        assert server.ask("GET", "/store/new").body == b"new"
        assert server.stop() == 0


def listed_ids(data: DataDirectory) -> dict[str, str]:
    server = Server(data.path)
    found = {str(one["location"]): str(one["id"]) for one in listed(server)}
    assert server.stop() == 0
    return found


def test_damage_is_told_and_left_where_it_is(data: DataDirectory, ended: list[Process]) -> None:
    filled(data)
    data.rotten = True
    large = Path(data.root, listed_ids(data)["large"], "data.raw")
    large.write_bytes(LARGE[:-1] + bytes([LARGE[-1] ^ 1]))
    with read_only_folder(data.path, "mount"):
        server = Server(data.path)
        ended.append(server)
        assert server.ask("GET", "/store/large").status == 500
        assert server.ask("GET", "/store/large").status == 500
        assert server.ask("GET", "/store/small").body == b"s"
        assert large.exists()
        assert server.stop() == 0


def test_a_directory_of_the_original_server_is_served_too(data: DataDirectory, ended: list[Process]) -> None:
    copy_original(data)
    with read_only_folder(data.path, "mount"):
        before = content(data.path)
        server = Server(data.path)
        ended.append(server)
        for location, blob_id in (("foo", "13342"), ("blah", "41055"), ("empty", "39822")):
            answer = server.ask("GET", f"/store/{location}")
            assert (answer.status, answer.body) == (200, before[f"{blob_id}/data.raw"])
        assert server.ask("GET", "/store/half").status == 404
        assert content(data.path) == before
        assert server.stop() == 0


def test_a_disk_that_turns_read_only_under_the_server_is_noticed(
    data: DataDirectory, ended: list[Process]
) -> None:
    filled(data)
    with read_only_folder(data.path, "mode") as switch:
        switch.turn(read_only=False)
        server = Server(data.path, through=switch.through)
        ended.append(server)
        switch.turn(read_only=True)
        wait_for(lambda: server.ask("PUT", "/store/small", b"t").status == 503, what="the notice")
        assert TEXT in json.loads(server.ask("DELETE", "/store/large").body)["text"]
        assert server.ask("GET", "/store/large").body == LARGE
        switch.turn(read_only=False)
        assert server.popen.wait(60) == 1
        server.restart()
        assert server.ask("PUT", "/store/small", b"u").status == 200


def test_a_folder_that_holds_no_store_and_is_read_only_is_not_taken_for_one(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    with read_only_folder(root, "mount") as switch:
        assert isinstance(switch, Switch)
        process = Process("server", root, "-s", "127.0.0.1:0")
        assert process.popen.wait(60) == 1
        assert "no Blobkeep directory" in process.said()
