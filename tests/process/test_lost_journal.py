"""A journal that is lost: nothing acknowledged is missing, as no power failed; and somebody says so."""

from __future__ import annotations

import asyncio
import logging
import os
from unittest import mock

import pytest

from common import durable
from services.engines.local.disk.directory import existing
from services.engines.local.journal import format as journal
from tests.support.processes import Server
from tests.support.rules import DataDirectory
from tests.support.stores import opened


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
    assert ": lost" not in server.said()  # there are new ones


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


@pytest.mark.parametrize("names", [journal.NAMES, journal.NAMES[:1], journal.NAMES[1:]])
def test_journal_files_removed_under_a_running_server_are_noticed_and_made_anew(
    data: DataDirectory, names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """What was acknowledged before is durable in place when the next write is acknowledged, or refused."""
    synced: list[str] = []
    really = durable.sync_file_system

    def sync(fd: int) -> None:
        really(fd)
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    async def main() -> None:
        async with opened(data.root) as made:
            await made.put("a", b"in the removed file alone")
            for name in names:
                os.unlink(made.data_dir.ours(name))
            with mock.patch.object(durable, "sync_file_system", sync):
                await made.put("b", b"in a new one")
            assert synced[:1] == [str(data.path.resolve())]
            assert set(journal.NAMES) <= set(os.listdir(data.root))
            (in_use,) = [found for found in journal.scan_all(made.data_dir) if not found.clean]
            assert len(in_use.changes) == 1  # "b"
            assert not made.store.journal_problem
        async with opened(data.root) as made:
            assert set(await made.values()) == {"a", "b"}

    asyncio.run(main())
    assert "the journal was removed" in caplog.text


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
                os.mkdir(made.data_dir.ours(name))  # whatever stands there is in the way
            monkeypatch.setattr(durable, "sync_open_folder", sync)
            blob = await made.put("b", b"b")
            assert made.data_dir.folder(blob.id) in synced
            assert "cannot be made anew" in made.store.journal_problem
            await made.delete("a")

    asyncio.run(main())
