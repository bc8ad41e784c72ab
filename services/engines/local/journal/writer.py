"""The server's use of the journal: it appends batches, switches between the two files, and makes checkpoints.

A checkpoint makes what a full file covers durable in the folders. It runs in a thread of its own, while the
other file is appended to. A commit waits for it only if that file is full as well. A checkpoint is one sync
of the whole file system, on a descriptor that was opened before the first write. Since Linux 5.8 that reports
every write-back that failed meanwhile, also of a file that the kernel has forgotten. A sync of the file
itself, through a new descriptor, would find nothing to do and succeed. The same thread syncs early if a
checkpoint would have too much to write at once (see `early_sync`).

A failed checkpoint is still to do: its file stays FULL (`file.FilePhase`), and is neither appended to nor
started over before a checkpoint has succeeded.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from common import durable
from common.errors import NO_SPACE_ERRNOS, SyncFailed
from common.threads import Threads
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
    """The journal, if it is wanted and the disk has room for its files. Raises SyncFailed, OSError.

    `seal` is called with the epoch of a file before that file is marked clean. It is for the index: the
    journal must cover what the index does not have yet. It raises SyncFailed: then no file is marked clean.

    The journal was replayed and is clean, so what is done without it will not be undone.
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
    """Used only by the committer's thread."""

    def __init__(self, data_dir: Layout, seal: Callable[[int], None] | None = None) -> None:
        self._data_dir = data_dir
        self._seal = seal
        self._root_fd = durable.open_folder(data_dir.root)
        self._idle, self._active = self._open_files()
        self.problem = ""  # why commits go without it, for people; empty where they do not
        self._checkpointer = Threads(1, "checkpoint")
        self._checkpoint: Future[None] | None = None  # of the idle file, under way or over
        self._is_refused = False  # the last checkpoint failed, and that was logged
        self._early_sync = EarlySync()
        self._early: Future[None] | None = None
        self._syncing = threading.Lock()
        self._failed: SyncFailed | None = None
        self._epoch = self._active.epoch

    def _open_files(self) -> list[JournalFile]:
        """Both files, the older first; missing ones are made. Raises OSError, SyncFailed."""
        size_bytes = size_for(self._data_dir)
        files = [JournalFile(self._data_dir.ours(name), size_bytes) for name in journal.NAMES]
        return sorted(files, key=lambda file: file.epoch)

    def lacks_file(self) -> bool:
        """True if somebody has removed or moved one of its files. Any thread may ask. 4 µs."""
        root_fd = self._root_fd
        return not self.problem and (self._idle.is_lost(root_fd) or self._active.is_lost(root_fd))

    def replace_lost(self) -> None:
        """Before each batch, and if it `lacks_file`: make files again that somebody removed or moved.

        First what they cover is made durable in the folders. If new ones cannot be made, `problem` says why,
        and nothing `fits` until the next start: then commits sync their folders. Raises SyncFailed, OSError
        as `empty` does.
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
        """False if `batch` must bypass the journal: too long even for an empty file, or the file is gone."""
        return not self.problem and batch.room_bytes <= self._active.capacity

    def append(self, batch: Batch) -> None:
        """Make `batch`, which `fits`, durable.

        Raises SyncFailed: it is unknown whether the batch is durable. Raises OSError if a checkpoint that
        must come first failed otherwise (no room for its mark, say): then nothing of the batch is written,
        the checkpoint is still to do, and the next batch tries it again.
        """
        if self._failed is not None:
            raise self._failed
        if not batch.payloads:
            return
        self._make_room(batch)
        try:
            self._active.append(batch)
        except OSError as err:
            raise SyncFailed("The disk failed to keep the journal: the server stops.") from err
        if self._early_sync.grew(batch.room_bytes) and _is_over(self._early):
            self._early = self._checkpointer.submit(self._sync_early)

    def _make_room(self, batch: Batch) -> None:
        phase = self._active.phase
        if phase is CLEAN:
            self._begin()
        elif phase is not ACTIVE or batch.room_bytes > self._active.room():
            self._turn()

    def _turn(self) -> None:
        """Go on in the other file, when its own checkpoint is done; checkpoint this one."""
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
        """Wait until the file that is not appended to is clean. Raises SyncFailed, OSError."""
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
        """Refuse a checkpoint after the directory was unmounted or replaced: what was published since is not
        where a start looks for it, so the journal must keep it.
        """
        if not leads_to(self._data_dir.root, self._root_fd):
            raise OSError(errno.ESTALE, "the data directory was unmounted or replaced")
        if self._seal is not None:
            self._seal(epoch)
        durable.sync_file_system(self._root_fd)

    def _sync_early(self) -> None:
        """Leave the next checkpoint less to do. It does not make the journal clean."""
        if self._early_sync.is_due():
            began_s = time.monotonic()
            with self._one_sync():
                durable.sync_file_system(self._root_fd)
            self._early_sync.synced(time.monotonic() - began_s)

    @contextlib.contextmanager
    def _one_sync(self) -> Iterator[None]:
        """One sync at a time, and none after a failed one: it would not report what the kernel dropped."""
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
        """Make everything durable in the folders now, so that the journal covers nothing.

        Raises SyncFailed; OSError if a checkpoint failed otherwise: then it is still to do.
        """
        self._clear_idle()  # the older first: a replay must never meet it alone
        if self._active.phase is ACTIVE:
            self._active.seal()
        if self._active.phase is not CLEAN:
            self._make_durable(self._active)

    def close(self, *, clean: bool) -> None:
        """End. With `clean` the journal is empty; else the next start finds what is left in it."""
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
