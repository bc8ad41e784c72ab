"""If a directory's disk is missing, no new store is made there: with `create = false` nothing starts on
it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from common.config import Config
from common.errors import ConfigError, SyncFailed
from services import start_checks
from tests.conftest import StartServer
from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory
from tests.support.stores import opened


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
    with pytest.raises(ConfigError, match="no Blobkeep directory"):
        start_checks.check(Config(dir=str(tmp_path), create=False))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sync", ["journal", "folder"])
def test_a_directory_that_is_replaced_under_the_server_is_noticed_and_not_written_into(
    start_server: StartServer, data: DataDirectory, sync: str
) -> None:
    server = start_server("--sync", sync, "--hot", "0")
    assert server.ask("POST", "/store/a", bytes(100_000)).status == 201
    aside = data.path.with_name("aside")
    data.path.rename(aside)
    data.path.mkdir()
    wait_for(lambda: server.ask("GET", "/healthz").status == 503, what="the notice")
    assert "unmounted or replaced" in json.loads(server.ask("GET", "/healthz").body)["text"]
    assert server.ask("POST", "/store/b", b"b").status == 503
    assert server.ask("DELETE", "/store/a").status == 503
    assert server.ask("GET", "/store/a").status == 503  # not 500: it is not damaged
    assert "damaged" not in server.said()
    assert not list(data.path.iterdir())
    data.path.rmdir()
    aside.rename(data.path)
    assert server.popen.wait(120) == 1  # a start knows what is there
    server.restart()
    assert server.ask("GET", "/store/a").body == bytes(100_000)
    assert server.ask("GET", "/healthz").status == 200


def test_what_was_acknowledged_before_the_notice_is_in_the_journal(data: DataDirectory) -> None:
    """Before, the folder of a write was made in the empty folder that an unmounted disk leaves."""
    aside = data.path.with_name("aside")

    async def run() -> None:
        async with opened(data.root) as store:
            await store.put("a", b"old")
            data.path.rename(aside)
            data.path.mkdir()
            await store.put("a", b"new")
            await store.put("b", b"b")
        shutil.rmtree(data.path)
        aside.rename(data.path)
        async with opened(data.root) as store:
            assert await store.values() == {"a": b"new", "b": b"b"}

    asyncio.run(run())


def test_without_a_journal_what_went_to_another_directory_is_not_acknowledged(data: DataDirectory) -> None:
    aside = data.path.with_name("aside")

    async def run() -> None:
        async with opened(data.root, "folder") as store:
            data.path.rename(aside)
            data.path.mkdir()
            with pytest.raises(SyncFailed):
                await store.put("a", b"a")
        shutil.rmtree(data.path)
        aside.rename(data.path)
        async with opened(data.root, "folder") as store:
            assert await store.values() == {}

    asyncio.run(run())
