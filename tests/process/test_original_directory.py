"""A directory that the original server wrote is served as it is, and the original server can read ours."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.processes import Process, wait_for
from tests.support.rules import DataDirectory

ORIGINAL = Path(__file__).resolve().parents[1] / "go-data"


def copy_original(data: DataDirectory) -> None:
    shutil.copytree(ORIGINAL, data.path)
    for path in [data.path, *data.path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_its_blobs_are_served_byte_for_byte(data: DataDirectory, start_server: StartServer) -> None:
    copy_original(data)
    bytes_before = {path.parent.name: path.read_bytes() for path in data.path.glob("*/data.raw")}
    server = start_server()
    ids = {"foo": "13342", "blah": "41055", "empty": "39822", "with%20space": "2818", "%E2%9C%93": "41740"}
    for location, blob_id in ids.items():
        answer = server.ask("GET", f"/store/{location}")
        assert (answer.status, answer.body) == (200, bytes_before[blob_id])
    assert server.ask("GET", "/store/half").status == 404
    assert server.ask("GET", "/store/doomed").status == 404
    assert server.ask("POST", "/store/half", b"whole").status == 201
    history = (data.path / "1090" / "blob_state.base64.json").read_text().splitlines()
    assert "Failure - Found in Pending state during Restore - Deleting!" in history[2]


def test_what_it_left_is_collected(data: DataDirectory, start_server: StartServer) -> None:
    copy_original(data)
    start_server()
    gc = Process("gc", data.path, "--once")
    assert gc.popen.wait(120) == 0
    assert "removed=2" in gc.said()
    assert sorted(path.name for path in data.path.iterdir() if path.name.isdigit()) == sorted(
        ["13342", "41055", "39822", "2818", "41740"]
    )


@pytest.mark.parametrize("write", ["POST", "PUT"])
def test_our_files_parse_by_its_rules(data: DataDirectory, start_server: StartServer, write: str) -> None:
    """Reads as the original server does: the first line with the prefix, split at its only colon; `id`,
    `location` and the ring.
    """
    server = start_server()
    assert server.ask("POST", "/store/a", b"one").status == 201
    if write == "PUT":
        assert server.ask("PUT", "/store/a", b"two").status == 200
    gc = Process("gc", data.path, "--once")
    assert gc.popen.wait(120) == 0
    (state,) = wait_for(lambda: list(data.path.glob("*/blob_state.base64.json")))
    lines = state.read_text().split("\n")
    prefix, encoded = lines[0].split(":")
    assert prefix.startswith("BLOB_BASE64_")
    document = json.loads(base64.b64decode(encoded, validate=True))
    assert (document["id"], document["location"]) == (int(state.parent.name), "a")
    assert document["options"] == {"map": None}
    assert document["UpdateMU"] == {}
    log, index = document["status"]["log"], document["status"]["index"]
    assert index == len(log) <= 16
    assert log[index - 1]["status"] == {"code": 0, "msg": "Blob Data WR Complete!"}
    first = "Blob Created & Saved!" if write == "POST" else "Blob Updated & Saved!"
    assert [entry["status"]["msg"] for entry in log] == [first, "Starting Data WR", "Blob Data WR Complete!"]
    assert lines[1] == ""
    assert lines[2].endswith(" - OK - Blob Data WR Complete!")
    assert lines[3].endswith(" - Pending - Starting Data WR")
    assert lines[4].endswith(f" - OK - {first}")
