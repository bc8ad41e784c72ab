"""Checkpoints: what makes the journal's files clean, and what does not."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os

import pytest

from common import durable, journal
from common.errors import SyncFailed
from tests.support.rules import DataDirectory
from tests.support.stores import Opened, opened, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


async def empty(store: Opened) -> None:
    """Have the committer empty the journal."""
    await store.store._committer.call(lambda: None)


class _ForgetfulKernel:
    """A write-back has failed and its inode was evicted: only a syncfs on a descriptor from before tells."""

    def __init__(self) -> None:
        listed = os.listdir("/proc/self/fd")  # one of them was that of the listing itself
        self._from_before = {fd for fd in listed if os.path.lexists(f"/proc/self/fd/{fd}")}

    def syncfs(self, fd: int) -> int:
        if str(fd) not in self._from_before:
            return 0
        ctypes.set_errno(errno.EIO)
        return -1


def test_a_failed_write_back_that_the_kernel_forgot_is_noticed_by_a_checkpoint_of_one_blob(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer than 64 blobs were synced file by file, through new descriptors, which hear nothing of it."""

    async def run() -> None:
        async with opened(data.root) as store:
            await store.put("a", b"acknowledged")
            with monkeypatch.context() as broken:
                broken.setattr(durable, "_libc", _ForgetfulKernel())
                with pytest.raises(SyncFailed):
                    await empty(store)
            await until(lambda: store.fatal, "the report")
        assert not all(found.clean for found in journal.scan_all(store.where))
        async with opened(data.root) as store:
            assert await store.values() == {"a": b"acknowledged"}

    asyncio.run(run())
