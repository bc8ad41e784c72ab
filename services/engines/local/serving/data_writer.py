"""Appends the bytes of an upload to its data.raw, and hashes them. In threads, one call at a time.

A large blob is written past the page cache: that saves the processor a copy and the cache its room, and the
sync at the end has nothing left to write. Its first read then waits for the disk.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os

from common import durable
from common.checksum import Bytes, Hasher

# After so many bytes the disk is told to begin, so that the sync at the end has little left to wait for.
_WRITE_BACK_BYTES = 8 << 20
# A blob of so many bytes goes past the page cache. A smaller one is often read soon, and displaces little.
PAST_CACHE_BYTES = 64 << 20


class DataWriter:
    """Writes to `fd` from its beginning. `past_cache`: past the page cache, for as long as that is possible.
    Then each piece but the last has whole pages, and begins at one."""

    def __init__(self, fd: int, hasher: Hasher, *, past_cache: bool) -> None:
        self._fd = fd
        self._hasher = hasher
        self._past_cache = past_cache and _set_past_cache(fd, True)
        self._begun_bytes = 0  # that the disk was told to begin with

    def append(self, pieces: list[Bytes]) -> None:
        """Write and hash `pieces`, and empty the list. A MiB costs 250 µs to write, 600 for its SHA-256, 36
        for its CRC."""
        for piece in pieces:
            at = self._write_past_cache(piece) if self._past_cache else 0
            if at < len(piece):
                durable.write_all(self._fd, memoryview(piece)[at:] if at else piece)
            self._hasher.update(piece)
        pieces.clear()  # before the caller wakes: more come in then
        written = self._hasher.size
        if not self._past_cache and written - self._begun_bytes >= _WRITE_BACK_BYTES:
            durable.begin_write_back(self._fd, self._begun_bytes, written - self._begun_bytes)
            self._begun_bytes = written

    def _write_past_cache(self, piece: Bytes) -> int:
        """How many bytes were written. The rest, which is no whole page or which the file system refuses, is
        for the page cache, as is all that follows."""
        whole, at = len(piece) - len(piece) % mmap.PAGESIZE, 0
        try:
            while at < whole:
                at += durable.write_some(self._fd, memoryview(piece)[at:whole])
        except OSError as err:
            if err.errno != errno.EINVAL:
                raise
        if at < len(piece):
            self._past_cache = False
            _set_past_cache(self._fd, False)
        return at


def _set_past_cache(fd: int, past_cache: bool) -> bool:
    """False where the file system writes through the page cache alone."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_DIRECT
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | (os.O_DIRECT if past_cache else 0))
    except OSError:
        return False
    return True
