"""Writes the bytes of an upload, one piece behind the other, and hashes them. In threads, one call at a time.

A large blob is written past the page cache: that saves the processor a copy and the cache its room, and the
sync at the end has nothing left to write. Its first read then waits for the disk.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import Protocol

from common import durable
from common.checksum import Bytes
from common.kernel_writes import Begun
from services.engines.local.disk.past_cache import set_past_cache

# After so many bytes the disk is told to begin, so that the sync at the end has little left to wait for.
WRITE_BACK_BYTES = 8 << 20
# A blob of so many bytes goes past the page cache. A smaller one is often read soon, and displaces little.
PAST_CACHE_BYTES = 64 << 20
_BESIDE_BYTES = 256 << 10  # to hand them to a thread costs 50 µs, and their SHA-256 150
_NOT_POSSIBLE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})  # on this file system


class Sum(Protocol):
    """A checksum that takes bytes in order."""

    def update(self, data: Bytes, /) -> None: ...


class DataWriter:
    """Writes to `fd` from byte `offset` on, and gives the same bytes to `sums`.

    `past_cache_bytes`: so many go past the page cache, for as long as that is possible. Then `offset` is that
    of a page, and each piece but the last has whole pages, and begins at one. 0: none.
    `beside`: its threads may take the last of the sums, while others are computed here.
    `has_room`: the disk keeps room for all of these from now on.
    """

    def __init__(
        self,
        fd: int,
        sums: Iterable[Sum],
        offset: int = 0,
        *,
        past_cache_bytes: int = 0,
        write_back_bytes: int = WRITE_BACK_BYTES,
        beside: Executor | None = None,
    ) -> None:
        self._fd = fd
        self._sums = tuple(sums)
        self._beside = beside
        self._at = offset  # where the next piece goes
        self._past_cache = past_cache_bytes > 0 and set_past_cache(fd, True)
        self.has_room = self._past_cache and _allocate(fd, past_cache_bytes, offset)
        self._write_back_bytes = write_back_bytes
        self._begun_at = offset  # the disk was told to begin with all before that

    def append(self, pieces: list[Bytes], *, last: bool = False) -> None:
        """Write and hash `pieces`, and empty the list. A MiB costs 250 µs to write, 600 for its SHA-256, 36
        for its CRC. `last`: a sync follows, so the disk begins before the hash, and works meanwhile."""
        unhashed = []
        for piece in pieces:
            if self._past_cache:
                self._put_past_cache(piece)
            else:
                self._write(piece, 0)
                unhashed.append(piece)
            self._at += len(piece)
        to_begin = self._at - self._begun_at
        if not self._past_cache and to_begin and (last or to_begin >= self._write_back_bytes):
            durable.begin_write_back(self._fd, self._begun_at, to_begin)
            self._begun_at = self._at
        for piece in unhashed:
            self._hash(piece)
        pieces.clear()  # before the caller wakes: more come in then

    def _hash(self, piece: Bytes) -> None:
        if self._beside is None or len(piece) < _BESIDE_BYTES:
            for one in self._sums:
                one.update(piece)
            return
        *here, last = self._sums
        other = self._beside.submit(last.update, piece)
        try:
            for one in here:
                one.update(piece)
        finally:  # the memory must stay as it is until then
            if other.cancel():  # no thread was free: to wait for one could be for ever
                last.update(piece)
            else:
                other.result()

    def _put_past_cache(self, piece: Bytes) -> None:
        begun = self._begin(piece)
        try:
            self._hash(piece)
        finally:
            written = 0 if begun is None else _waited(begun)
        self._write(piece, self._write_past_cache(piece, written))

    def _begin(self, piece: Bytes) -> Begun | None:
        whole = len(piece) - len(piece) % mmap.PAGESIZE
        return durable.begin_write_at(self._fd, memoryview(piece)[:whole], self._at) if whole else None

    def _write(self, piece: Bytes, done: int) -> None:
        """Write what is left of it after `done` bytes."""
        while done < len(piece):  # once, but for short writes
            rest = memoryview(piece)[done:] if done else piece
            done += durable.write_some_at(self._fd, rest, self._at + done)

    def _write_past_cache(self, piece: Bytes, done: int) -> int:
        """How many bytes are written then. The rest, which is no whole page or which the file system refuses,
        is for the page cache, as is all that follows."""
        whole = len(piece) - len(piece) % mmap.PAGESIZE
        try:
            while done < whole:
                done += durable.write_some_at(self._fd, memoryview(piece)[done:whole], self._at + done)
        except OSError as err:
            if err.errno != errno.EINVAL:
                raise
        if done < len(piece):
            self._past_cache = False
            set_past_cache(self._fd, False)
        return done


def _allocate(fd: int, size_bytes: int, offset: int) -> bool:
    """False where that is not possible. Without it each write would lengthen the file, and file systems do
    such writes one after the other, while who asks for them waits."""
    try:
        durable.allocate(fd, size_bytes, offset)
    except OSError as err:
        if err.errno not in _NOT_POSSIBLE:
            raise
        return False
    return True


def _waited(begun: Begun) -> int:
    """How many bytes it wrote. Until then the memory is the disk's."""
    try:
        return begun.wait()
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
        return 0  # the file system refuses it
