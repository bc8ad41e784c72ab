"""The server's use of the journal: appending batches, taking turns between its two files, checkpoints.

A checkpoint makes what a full file covers durable in place. It runs in a thread of its own, while the other
file is appended to. A commit waits for it only when that one is full as well. A checkpoint is always one sync
of the whole file system, on a descriptor that is open since before the first write. Since Linux 5.8 that
reports every write-back that failed meanwhile, also of a file that the kernel has forgotten. A sync of the
file itself, through a new descriptor, would find nothing to do and succeed. The same thread syncs early where
a checkpoint would have too much to write at once (see `early_sync`).

A checkpoint that fails is still to do: its file stays FULL (`file.Phase`), and is neither appended to
nor begun anew before one has succeeded.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from common import durable
from common.errors import NO_SPACE_ERRNOS, SyncFailed
from services.engines.local.disk import blob_folder, directory
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.place import leads_to
from services.engines.local.journal import format as journal
from services.engines.local.journal.early_sync import EarlySync
from services.engines.local.journal.file import ACTIVE, CLEAN, JournalFile, size_for
from services.engines.local.journal.format import Batch

log = logging.getLogger(__name__)


def open_journal(
    data_dir: Layout, sync: str, seal: Callable[[int], None] | None = None
) -> JournalWriter | None:
    """The journal, where it is wanted and the disk has room for its files. Raises SyncFailed, OSError.

    `seal` is called with the epoch of a file before what that one covers is called durable in place: for an
    index, which the journal must cover until it has this, too. Raises SyncFailed, by which nothing is.

    What an earlier server left in it was replayed, and it is clean: what we do without it stays done.
    """
    if sync != "journal":
        return None
    lost = [name for name in journal.NAMES if not os.path.lexists(data_dir.ours(name))]
    if lost and directory.expects_journal(data_dir):
        log.warning(
            "%s: lost. Nothing is missing unless the power or the system failed, too: then each blob is as "
            "its own folder was at the last checkpoint, and what was acknowledged since may be gone",
            " and ".join(lost),
        )
    try:
        kept = JournalWriter(data_dir, seal)
    except OSError as err:
        if err.errno not in NO_SPACE_ERRNOS:
            raise
        log.warning('no room for a journal: going on with sync = "folder" until the next start')
        return None
    with contextlib.suppress(OSError):  # no room even for that: the loss of a journal would go unnoticed
        directory.expect_journal(data_dir)
    return kept


class JournalWriter:
    """Used by the committer's thread alone."""

    def __init__(self, data_dir: Layout, seal: Callable[[int], None] | None = None) -> None:
        self._data_dir = data_dir
        self._seal = seal
        self._root_fd = durable.open_folder(data_dir.root)
        self._idle, self._active = self._open_files()
        self.problem = ""  # why commits go without it, for people; empty where they do not
        self._checkpointer = ThreadPoolExecutor(1, "checkpoint")
        self._checkpoint: Future[None] | None = None  # of the idle file, under way or over
        self._is_refused = False  # the last checkpoint failed, and that was logged
        self._early_sync = EarlySync()
        self._early: Future[None] | None = None
        self._syncing = threading.Lock()
        self._failed: SyncFailed | None = None
        self._epoch = self._active.epoch

    def _open_files(self) -> list[JournalFile]:
        """Both files, the older first; made where they are missing. Raises OSError, SyncFailed."""
        size_bytes = size_for(self._data_dir)
        files = [JournalFile(self._data_dir.ours(name), size_bytes) for name in journal.NAMES]
        return sorted(files, key=lambda file: file.epoch)

    def lacks_file(self) -> bool:
        """True if somebody has removed or moved a file of it under us. Any thread may ask. 4 µs."""
        root_fd = self._root_fd
        return not self.problem and (self._idle.is_lost(root_fd) or self._active.is_lost(root_fd))

    def replace_lost(self) -> None:
        """Before each batch, and where it `lacks_file`: make files anew that were removed or moved under us.

        What they cover is made durable in place first. Where new ones cannot be made, `problem` says why, and
        nothing `fits` until the next start: then commits sync their folders. Raises SyncFailed, OSError as
        `empty` does.
        """
        if not self.lacks_file():
            return
        log.error("the journal was removed or moved away: all is made durable without it")
        self.empty()
        try:
            idle, active = self._open_files()
        except OSError as err:
            self.problem = f"The journal was removed or moved away, and cannot be made anew: {err.strerror}."
            log.error('%s Going on with sync = "folder" until the next start', self.problem)
            return
        self._idle.close()
        self._active.close()
        self._idle, self._active = idle, active
        log.warning("the journal was made anew: nothing is missing")

    def fits(self, batch: Batch) -> bool:
        """False where `batch` must go past the journal: too long even for an empty file, or that is gone."""
        return not self.problem and batch.room_bytes <= self._active.capacity

    def append(self, batch: Batch) -> None:
        """Make `batch`, which `fits`, durable.

        Raises SyncFailed: whether it is durable is unknown. Raises OSError where a checkpoint that must come
        first was refused otherwise (no room for its mark, say): then nothing of the batch is written, the
        checkpoint is still to do, and the next batch tries it again.
        """
        if self._failed is not None:
            raise self._failed
        if not batch.payloads:
            return
        self._make_room(batch)
        room_before = self._active.room()
        try:
            self._active.append(batch)
        except OSError as err:
            raise SyncFailed("The disk failed to keep the journal: the server stops.") from err
        if self._early_sync.grew(room_before - self._active.room()) and _is_over(self._early):
            self._early = self._checkpointer.submit(self._sync_early)

    def _make_room(self, batch: Batch) -> None:
        if self._active.phase is CLEAN:
            self._begin()
        elif self._active.phase is not ACTIVE or batch.room_bytes > self._active.room():
            self._turn()

    def _turn(self) -> None:
        """Go on in the other file, once its own checkpoint is done; checkpoint this one."""
        self._clear_idle()
        if self._active.phase is ACTIVE:
            self._active.seal()
        self._active, self._idle = self._idle, self._active
        self._begin()
        self._checkpoint = self._checkpointer.submit(self._make_durable, self._idle)

    def _begin(self) -> None:
        self._epoch += 1
        try:
            self._active.begin(self._epoch)
        except OSError as err:
            raise SyncFailed("The disk failed to keep the journal: the server stops.") from err

    def _clear_idle(self) -> None:
        """Once this returns, the file that is not appended to is clean. Raises SyncFailed, OSError."""
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is not None:
            with contextlib.suppress(OSError):  # logged where it was raised; still to do, so done below
                checkpoint.result()
        if self._idle.phase is not CLEAN:
            self._make_durable(self._idle)

    def _make_durable(self, file: JournalFile) -> None:
        """Checkpoint a FULL file. Raises SyncFailed, OSError: it is FULL, then."""
        with self._one_sync():
            try:
                # This descriptor has seen every failed write-back since the start.
                file.checkpoint(lambda: self._sync_all(file.epoch))
            except OSError as err:
                if not self._is_refused:
                    log.error("%s: its checkpoint failed and is tried again: %s", file.path, err)
                self._is_refused = True
                raise
        if self._is_refused:
            log.info("%s: its checkpoint is done after all", file.path)
            self._is_refused = False

    def _sync_all(self, epoch: int) -> None:
        """What was published since the directory was unmounted or replaced is not where a start looks for it:
        the journal must keep it.
        """
        if not leads_to(self._data_dir.root, self._root_fd):
            raise OSError(errno.ESTALE, "the data directory was unmounted or replaced")
        if self._seal is not None:
            self._seal(epoch)
        durable.sync_file_system(self._root_fd)

    def _sync_early(self) -> None:
        """Leave the next checkpoint less to do. It says nothing of the journal, which covers what it did."""
        if self._early_sync.is_due():
            began_s = time.monotonic()
            with self._one_sync():
                durable.sync_file_system(self._root_fd)
            self._early_sync.synced(time.monotonic() - began_s)

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
                blob_folder.note_failed_sync(self._data_dir)
                raise

    def empty(self) -> None:
        """Make everything durable in place now, so that the journal covers nothing.

        Raises SyncFailed; OSError where a checkpoint was refused otherwise: it is still to do, then.
        """
        self._clear_idle()  # the older first: a replay must never meet it alone
        if self._active.phase is ACTIVE:
            self._active.seal()
        if self._active.phase is not CLEAN:
            self._make_durable(self._active)

    def close(self, *, clean: bool) -> None:
        """End; with `clean`, the journal is empty. Else the next start finds what is left in it."""
        try:
            if clean:
                self.empty()
        except (SyncFailed, OSError) as err:
            if leads_to(self._data_dir.root, self._root_fd):
                blob_folder.note_failed_sync(self._data_dir)
            log.critical("the last checkpoint failed, the next start replays the journal: %s", err)
        finally:
            self._checkpointer.shutdown()
            self._idle.close()
            self._active.close()
            os.close(self._root_fd)


def _is_over(running: Future[None] | None) -> bool:
    return running is None or running.done()
