"""Checkpoints: what makes the journal's files clean, and what does not."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os

import pytest

from common import durable
from common.errors import BlobkeepError, StorageFailed, SyncFailed
from services.engines.local.journal import format as journal
from services.engines.local.journal.file import FilePhase, JournalFile
from services.engines.local.journal.format import JournalEntry
from tests.support.rules import DataDirectory
from tests.support.stores import Opened, opened, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


async def empty(store: Opened) -> None:
    """Have the committer empty the journal."""
    await store.store.committer.call(lambda: None)


class _ForgetfulKernel:
    """A write-back failed and its inode was evicted. Only a syncfs on a descriptor opened before reports
    it.
    """

    def __init__(self) -> None:
        listed = os.listdir("/proc/self/fd")  # one of them belonged to the listing itself
        self._from_before = {fd for fd in listed if os.path.lexists(f"/proc/self/fd/{fd}")}

    def syncfs(self, fd: int) -> int:
        if str(fd) not in self._from_before:
            return 0
        ctypes.set_errno(errno.EIO)
        return -1


def test_a_failed_write_back_that_the_kernel_forgot_is_noticed_by_a_checkpoint_of_one_blob(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, fewer than 64 blobs were synced file by file through new descriptors, which do not get the
    error.
    """

    async def run() -> None:
        async with opened(data.root) as store:
            await store.put("a", b"acknowledged")
            with monkeypatch.context() as broken:
                broken.setattr(durable, "_libc", _ForgetfulKernel())
                with pytest.raises(SyncFailed):
                    await empty(store)
            await until(lambda: store.fatal, "the report")
        assert not all(found.clean for found in journal.scan_all(store.data_dir))
        async with opened(data.root) as store:
            assert await store.values() == {"a": b"acknowledged"}

    asyncio.run(run())


def refuse_header_writes(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """No journal file can be marked clean, so each checkpoint fails, though no sync fails."""
    really = durable.write_at

    def write_at(fd: int, data: bytes, offset: int) -> None:
        if offset == 0 and len(data) == len(journal.header_of(1, True, 0)) and data[16] == 1:
            raise OSError(error, os.strerror(error))
        really(fd, data, offset)

    monkeypatch.setattr(durable, "write_at", write_at)


async def fill_until_refused(store: Opened) -> tuple[dict[str, bytes | None], set[int]]:
    """Write until a commit is refused. Gives what was acknowledged, and its ids."""
    kept: dict[str, bytes | None] = {}
    ids: set[int] = set()
    for number in range(100):
        body = bytes([number]) * 3000
        try:
            ids.add((await store.put(str(number), body)).id)
        except BlobkeepError:
            return kept, ids
        kept[str(number)] = body
    raise AssertionError("no write was ever refused")


def covered(store: Opened) -> set[int]:
    """The blobs that a replay would write anew."""
    scans = [found for found in journal.scan_all(store.data_dir) if not found.clean]
    return {entry.id for entry in journal.entries_of(scans)}


def test_a_checkpoint_that_fails_again_and_again_loses_nothing_from_the_journal(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, a checkpoint was forgotten after its second failure, and the next batch overwrote
    acknowledged changes.
    """

    async def run() -> None:
        async with opened(data.root) as store:
            with monkeypatch.context() as full:
                refuse_header_writes(full, errno.ENOSPC)
                kept, ids = await fill_until_refused(store)
                for _ in range(3):
                    with pytest.raises(BlobkeepError):
                        await store.put("refused", bytes(3000))
                    assert ids <= covered(store)
                with pytest.raises(OSError, match="No space"):
                    await empty(store)
                assert ids <= covered(store)
            assert not store.fatal
            await store.put("again", b"all is well")
            await empty(store)
            assert not covered(store)
            assert await store.values() == kept | {"again": b"all is well"}

    asyncio.run(run())


def test_a_commit_past_the_journal_that_cannot_empty_it_is_refused(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, this stopped the server."""

    async def run() -> None:
        async with opened(data.root) as store:
            await store.put("a", b"old")
            with monkeypatch.context() as full:
                refuse_header_writes(full, errno.EIO)
                results = await asyncio.gather(
                    *(store.put(f"b{i}", bytes(4000)) for i in range(12)), return_exceptions=True
                )
                assert any(isinstance(result, StorageFailed) for result in results)
            assert not store.fatal
            await store.put("a", b"new")
            assert await store.read("a") == b"new"

    asyncio.run(run())


@pytest.mark.parametrize("before", FilePhase)
@pytest.mark.parametrize("after", FilePhase)
def test_only_the_steps_of_the_table_are_legal(
    data: DataDirectory, before: FilePhase, after: FilePhase
) -> None:
    legal = {
        (FilePhase.CLEAN, FilePhase.ACTIVE),
        (FilePhase.ACTIVE, FilePhase.FULL),
        (FilePhase.FULL, FilePhase.CHECKPOINTING),
        (FilePhase.CHECKPOINTING, FilePhase.CLEAN),
        (FilePhase.CHECKPOINTING, FilePhase.FULL),
    }
    os.mkdir(data.root)
    file = JournalFile(f"{data.root}/{journal.NAMES[0]}", 32 << 10)
    file._phase = before
    try:
        if (before, after) in legal:
            file._go(after)
            assert file.phase is after
        else:
            with pytest.raises(RuntimeError, match="no legal step"):
                file._go(after)
            assert file.phase is before
    finally:
        file.close()


def test_a_file_that_covers_anything_is_never_begun_anew(data: DataDirectory) -> None:
    os.mkdir(data.root)
    path = f"{data.root}/{journal.NAMES[0]}"
    batch = journal.encode([[JournalEntry(7, 1, True, b"state", b"body")]])
    file = JournalFile(path, 32 << 10)
    file.begin(1)
    file.append(batch)
    with pytest.raises(RuntimeError):
        file.begin(2)

    def fail() -> None:
        raise OSError(errno.EMFILE, "no descriptors left")

    file.seal()
    for _ in range(2):
        with pytest.raises(OSError, match="no descriptors"):
            file.checkpoint(fail)
        assert file.phase is FilePhase.FULL
        with pytest.raises(RuntimeError):
            file.begin(2)
        with pytest.raises(RuntimeError):
            file.append(batch)
    file.close()
    left = JournalFile(path, 32 << 10)  # as left by a process that died
    assert left.phase is FilePhase.FULL
    with pytest.raises(RuntimeError):
        left.begin(2)
    left.checkpoint(lambda: None)
    left.begin(2)
    left.close()
