"""Faults that the ladders or reading found, one test each, named for what a user would have lost."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest

from common import durable
from common.errors import BlobkeepError, NoSpace, SyncFailed
from services.engines.local.disk import blob_folder, layout
from services.engines.local.serving import upload as local_upload
from services.engines.local.upkeep.collector import Collector
from services.store import Content
from tests.support.disk_calls import Fault, standing_between
from tests.support.rules import DataDirectory, layout_of
from tests.support.stores import Opened, opened, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


def collect(root: str) -> None:
    """One pass of the gc over everything."""
    gc = Collector(layout_of(root), 5.0, slice_folders=1 << 32)
    gc.run_once()
    gc.close()


def overwrite(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


def leave_journal_in_use(store: Opened) -> None:
    """End the store as if it was killed, with a journal that is not empty."""
    journaling = store.store.committer._journaling
    assert journaling is not None
    journaling.empty = lambda: None  # type: ignore[method-assign]


@pytest.mark.parametrize("sync", ["folder", "none"])
def test_a_delete_without_a_journal_is_not_undone_by_an_older_journal(data: DataDirectory, sync: str) -> None:
    async def run() -> None:
        async with opened(data.root, "journal") as store:
            await store.put("a", b"deleted later")
            leave_journal_in_use(store)
        async with opened(data.root, sync) as store:
            await store.delete("a")
        collect(data.root)
        async with opened(data.root, "journal") as store:
            assert await store.read("a") is None

    asyncio.run(run())


def test_a_delete_in_a_batch_too_large_for_the_journal_is_not_undone_by_it(data: DataDirectory) -> None:
    async def run() -> None:
        async with opened(data.root) as store:
            await store.put("a", b"deleted later")
            await asyncio.gather(store.delete("a"), *(store.put(f"b{i}", bytes(4000)) for i in range(12)))
            leave_journal_in_use(store)
        collect(data.root)
        async with opened(data.root) as store:
            assert await store.read("a") is None

    asyncio.run(run())


def test_bytes_that_the_timer_could_not_write_are_not_left_out(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_upload, "STAGE_AFTER_S", 0.0)

    async def run() -> None:
        async with opened(data.root) as store:
            upload = await store.store.begin("a", lambda blob, damaged: None, Content("text/plain"), None)
            real = durable.write_some_at

            def full_once(fd: int, piece: bytes, at: int) -> int:
                if piece == b"the first piece, ":
                    raise OSError(errno.ENOSPC, "full")
                return real(fd, piece, at)

            monkeypatch.setattr(durable, "write_some_at", full_once)
            await upload.write(b"the first piece, ")
            await until(lambda: upload._staging and upload._staging.done(), "staging")
            await upload.write(b"the second")
            with pytest.raises(NoSpace):
                await upload.commit()
            assert await store.read("a") is None

    asyncio.run(run())


@pytest.mark.parametrize("sync", ["journal", "folder"])
def test_an_update_whose_last_sync_fails_keeps_one_of_its_values(data: DataDirectory, sync: str) -> None:
    async def run() -> None:
        for at in range(1, 100):
            async with opened(data.root, sync) as store:
                await store.put("a", b"old")
                fault = Fault(at, errno.EIO, lasting=False)
                with standing_between(fault, frozenset({"fdatasync", "fsync"})):
                    try:
                        await store.put("a", b"new")
                    except SyncFailed:
                        fault.armed = False
            collect(data.root)
            async with opened(data.root, sync) as store:
                assert await store.read("a") in (b"old", b"new"), at
            if not fault.hit:
                return

    asyncio.run(run())


def test_a_write_that_the_journal_could_not_sync_is_not_visible_after_the_restart(
    data: DataDirectory,
) -> None:
    async def run() -> None:
        async with opened(data.root) as store:
            await store.put("first", b"1")
            with (
                standing_between(Fault(1, errno.EIO, lasting=False), frozenset({"fdatasync"})),
                pytest.raises(SyncFailed),
            ):
                await store.put("a", b"answered with an error")
        async with opened(data.root) as store:
            assert await store.values() == {"first": b"1"}

    asyncio.run(run())


def test_after_a_failed_checkpoint_the_next_start_writes_anew_what_the_kernel_may_have_dropped(
    data: DataDirectory,
) -> None:
    """The page cache shows complete files, but what the failed sync dropped is not on the disk."""

    async def run() -> None:
        async with opened(data.root) as store:
            await store.put("a", b"acknowledged")
            data_dir = store.data_dir
            blob = await store.store.stat("a")
            assert blob is not None
            inode = os.stat(data_dir.data(blob.id)).st_ino
            with (
                standing_between(Fault(1, errno.EIO, lasting=False), frozenset({"fsync"})),
                pytest.raises(SyncFailed),
            ):
                await store.store.committer.call(lambda: None)
        async with opened(data.root) as store:
            assert await store.read("a") == b"acknowledged"
            assert os.stat(data_dir.data(blob.id)).st_ino != inode

    asyncio.run(run())


@pytest.mark.parametrize("sync", ["journal", "folder"])
def test_damage_that_was_deleted_stays_so_on_a_full_disk(data: DataDirectory, sync: str) -> None:
    data.rotten = True

    async def run() -> None:
        async with opened(data.root, sync) as store:
            await store.put("a", b"to be damaged")
            blob = await store.store.stat("a")
            assert blob is not None
            overwrite(store.data_dir.data(blob.id), b"TO BE DAMAGED")
            with pytest.raises(BlobkeepError, match="damaged"):
                await store.read("a")
            await until(lambda: not store.store.damage.tasks, "quarantine")
            with standing_between(Fault(1, errno.ENOSPC, lasting=False), frozenset({"write"})):
                await store.delete("a")  # giving up the reserve makes room
            assert not store.fatal
            await store.put("b", b"goes on")
        async with opened(data.root, sync) as store:
            assert await store.values() == {"b": b"goes on"}
            assert (await store.store.usage()).damaged == 0

    asyncio.run(run())


def test_a_location_whose_folder_was_removed_by_hand_can_be_written_again(data: DataDirectory) -> None:
    async def run() -> None:
        async with opened(data.root) as store:
            await store.put("a", b"removed")
            blob = await store.store.stat("a")
            assert blob is not None
            shutil.rmtree(store.data_dir.folder(blob.id))
            with pytest.raises(BlobkeepError, match="damaged"):
                await store.read("a")
            await store.put("a", b"anew")
            assert await store.read("a") == b"anew"

    asyncio.run(run())


def test_what_recovery_could_not_mark_does_not_come_back_when_its_location_is_deleted(
    data: DataDirectory,
) -> None:
    async def run() -> None:
        async with opened(data.root, "folder") as store:
            older = await store.put("a", b"older")
            backup = blob_folder.read_file(store.data_dir.state(older.id))
            newer = await store.put("a", b"newer")
            overwrite(store.data_dir.state(older.id), backup)  # its Failure was lost
            assert newer.seq > older.seq
        with standing_between(Fault(1, errno.EIO, lasting=True), frozenset({"rename"})):
            found = Opened.__new__(Opened)
            await start(found, data.root)
        assert await found.read("a") == b"newer"
        await found.delete("a")
        await found.store.close()
        async with opened(data.root, "folder") as store:
            assert await store.read("a") is None

    async def start(store: Opened, root: str) -> None:
        store.__init__(root, "folder")  # type: ignore[misc]

    asyncio.run(run())


def test_a_live_blob_that_lost_its_state_while_it_was_being_deleted_is_not_thrown_away(
    data: DataDirectory,
) -> None:
    data.rotten = True

    async def run() -> None:
        async with opened(data.root) as store:
            blob = await store.put("a", b"acknowledged")
            data_dir = store.data_dir
        failure = blob_folder.failed(blob_folder.read_record(data_dir, blob.id), "Deleted!", 1)
        blob_folder.write_failure(data_dir, failure)
        os.rename(data_dir.state(blob.id), data_dir.state(blob.id) + ".tmp")
        async with opened(data.root) as store:
            assert len(store.found.quarantined) == 1
            moved = f"{data_dir.ours('.quarantine')}/{blob.id}-0/data.raw"
            assert blob_folder.read_file(moved) == b"acknowledged"

    asyncio.run(run())


def test_a_checkpoint_that_fails_in_the_background_leaves_word_at_once(data: DataDirectory) -> None:
    """The process may be killed before a commit learns of the failed sync. Its successor must not trust
    another sync.
    """

    async def run() -> None:
        async with opened(data.root) as store:
            await store.put("a", b"acknowledged")
            journaling = store.store.committer._journaling
            assert journaling is not None
            failing = standing_between(Fault(1, errno.EIO, lasting=False), frozenset({"fsync"}))
            with failing, pytest.raises(SyncFailed):
                journaling.empty()
            assert layout.SYNC_FAILED_NAME in os.listdir(data.root)
        async with opened(data.root) as store:
            assert await store.read("a") == b"acknowledged"
            assert layout.SYNC_FAILED_NAME not in os.listdir(data.root)

    asyncio.run(run())
