"""A directory whose disk is not there is no new store: with `create = false` nothing starts on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services import launch
from tests.support.processes import Process, Server
from tests.support.rules import DataDirectory


def test_a_store_that_is_made_is_told_with_its_place(server: Server, data: DataDirectory) -> None:
    assert f"{data.root} was no Blobkeep directory: a new store was made there" in server.said()
    assert "WARNING" in next(line for line in server.said().splitlines() if "a new store was made" in line)
    server.stop()
    server.restart()
    assert "a new store was made" not in server.said()


@pytest.mark.parametrize("program", ["server", "gc", "recovery"])
@pytest.mark.parametrize("is_there", [False, True], ids=["missing", "empty"])
def test_nothing_starts_without_a_store_and_nothing_is_made(
    tmp_path: Path, program: str, is_there: bool
) -> None:
    root = tmp_path / "data"
    if is_there:
        root.mkdir()
    process = Process(program, root, "--no-create", *(["-s", "127.0.0.1:0"] if program == "server" else []))
    try:
        assert process.popen.wait(60) in (1, 2)
        assert "is no Blobkeep directory" in process.said()
        assert root.exists() == is_there
        assert not is_there or not list(root.iterdir())
    finally:
        process.end()


def test_a_store_that_is_there_starts(server: Server) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    server.stop()
    again = Server(server.root, "--no-create")
    try:
        assert again.ask("GET", "/store/a").body == b"a"
    finally:
        again.end()


def test_make_run_makes_no_store_either(tmp_path: Path) -> None:
    with pytest.raises(launch.InTheWay, match="no Blobkeep directory"):
        launch._check_made(str(tmp_path))
    assert not list(tmp_path.iterdir())
