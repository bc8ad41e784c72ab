"""One of the journal's two files, open for appending: its format is that of `journal`."""

from __future__ import annotations

import contextlib
import os

from common import durable, journal
from common.journal import DATA_START, WINDOW_BYTES
from common.layout import Layout

_MAX_BYTES = 32 << 20  # of each file: some 16,000 small creates
_MIN_BYTES = 1 << 20
_DISK_SHARE = 64  # at most this part of the file system for each file


class JournalFile:
    """See the module docstring. Not thread-safe: the committer's."""

    def __init__(self, path: str, size_bytes: int) -> None:
        self.path = path
        journal.boot_id()  # read, and kept, while there are descriptors: a write must not fail for it
        self._make(size_bytes)
        self._fd = durable.open_in_place(path)
        self._size = os.fstat(self._fd).st_size
        found = journal.scan(path)
        self.epoch = found.epoch
        self.begun = not found.clean  # its header says that records follow
        self._batch = found.last_batch
        self._end = found.end
        self._salt = found.salt
        if not found.clean:
            # What stands behind the last whole record must not be taken for records that follow new ones.
            for at in range(self._end, self._size, WINDOW_BYTES):
                durable.write_at(self._fd, bytes(min(WINDOW_BYTES, self._size - at)), at)
            # Its last batch may never have been synced; it was replayed, so it is about to be shown.
            durable.sync_file(self._fd)

    def _make(self, size_bytes: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            # One that was cut is made anew, unless it is in use: then what is left of it still counts.
            if os.stat(self.path).st_size >= min(size_bytes, _MIN_BYTES) or not journal.scan(self.path).clean:
                return
        temp = self.path + ".tmp"
        durable.write_file(temp, bytes(size_bytes), synced=True)
        durable.rename(temp, self.path)
        durable.sync_folder(os.path.dirname(self.path))

    @property
    def capacity(self) -> int:
        """How many bytes of records it takes when empty."""
        return self._size - DATA_START

    def room(self) -> int:
        """How many bytes of records it takes yet."""
        return self._size - self._end

    def begin(self, epoch: int) -> None:
        """Start over, empty, as the newer of the two. Durable with the first batch."""
        self.epoch, self._batch, self._end = epoch, 0, DATA_START
        self._salt = int.from_bytes(os.urandom(4), "little")
        self.begun = True
        self._write_header(clean=False)

    def append(self, payloads: list[bytes]) -> None:
        """Make one batch durable. Raises SyncFailed, and OSError if it could not be written."""
        self._batch += 1
        batch = b"".join(
            journal.framed(payload, self.epoch, self._batch, index, self._salt)
            for index, payload in enumerate(payloads)
        )
        try:
            durable.write_at(self._fd, batch, self._end)
            durable.sync_file(self._fd)
        except BaseException:
            # It will be answered with an error: the next start must not find it whole in the page cache.
            with contextlib.suppress(OSError):
                durable.write_at(self._fd, bytes(len(batch)), self._end)
            raise
        self._end += len(batch)

    def mark_clean(self) -> None:
        """Say, durably, that all it covered is synced in place."""
        self._write_header(clean=True)
        durable.sync_file(self._fd)
        self.begun = False

    def _write_header(self, *, clean: bool) -> None:
        durable.write_at(self._fd, journal.header_of(self.epoch, clean, self._salt), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def size_for(where: Layout) -> int:
    """How large each file is to be: small on a small disk."""
    disk = os.statvfs(where.root)
    total = disk.f_blocks * disk.f_frsize
    return max(_MIN_BYTES, min(_MAX_BYTES, total // _DISK_SHARE >> 20 << 20))
