"""One of the journal's two files, open for appending. `format` has its format.

The phase of a file says what is still to do for it. `STEPS` has every legal step, and one setter checks them:
a file that is not clean is never started over, and only a successful checkpoint makes it clean.
"""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Callable

from common import durable
from services.engines.local.disk.layout import Layout
from services.engines.local.journal import format as journal
from services.engines.local.journal.format import DATA_START, Batch
from services.engines.local.journal.record_writer import RecordWriter

_MAX_BYTES = 32 << 20  # of each file: some 16,000 small creates
_MIN_BYTES = 1 << 20
_DISK_SHARE = 64  # at most this part of the file system for each file


class FilePhase(enum.Enum):
    """What is still to do for a journal file."""

    CLEAN = "clean"  # nothing: its header says, durably, that it covers nothing
    ACTIVE = "active"  # batches are appended to it
    FULL = "full"  # no more are; what it covers must be made durable in place
    CHECKPOINTING = "checkpointing"  # that is being done


STEPS = {
    FilePhase.CLEAN: frozenset({FilePhase.ACTIVE}),
    FilePhase.ACTIVE: frozenset({FilePhase.FULL}),
    FilePhase.FULL: frozenset({FilePhase.CHECKPOINTING}),
    FilePhase.CHECKPOINTING: frozenset(
        {FilePhase.CLEAN, FilePhase.FULL}
    ),  # FULL again: it failed, and is still to do
}


# As names of this module: to ask an enum for a member costs 90 ns in Python 3.11.
CLEAN, ACTIVE = FilePhase.CLEAN, FilePhase.ACTIVE


class JournalFile:
    """See the module docstring. Not thread-safe: its owner lets one thread at a time use it."""

    def __init__(self, path: str, size_bytes: int) -> None:
        """Open the file at `path`; make it if it is missing. Raises OSError, SyncFailed.

        A file that an earlier process left in use is FULL: nothing is appended behind its records.
        """
        self.path = path
        journal.boot_id()  # read, and kept, while there are descriptors: a write must not fail for it
        self._make(size_bytes)
        self._fd = durable.open_in_place(path)
        opened = os.fstat(self._fd)
        self._size = opened.st_size
        self.capacity = self._size - DATA_START  # how many bytes of records it takes when empty
        self._identity = opened.st_dev, opened.st_ino
        self._name = os.path.basename(path)
        found = journal.scan(path)
        self.epoch = found.epoch
        self._phase = FilePhase.CLEAN if found.clean else FilePhase.FULL
        self._batch = found.last_batch
        self._end = found.end
        self._salt = found.salt
        self._writer = RecordWriter(path, self._fd)

    @property
    def phase(self) -> FilePhase:
        """What is still to do for it."""
        return self._phase

    def _go(self, to: FilePhase) -> None:
        if to not in STEPS[self._phase]:
            raise RuntimeError(f"{self.path}: {self._phase.value} -> {to.value} is no legal step")
        self._phase = to

    def _make(self, size_bytes: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            # A file that was cut is made again, unless it is in use: then what is left of it still counts.
            if os.stat(self.path).st_size >= min(size_bytes, _MIN_BYTES) or not journal.scan(self.path).clean:
                return
        temp = self.path + ".tmp"
        durable.write_file(temp, bytes(size_bytes), synced=True)
        durable.rename(temp, self.path)
        durable.sync_folder(os.path.dirname(self.path))

    def is_lost(self, folder_fd: int) -> bool:
        """True if its name no longer leads to it, so that no start would find its content.

        It was removed, moved away, or replaced. 2 µs.
        """
        try:
            found = os.stat(self._name, dir_fd=folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != self._identity

    def room(self) -> int:
        """How many more bytes of records it takes."""
        return self._size - self._end

    def begin(self, epoch: int) -> None:
        """Start over, empty, as the newer of the two: CLEAN -> ACTIVE. Durable with the first batch."""
        self._go(FilePhase.ACTIVE)
        self.epoch, self._batch, self._end = epoch, 0, DATA_START
        self._salt = int.from_bytes(os.urandom(4), "little")
        self._write_header(clean=False)

    def append(self, batch: Batch) -> None:
        """Make one batch durable. Raises SyncFailed, and OSError if it could not be written."""
        if self._phase is not ACTIVE:
            raise RuntimeError(f"{self.path} is {self._phase.value}: nothing may be appended to it")
        self._batch += 1
        records = [
            part
            for index, payload in enumerate(batch.payloads)
            for part in journal.framed(payload, self.epoch, self._batch, index, self._salt)
        ]
        self._writer.append(records, batch.room_bytes, self._end)
        self._end += batch.room_bytes

    def seal(self) -> None:
        """Append no more: ACTIVE -> FULL. What it covers must now be made durable in the folders."""
        self._go(FilePhase.FULL)

    def checkpoint(self, make_durable: Callable[[], None]) -> None:
        """Call `make_durable`, which makes all that it covers durable in the folders; then mark it clean.

        Raises what `make_durable` raises, SyncFailed and OSError: then it is FULL, so still to do. Else it is
        CLEAN, also on disk.
        """
        self._go(FilePhase.CHECKPOINTING)
        try:
            make_durable()
            self._write_header(clean=True)
            durable.sync_file(self._fd)
        except BaseException:
            self._go(FilePhase.FULL)
            raise
        self._go(FilePhase.CLEAN)

    def _write_header(self, *, clean: bool) -> None:
        durable.write_at(self._fd, journal.header_of(self.epoch, clean, self._salt), 0)

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
        os.close(self._fd)


def size_for(data_dir: Layout) -> int:
    """The size of each file: smaller on a small disk."""
    disk = os.statvfs(data_dir.root)
    total = disk.f_blocks * disk.f_frsize
    return max(_MIN_BYTES, min(_MAX_BYTES, total // _DISK_SHARE >> 20 << 20))
