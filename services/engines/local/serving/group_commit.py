"""Group commit: one thread makes state changes durable, many together, in the order of design's 'Ordering'.

Each write waits for a future. The thread takes all changes that have arrived, so concurrent writers share
their syncs, and no durable step runs on the event loop. One batch goes through these steps together; each is
finished for all before the next begins:

    1. bodies and new states into temporary files, the old blobs' Failure states too: what does not fit on
       the disk is refused here, before anything is visible
    2. made durable: by one record each in the journal, or by syncing these files and their folders
    3. new blobs renamed into place (without a journal: their folders and DIR synced)
    4. old states renamed into place (without a journal: their folders synced)
    5. the futures are resolved

A failed sync fails the whole batch and everything after it: the server answers 5xx and stops (rule 5).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any, TypeVar

import msgspec

from common import durable
from common.errors import BlobkeepError, SyncFailed, Unfinished
from common.histogram import Histogram
from common.threads import Threads
from services.engines.local.disk import blob_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.place import Place
from services.engines.local.disk.record import BlobRecord
from services.engines.local.journal import format as journal
from services.engines.local.journal.writer import JournalWriter
from services.engines.local.serving.change import Change
from services.engines.local.serving.disk_step import disk_error

log = logging.getLogger(__name__)

T = TypeVar("T")

SYNC_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
GROUP_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MAX_BATCH = 256  # limits how long the first of a batch waits for the last
_SYNC_THREADS = 8  # the kernel merges the syncs that wait for one another into one journal commit


class _Call(msgspec.Struct):
    step: Callable[[], Any]
    future: asyncio.Future[Any]
    empties: bool


class GroupCommit:
    """The thread. Create it on the event loop that its futures belong to; `stop` ends it.

    `on_fatal` is called on that loop, once, with the first failed sync. `before_bypass` is called, in the
    thread, before a batch that bypasses the journal; it raises OSError, SyncFailed.
    """

    def __init__(
        self,
        data_dir: Layout,
        journaling: JournalWriter | None,
        on_fatal: Callable[[SyncFailed], None],
        before_bypass: Callable[[], None] = lambda: None,
    ) -> None:
        self._data_dir = data_dir
        self._before_bypass = before_bypass
        self._journaling = journaling
        self._on_fatal = on_fatal
        self._place = Place(data_dir.root)
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Change | _Call | None] = queue.SimpleQueue()
        self._syncers = Threads(_SYNC_THREADS, "sync")
        self._broken: SyncFailed | None = None
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()
        self.batches = 0
        self.changes = 0
        self.sync_seconds = 0.0
        self.sync_times_s = Histogram(SYNC_BOUNDS_S)  # of each batch, all its syncs together
        self.group_sizes = Histogram(GROUP_BOUNDS)  # changes of each batch

    def submit(self, change: Change) -> asyncio.Future[BlobRecord | None]:
        """Make `change` durable. The future gives the new record, or the error; then nothing is visible."""
        change.future = self._loop.create_future()
        self._queue.put(change)
        return change.future

    def call(self, step: Callable[[], T]) -> asyncio.Future[T]:
        """Run `step` between two batches, with an empty journal, so that no replay undoes what it moves."""
        return self._submit_call(step, empties=True)

    def between(self, step: Callable[[], T]) -> asyncio.Future[T]:
        """Run `step` between two batches, when nothing is being prepared in any folder of a live blob."""
        return self._submit_call(step, empties=False)

    def _submit_call(self, step: Callable[[], T], *, empties: bool) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Call(step, future, empties))
        return future

    @property
    def journal_problem(self) -> str:
        """Why commits go without the journal that they should have; empty if they do not."""
        return "" if self._journaling is None else self._journaling.problem

    def lacks_journal_file(self) -> bool:
        """True if somebody has removed or moved a file of the journal. Any thread may ask. Raises OSError."""
        return self._journaling is not None and self._journaling.lacks_file()

    async def keep_journal(self) -> None:
        """Make a file of the journal again that was removed or moved away, without waiting for the next
        write. What it covered is then durable in the folders. Raises SyncFailed, OSError.
        """
        if self._journaling is not None:
            await self.between(self._journaling.replace_lost)

    @property
    def is_broken(self) -> bool:
        """True once a sync failed: nothing is committed any more."""
        return self._broken is not None

    def stop(self) -> None:
        """Finish what was submitted, then end the thread. Blocks for as long as the disk takes."""
        self._queue.put(None)
        self._thread.join()
        self._syncers.shutdown()
        if self._journaling is not None:
            self._journaling.close(clean=self._broken is None)

    def _run(self) -> None:
        going = True
        while going:
            batch: list[Change] = []
            item = self._queue.get()
            while isinstance(item, Change):
                batch.append(item)
                if item.then is not None:
                    batch.append(item.then)
                if len(batch) >= _MAX_BATCH or self._queue.empty():
                    break
                item = self._queue.get()
            if batch:
                self._commit(batch)
                self._loop.call_soon_threadsafe(_resolve, batch)
            if isinstance(item, _Call):
                self._do(item)
            going = item is not None

    def _do(self, call: _Call) -> None:
        try:
            if self._broken is not None:
                raise self._broken
            if self._journaling is not None and call.empties:
                self._journaling.empty()
            result = call.step()
        except Exception as err:  # noqa: BLE001 - it goes to the caller
            self._loop.call_soon_threadsafe(_tell, call.future, None, err)
            if isinstance(err, SyncFailed):
                self._fail_all([], err)
        else:
            self._loop.call_soon_threadsafe(_tell, call.future, result, None)

    def _commit(self, batch: list[Change]) -> None:
        synced_before_s = self.sync_seconds
        try:
            if self._broken is not None:
                raise self._broken
            alive = self._each(batch, Change.prepare, "write the blob")
            if self._journaling is None:
                self._commit_by_folders(alive)
            else:
                self._commit_with(self._journaling, alive)
        except SyncFailed as err:
            self._fail_all(batch, err)
        except Exception:  # a bug must not leave clients waiting for ever
            log.exception("the committer failed")
            self._fail_all(batch, SyncFailed("The server failed to commit and stops: see its log."))
        finally:
            for change in batch:
                change.close()
        self.batches += 1
        self.changes += len(batch)
        self.sync_times_s.add(self.sync_seconds - synced_before_s)
        self.group_sizes.add(len(batch))

    def _commit_with(self, journaling: JournalWriter, alive: list[Change]) -> None:
        batch = journal.encode([change.entries() for change in alive if change.after is None])
        began = time.perf_counter()
        try:
            journaling.replace_lost()
            by_journal = journaling.fits(batch)
            if by_journal:
                journaling.append(batch)
            else:
                # Else a replay could bring back, from what it still holds, a blob that this deletes.
                journaling.empty()
                self._before_bypass()
        except OSError as err:  # of a checkpoint: nothing of this batch is written yet, so it may be undone
            error = disk_error(err, "empty the journal")
            for change in alive:
                change.undo(error)
            return
        if not by_journal:
            self._commit_by_folders(alive)
            return
        for change in alive:
            change.decide()
        self.sync_seconds += time.perf_counter() - began
        try:
            for change in alive:
                change.publish()
            for change in alive:
                change.retire()
        except OSError as err:
            # The journal has it, so a restart will have it, too: to undo a part now would lose both values.
            raise Unfinished("The disk failed in the middle of a commit: the server stops.") from err
        self._hint(alive)

    def _commit_by_folders(self, alive: list[Change]) -> None:
        self._sync(durable.sync_file, [fd for change in alive for fd in change.unsynced])
        alive = self._each(alive, Change.hold, "open its folder")
        # The temporary names too, before any of them becomes a real one: a power cut in between then
        # leaves both of a blob's files, under whichever name.
        self._sync(durable.sync_open_folder, [change.new_folder_fd for change in alive])
        alive = self._each(alive, Change.publish, "publish the blob")
        self._sync(durable.sync_open_folder, [change.new_folder_fd for change in alive])
        parents = {self._data_dir.parent(c.new.id): c.new_parent_fd for c in alive if c.new is not None}
        self._sync(durable.sync_open_folder, list(parents.values()))
        alive = self._each(alive, Change.retire, "mark the old blob")
        self._sync(durable.sync_open_folder, [change.old_folder_fd for change in alive])
        if fault := self._place.look():  # with a journal the next start finds it there
            raise SyncFailed(fault)
        self._hint(alive)

    def _hint(self, changes: list[Change]) -> None:
        ids = []
        for change in changes:  # most batches have none
            if change.failure is not None:
                ids.append(change.failure.id)
        if ids:
            blob_folder.hint(self._data_dir, ids)

    def _each(self, changes: list[Change], step: Callable[[Change], None], doing: str) -> list[Change]:
        """Run one step for each; those that fail are undone and left out of what is returned."""
        done = []
        for change in changes:
            if (change.then or change.after) and change.other_error is not None:
                change.undo(change.other_error)
                continue
            try:
                step(change)
                done.append(change)
            except SyncFailed:
                raise
            except BlobkeepError as err:
                change.undo(err)
            except OSError as err:
                change.undo(disk_error(err, doing))
        if len(done) == len(changes):
            return done
        for change in done:
            if change.then and change.other_error is not None:  # the deletion, which came after it, failed
                change.undo(change.other_error)
        if [change for change in changes if change.stuck]:
            # What is on disk is not what the index says, and later writes would build on the index.
            raise SyncFailed("The disk failed a commit and its undoing: the server stops.")
        return [change for change in done if change.error is None]

    def _sync(self, sync: Callable[[int], None], descriptors: list[int]) -> None:
        """Run `sync` on each open file or folder (-1: there is none), several at once."""
        if not durable.syncs():
            return
        began = time.perf_counter()
        targets = [fd for fd in descriptors if fd >= 0]
        if len(targets) == 1:
            sync(targets[0])
        elif targets:
            results = [self._syncers.submit(sync, fd) for fd in targets]
            wait(results)  # all of them, whichever fails: they are closed then
            for result in results:
                result.result()
        self.sync_seconds += time.perf_counter() - began

    def _fail_all(self, batch: list[Change], err: SyncFailed) -> None:
        first = self._broken is None
        self._broken = err
        for change in batch:
            if change.error is None and isinstance(err, Unfinished):
                change.leave(err)
            elif change.error is None:
                change.undo(err)
        if first:
            blob_folder.note_failed_sync(self._data_dir)
            self._loop.call_soon_threadsafe(self._on_fatal, err)


def _tell(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    """On the loop: give the waiter its result, unless it waits no more."""
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _resolve(batch: list[Change]) -> None:
    """On the loop: give each waiter its result. Once a batch, since waking the loop is a system call."""
    for change in batch:
        if change.future is not None:
            _tell(change.future, change.result, change.error)
