"""A journal is lost without a power failure: nothing acknowledged is missing, and the loss is reported."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from unittest import mock

import pytest

from common import durable
from services.engines.local.disk.directory import existing
from services.engines.local.journal import format as journal
from tests.support.processes import Server, wait_for
from tests.support.rules import DataDirectory
from tests.support.stores import Opened, opened


def test_the_server_says_that_its_journal_was_lost(server: Server, data: DataDirectory) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    server.kill()
    for name in journal.NAMES:
        os.unlink(existing(data.root).ours(name))
    server.restart()
    assert ".journal.0 and .journal.1: lost" in server.said()
    assert server.ask("GET", "/store/a").body == b"a"
    server.stop()
    server.restart()
    assert ": lost" not in server.said()  # the server has made new ones


@pytest.mark.parametrize("sync", ["journal", "folder"])
def test_a_directory_that_never_had_one_has_lost_none(
    data: DataDirectory, sync: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with opened(data.root, sync=sync) as made:
            await made.put("a", b"a")
        async with opened(data.root) as made:
            assert await made.read("a") == b"a"

    caplog.set_level(logging.WARNING)
    asyncio.run(main())
    assert "lost" not in caplog.text


def removed(path: str) -> None:
    os.unlink(path)


def moved_away(path: str) -> None:
    os.rename(path, path + ".kept")


def replaced(path: str) -> None:
    shutil.copy(path, path + ".copy")
    os.rename(path + ".copy", path)


@pytest.mark.parametrize("how", [removed, moved_away, replaced])
@pytest.mark.parametrize("names", [journal.NAMES, journal.NAMES[:1], journal.NAMES[1:]])
def test_journal_files_lost_under_a_running_server_are_noticed_and_made_anew(
    data: DataDirectory, names: tuple[str, ...], how: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """When the next write is acknowledged or refused, all earlier ones are durable in their folders."""
    synced: list[str] = []
    really = durable.sync_file_system

    def sync(fd: int) -> None:
        really(fd)
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    async def main() -> None:
        async with opened(data.root) as made:
            await made.put("a", b"in the lost file alone")
            for name in names:
                how(made.data_dir.ours(name))
            with mock.patch.object(durable, "sync_file_system", sync):
                await made.put("b", b"in a new one")
            assert synced[:1] == [str(data.path.resolve())]
            assert set(journal.NAMES) <= set(os.listdir(data.root))
            written = [entry.id for found in journal.scan_all(made.data_dir) for entry in entries(found)]
            assert written.count((await ids(made))["b"]) == 1
            assert not made.store.committer.journal_problem
        async with opened(data.root) as made:
            assert await made.values() == {"a": b"in the lost file alone", "b": b"in a new one"}
            await made.delete("a")
        async with opened(data.root) as made:
            assert set(await made.values()) == {"b"}

    asyncio.run(main())
    assert "the journal was removed or moved away" in caplog.text


def entries(found: journal.Scan) -> list[journal.JournalEntry]:
    return [entry for change in found.changes for entry in change]


async def ids(made: Opened) -> dict[str, int]:
    page = await made.store.list("", "", "", 100)
    return {blob.location: int(blob.id) for blob in page.blobs}


@pytest.mark.parametrize("how", [removed, moved_away])
def test_what_was_acknowledged_does_not_wait_for_the_next_write(
    server: Server, data: DataDirectory, how: Callable[[str], None]
) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    for name in journal.NAMES:
        how(existing(data.root).ours(name))
    wait_for(lambda: "the journal was made anew: nothing is missing" in server.said(), what="the notice")
    server.kill()
    server.restart()
    assert ": lost" not in server.said()
    assert server.ask("GET", "/store/a").body == b"a"
    for kept in data.path.glob(".journal.*.kept"):
        kept.unlink()


def test_where_no_new_journal_can_be_made_commits_sync_their_folders(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    really = durable.sync_open_folder

    def sync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        really(fd)

    async def main() -> None:
        async with opened(data.root) as made:
            await made.put("a", b"a")
            for name in journal.NAMES:
                os.unlink(made.data_dir.ours(name))
                os.mkdir(made.data_dir.ours(name))  # a folder in its place, so the file cannot be made
            monkeypatch.setattr(durable, "sync_open_folder", sync)
            blob = await made.put("b", b"b")
            assert made.data_dir.folder(blob.id) in synced
            assert "cannot be made anew" in made.store.committer.journal_problem
            await made.delete("a")

    asyncio.run(main())
