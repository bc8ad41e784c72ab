"""Writes records to a journal file past the page cache, a batch at a time.

A batch is synced at once, so to copy it into the page cache, mark it there and write it back is in vain. Past
it only whole blocks can be written. So the block in which the last batch ended is written again, from memory,
with the same bytes before the new ones. The page cache would do the same. Where the file system cannot write
so, the batch goes through the page cache.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Sequence

from common import durable
from services.engines.local.disk.past_cache import set_past_cache

BLOCK_BYTES = 4096  # a multiple of what any disk of today asks for
_KEPT_BYTES = 2 << 20  # of memory, for the batches of sixteen clients with 64 KiB each


class RecordWriter:
    """Of the journal file `fd`, whose path is `path`."""

    def __init__(self, path: str, fd: int) -> None:
        self._fd = fd
        self._past_cache_fd = -1
        if os.fstat(fd).st_size % BLOCK_BYTES == 0:  # else the last block would make it longer
            self._past_cache_fd = open_past_cache(path)
        self._blocks = mmap.mmap(-1, _KEPT_BYTES)  # at its beginning: the block that is to be filled up

    def append(self, records: Sequence[bytes], size_bytes: int, at: int) -> None:
        """Make `records`, which have `size_bytes`, durable at byte `at`, where the last ones ended.

        After an error the file reads as if they had never been written. Raises OSError, SyncFailed.
        """
        begun_bytes = at % BLOCK_BYTES
        end = begun_bytes + size_bytes
        whole_bytes = end if self._past_cache_fd < 0 else end + -end % BLOCK_BYTES
        blocks = self._blocks
        if whole_bytes > len(blocks):
            blocks = mmap.mmap(-1, whole_bytes)
            blocks[:begun_bytes] = self._blocks[:begun_bytes]
        put = begun_bytes
        for part in records:
            blocks[put : put + len(part)] = part
            put += len(part)
        blocks[put:whole_bytes] = bytes(whole_bytes - put)
        view = memoryview(blocks)[:whole_bytes]
        try:
            if self._past_cache_fd < 0 or not self._wrote_past_cache(view, at - begun_bytes):
                durable.write_at(self._fd, view, at - begun_bytes)
            durable.sync_file(self._fd)
        except BaseException:
            # The batch gets an error, so the next start must not find it complete. In the page cache, and in
            # whole blocks: that asks nothing of a disk that is failing.
            blocks[begun_bytes:whole_bytes] = bytes(whole_bytes - begun_bytes)
            with contextlib.suppress(OSError):
                durable.write_at(self._fd, view, at - begun_bytes)
            raise
        last = end - end % BLOCK_BYTES
        self._blocks[: end - last] = blocks[last:end]

    def _wrote_past_cache(self, blocks: memoryview, at: int) -> bool:
        """False where the file system refuses: it only seemed to know how."""
        try:
            durable.write_at(self._past_cache_fd, blocks, at)
        except OSError as err:
            if err.errno != errno.EINVAL:
                raise
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close what it opened."""
        if self._past_cache_fd >= 0:
            os.close(self._past_cache_fd)
            self._past_cache_fd = -1


def open_past_cache(path: str) -> int:
    """A descriptor for writing whole blocks past the page cache; -1 where that is not possible."""
    try:
        fd = durable.open_in_place(path)
    except OSError:
        return -1
    if not set_past_cache(fd, True):
        os.close(fd)
        return -1
    return fd
