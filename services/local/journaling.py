"""The server's use of the journal: appending batches, taking turns between its two files, checkpoints.

A checkpoint makes what a full file covers durable in place, in a thread of its own, while the other file is
appended to; only when that one is full as well does a commit wait for it. It is always one sync of the whole
file system, on a descriptor that is open since before the first write: since Linux 5.8 that reports every
write-back that failed meanwhile, also of a file that the kernel has forgotten. A sync of the file itself,
through a new descriptor, would find nothing to do and succeed. The same thread syncs early
where a checkpoint would have too much to write at once (see `backlog`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from common import blobdir, directory, durable, journal
from common.errors import NO_SPACE_ERRNOS, SyncFailed
from common.journal_file import JournalFile, size_for
from common.layout import Layout
from services.local.backlog import Backlog
from services.local.changes import Change

log = logging.getLogger(__name__)


def open_journal(where: Layout, sync: str) -> Journaling | None:
    """The journal, where it is wanted and the disk has room for its files. Raises SyncFailed, OSError.

    What an earlier server left in it was replayed, and it is clean: what we do without it stays done.
    """
    if sync != "journal":
        return None
    lost = [name for name in journal.NAMES if not os.path.lexists(where.ours(name))]
    if lost and directory.expects_journal(where):
        log.warning(
            "%s: lost. Nothing is missing unless the power or the system failed, too: then each blob is as "
            "its own folder was at the last checkpoint, and what was acknowledged since may be gone",
            " and ".join(lost),
        )
    try:
        kept = Journaling(where)
    except OSError as err:
        if err.errno not in NO_SPACE_ERRNOS:
            raise
        log.warning('no room for a journal: going on with sync = "folder" until the next start')
        return None
    with contextlib.suppress(OSError):  # no room even for that: the loss of a journal would go unnoticed
        directory.expect_journal(where)
    return kept


class Journaling:
    """Used by the committer's thread alone."""

    def __init__(self, where: Layout) -> None:
        size_bytes = size_for(where)
        self._where = where
        self._root_fd = durable.open_folder(where.root)
        files = [JournalFile(where.ours(name), size_bytes) for name in journal.NAMES]
        self._idle, self._active = sorted(files, key=lambda file: file.epoch)
        self._checkpointer = ThreadPoolExecutor(1, "checkpoint")
        self._checkpoint: Future[None] | None = None
        self._backlog = Backlog()
        self._early: Future[None] | None = None
        self._syncing = threading.Lock()
        self._failed: SyncFailed | None = None
        self._epoch = self._active.epoch
        self._payloads: list[bytes] = []

    def takes(self, changes: list[Change]) -> bool:
        """Encode the records of `changes`; False if they cannot fit in an empty file: too long a state."""
        entries = [change.entries() for change in changes]
        self._payloads = [journal.encode(of_one) for of_one in entries]
        return self._room_needed() <= self._active.capacity

    def _room_needed(self) -> int:
        return sum(map(journal.record_bytes, self._payloads))

    def make_room(self) -> None:
        """Before `append`. Raises SyncFailed; OSError where a checkpoint was refused otherwise."""
        if self._failed is not None:
            raise self._failed
        if not self._active.begun:
            self._begin()
        elif self._room_needed() > self._active.room():
            self._turn()

    def append(self, changes: list[Change]) -> None:
        """Make the changes that `takes` was asked about durable. Raises SyncFailed."""
        if not changes:
            return
        room_before = self._active.room()
        try:
            self._active.append(self._payloads)
        except OSError as err:
            raise SyncFailed("The disk failed to keep the journal: the server stops.") from err
        if self._backlog.grew(room_before - self._active.room()) and _is_over(self._early):
            self._early = self._checkpointer.submit(self._sync_early)

    def _turn(self) -> None:
        """Go on in the other file, once its own checkpoint is done; checkpoint this one."""
        self._finish_checkpoint()
        self._active, self._idle = self._idle, self._active
        self._begin()
        self._start_checkpoint(self._idle)

    def _begin(self) -> None:
        self._epoch += 1
        try:
            self._active.begin(self._epoch)
        except OSError as err:
            raise SyncFailed("The disk failed to keep the journal: the server stops.") from err

    def _start_checkpoint(self, file: JournalFile) -> None:
        self._checkpoint = self._checkpointer.submit(self._make_durable, file)

    def _finish_checkpoint(self) -> None:
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is None:
            return
        try:
            checkpoint.result()
        except SyncFailed:
            raise
        except OSError:
            self._make_durable(self._idle)  # it could not open a file, say: no sync has failed

    def _make_durable(self, file: JournalFile) -> None:
        with self._one_sync():
            durable.sync_file_system(self._root_fd)  # it has seen every failed write-back since the start
            file.mark_clean()

    def _sync_early(self) -> None:
        """Leave the next checkpoint less to do. It says nothing of the journal, which covers what it did."""
        if self._backlog.is_due():
            began_s = time.monotonic()
            with self._one_sync():
                durable.sync_file_system(self._root_fd)
            self._backlog.synced(time.monotonic() - began_s)

    @contextlib.contextmanager
    def _one_sync(self) -> Iterator[None]:
        """One at a time, and none after one that failed: what the kernel dropped, no later one would miss."""
        with self._syncing:
            if self._failed is not None:
                raise self._failed
            try:
                yield
            except SyncFailed as err:
                self._failed = err
                blobdir.note_failed_sync(self._where)
                raise

    def empty(self) -> None:
        """Make everything durable in place now, so that the journal covers nothing. Raises SyncFailed."""
        self._finish_checkpoint()
        for file in (self._idle, self._active):  # the older first: a replay must never meet it alone
            if file.begun:
                self._make_durable(file)

    def close(self, *, clean: bool) -> None:
        """End; with `clean`, the journal is empty. Else the next start finds what is left in it."""
        try:
            if clean:
                self.empty()
        except (SyncFailed, OSError) as err:
            blobdir.note_failed_sync(self._where)
            log.critical("the last checkpoint failed, the next start replays the journal: %s", err)
        finally:
            self._checkpointer.shutdown()
            self._idle.close()
            self._active.close()
            os.close(self._root_fd)


def _is_over(running: Future[None] | None) -> bool:
    return running is None or running.done()
