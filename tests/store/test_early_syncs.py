"""Early syncs do not make the journal clean, and one that fails stops the server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from common import durable
from common.errors import SyncFailed
from services.engines.local.disk import layout
from services.engines.local.journal import early_sync
from services.engines.local.journal import format as journal
from tests.support.rules import DataDirectory
from tests.support.stores import opened, until


@pytest.fixture(autouse=True)
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch counts as quick, and any amount of dirty bytes as much."""
    monkeypatch.setattr(early_sync, "_PORTION_BYTES", 1)
    monkeypatch.setattr(early_sync, "_QUICKLY_S", 3600.0)
    monkeypatch.setattr(early_sync, "_DIRTY_BYTES", 0)


def test_an_early_sync_leaves_the_journal_as_it_is(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    really = durable.sync_file_system

    def sync(fd: int) -> None:
        really(fd)
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    async def main() -> None:
        async with opened(data.root) as made:
            monkeypatch.setattr(durable, "sync_file_system", sync)
            await made.put("a", b"body")
            await until(lambda: synced, "an early sync")
            scans = journal.scan_all(made.data_dir)
            assert [len(found.changes) for found in scans if not found.clean] == [1]
        async with opened(data.root) as made:
            assert await made.values() == {"a": b"body"}

    asyncio.run(main())
    assert synced[0] == os.path.realpath(data.root)


@pytest.mark.parametrize("a_write_follows", [True, False])
def test_after_an_early_sync_that_failed_no_other_is_tried_and_the_server_stops(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, a_write_follows: bool
) -> None:
    """A sync after a failed one succeeds, but the kernel has dropped some pages (rule 5)."""
    mark = Path(data.root, layout.SYNC_FAILED_NAME)
    later: list[str] = []

    def fail(fd: int) -> None:
        raise SyncFailed("the disk failed")

    async def main() -> None:
        async with opened(data.root) as made:
            with monkeypatch.context() as broken:
                broken.setattr(durable, "sync_file_system", fail)
                await made.put("a", b"acknowledged")
                await until(mark.exists, "word of the failure")
            monkeypatch.setattr(durable, "sync_file_system", lambda fd: later.append("file system"))
            if a_write_follows:
                with pytest.raises(SyncFailed):
                    await made.put("b", b"answered with an error")
                assert len(made.fatal) == 1
        assert later == []
        assert not all(found.clean for found in journal.scan_all(made.data_dir))
        monkeypatch.undo()
        async with opened(data.root) as made:
            assert await made.values() == {"a": b"acknowledged"}

    asyncio.run(main())
    assert not mark.exists()
