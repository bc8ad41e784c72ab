"""The disk fails in the middle of a commit: the server stops, and the restart has the old or the new
value.
"""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from common import durable
from common.errors import NoSpace, SyncFailed
from services.engines.local.disk import directory, layout
from services.engines.local.journal import format as journal
from services.engines.local.recovery import reconcile
from tests.store.test_local_store import Opened, anyhow, put
from tests.support.rules import DataDirectory, live_blobs


def update_that_fails(data: DataDirectory, break_disk: pytest.MonkeyPatch, step: str, number: int) -> None:
    """Create "a", update it while call number `number` of durable's `step` fails, and stop."""

    async def main() -> None:
        made = Opened(data.root)
        await put(made.store, "a", b"old")
        really = getattr(durable, step)
        calls = iter(range(1, 1000))

        def fail(*args: object, **kwargs: object) -> object:
            if next(calls) >= number:
                if step.startswith("sync"):
                    raise SyncFailed("the disk failed")
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return really(*args, **kwargs)

        break_disk.setattr(durable, step, fail)
        with pytest.raises(SyncFailed):
            await put(made.store, "a", b"new")
        assert len(made.fatal) == 1
        await made.store.close()
        break_disk.undo()

    asyncio.run(main())


@pytest.mark.parametrize(("step", "number"), [("rename", 1), ("rename", 2), ("exchange", 1)])
def test_a_commit_that_fails_behind_the_journal_loses_neither_value(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    update_that_fails(data, monkeypatch, step, number)
    reconcile.reconcile(directory.open_directory(data.root, 16, owner=True))
    # durable in the journal, so it is there, though it was not acknowledged
    assert live_blobs(data.root) == {"a": b"new"}


def test_what_the_journal_could_not_sync_is_not_there_after_a_restart(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_that_fails(data, monkeypatch, "sync_file", 1)
    reconcile.reconcile(directory.open_directory(data.root, 16, owner=True))
    assert live_blobs(data.root) == {"a": b"old"}


def test_after_a_failed_sync_the_restart_writes_anew_what_the_journal_covers(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may have dropped pages that it failed to write, and still show them to readers as clean."""
    update_that_fails(data, monkeypatch, "sync_file", 1)
    mark = Path(data.root, layout.SYNC_FAILED_NAME)
    assert mark.exists()
    written: list[str] = []
    really_replace = durable.replace

    def replace(path: str, payload: bytes, *, synced: bool) -> None:
        written.append(os.path.basename(path))
        really_replace(path, payload, synced=synced)

    monkeypatch.setattr(durable, "replace", replace)
    data_dir = directory.open_directory(data.root, 16, owner=True)
    reconcile.reconcile(data_dir)
    assert written[:2] == [layout.DATA_NAME, layout.STATE_NAME]
    assert not mark.exists()
    assert all(found.clean for found in journal.scan_all(data_dir))
    written.clear()
    reconcile.reconcile(data_dir)
    assert written == []


def test_a_delete_after_such_a_restart_stays(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    update_that_fails(data, monkeypatch, "exchange", 1)

    async def main() -> None:
        made = Opened(data.root)
        await made.store.delete("a", anyhow)
        await made.store.close()

    asyncio.run(main())
    assert live_blobs(data.root) == {}


def test_what_a_failed_write_leaves_behind_is_logged_and_no_blob(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def main() -> None:
        made = Opened(data.root)
        with monkeypatch.context() as disk:
            disk.setattr(durable, "rewrite_file", full)
            disk.setattr(durable, "remove_tree", broken)
            with pytest.raises(NoSpace):
                await put(made.store, "a", b"new")
        assert not made.fatal
        await put(made.store, "b", b"another")
        await made.store.close()

    asyncio.run(main())
    told = [line for line in caplog.messages if "what a failed write left stays" in line]
    assert len(told) == 1
    assert "Input/output error" in told[0]
    reconcile.reconcile(directory.open_directory(data.root, 16, owner=True))
    assert live_blobs(data.root) == {"b": b"another"}
