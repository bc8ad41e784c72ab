"""The recovery worker reports corruption, reconciles while no server runs, and is the operator's check."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory
from tests.support.tools import tool

GO_DATA = Path(__file__).resolve().parents[1] / "go-data"

FAST = ("--recovery-interval", "0.05", "--scrub-rate", "1000")


def rot(data: DataDirectory, content: bytes) -> Path:
    """Change a byte in the data file that holds `content`; returns its folder."""
    data.rotten = True
    (path,) = [p for p in data.path.glob("*/data.raw") if p.read_bytes() == content]
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    return path.parent


def test_damage_is_reported_to_the_server_who_stops_serving_it(data: DataDirectory, server: Server) -> None:
    assert server.ask("POST", "/store/good", b"good").status == 201
    assert server.ask("POST", "/store/bad", b"bad content").status == 201
    folder = rot(data, b"bad content")
    recovery = Process("recovery", data.path, *FAST)
    try:
        wait_for(lambda: not folder.exists(), what="the quarantine")
    finally:
        recovery.end()
    answer = server.ask("GET", "/store/bad")
    assert answer.status == 500
    assert b"damaged" in answer.body
    assert server.ask("GET", "/store/good").body == b"good"
    (kept,) = (data.path / ".quarantine").iterdir()
    assert (kept / "data.raw").read_bytes() == b"cad content"
    server.kill()
    server.restart()
    assert server.ask("GET", "/store/bad").status == 500  # a restart does not make it a 404
    assert server.ask("PUT", "/store/bad", b"anew").status == 200
    assert server.ask("GET", "/store/bad").body == b"anew"
    server.kill()
    server.restart()
    assert server.ask("DELETE", "/store/bad").status == 200
    assert server.ask("GET", "/store/bad").status == 404


def test_a_damaged_blob_is_never_sent_as_good(data: DataDirectory, server: Server) -> None:
    body = os.urandom(3 << 20)
    assert server.ask("POST", "/store/big", body).status == 201
    assert server.ask("POST", "/store/small", b"small").status == 201
    rot(data, body)
    rot(data, b"small")
    for location in ("big", "small"):
        answer = server.ask("GET", f"/store/{location}")
        assert answer.status == 500, answer
        assert b"damaged" in answer.body
        wait_for(lambda: server.ask("GET", f"/store/{location}").status == 500)  # noqa: B023


def test_it_settles_what_a_dead_server_left_while_none_runs(data: DataDirectory, server: Server) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    server.kill()
    state = next(data.path.glob("*/blob_state.base64.json"))
    (data.path / "5").mkdir(mode=0o700)
    (data.path / "5" / "data.raw.tmp").write_bytes(b"never complete")
    recovery = Process("recovery", data.path, *FAST)
    try:
        wait_for(lambda: not (data.path / "5").exists(), what="settling")
        server.restart()  # the worker gives the lock back at once
        assert server.ask("GET", "/store/a").body == b"a"
        assert recovery.stop() == 0
    finally:
        recovery.end()
    assert state.exists()
    assert "never complete, removed" in recovery.said()


def test_once_prints_a_table_and_its_status_says_whether_all_is_well(
    data: DataDirectory, start_server: StartServer
) -> None:
    server = start_server()
    for number in range(3):
        assert server.ask("POST", f"/store/{number}", b"content %d" % number).status == 201
    check = Process("recovery", data.path, "--once")
    assert check.popen.wait(120) == 0, check.said()
    assert "blobs served" in check.said()
    server.stop()
    folder = rot(data, b"content 1")
    dry = Process("recovery", data.path, "--once", "--dry-run")
    assert dry.popen.wait(120) == 1
    assert f"damaged: blob {folder.name} of '1'" in dry.said()
    assert folder.exists()
    assert not list((data.path / ".quarantine").iterdir())


def test_a_second_server_is_refused_and_the_first_is_named(data: DataDirectory, server: Server) -> None:
    second = Process("server", data.path, "-s", "127.0.0.1:0", "--lock-wait", "0.1")
    assert second.popen.wait(120) == 1
    assert f"is in use by process {server.pid}" in second.said()


@pytest.mark.parametrize("program", ["gc", "recovery"])
def test_one_pass_makes_no_directory(program: str, tmp_path: Path) -> None:
    process = Process(program, tmp_path / "none", "--once")
    assert process.popen.wait(120) == 2
    assert "is no Blobkeep directory" in process.said()
    assert not (tmp_path / "none").exists()


def test_a_dry_run_of_the_check_makes_no_file(data: DataDirectory) -> None:
    """The same for a directory of the original server, which has none of our files."""
    shutil.copytree(GO_DATA, data.path)
    before = sorted(data.path.rglob("*"))
    ran = tool("check", "--dry-run", "--dir", data.path)
    assert (ran.status, "blobs served" in ran.out) == (0, True)
    assert sorted(data.path.rglob("*")) == before
