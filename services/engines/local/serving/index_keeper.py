"""Keeps the index on disk up to date while the server runs: changes become a run, and runs are merged.

The journal is the index's log, too: what it covers need not be in the index. So before a checkpoint marks a
journal file clean, all changes go into the index (`seal`). A write costs only memory.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from common.errors import SyncFailed
from common.threads import Threads
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.format import IndexDamaged
from services.engines.local.index.merge_worker import Task, have_done
from services.engines.local.index.merging import to_merge
from services.engines.local.index.row_stamps import row_stamps
from services.engines.local.index.run import Run
from services.engines.local.index.stretches import Nets, NetsOfChanges
from services.engines.local.index.writer import IndexWriter, new_name
from services.engines.local.journal.writer import open_journal
from services.engines.local.serving.group_commit import GroupCommit
from services.engines.local.serving.ids import Sequence

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOP_S = 60.0  # an event loop that is silent for so long has ended


class IndexKeeper:
    """See the module docstring. Create it on the event loop that uses `catalogue`.

    `stop` (see LocalStore.stop) is called if the index is damaged, since it must not be used any more.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        writer: IndexWriter,
        sequence: Sequence,
        stop: Callable[..., None],
    ) -> None:
        self._catalogue = catalogue
        self._writer = writer
        self._sequence = sequence
        self._stop = stop
        self._is_damaged = False
        # On the loop: False while a complete blob may be on the disk that the catalogue does not have.
        self.is_settled: Callable[[], bool] = lambda: False
        self._loop = asyncio.get_running_loop()
        self._merger = Threads(1, "index")
        self._merging: Future[None] | None = None
        self._stopping = threading.Event()
        catalogue.on_damage = self._damaged
        self._merge_soon()

    def seal(self, epoch: int) -> None:
        """Write all changes so far into the index, durably. In the journal's threads.

        Raises SyncFailed. After another error the journal has a clean epoch that the index does not have, so
        the next start reads the folders.
        """
        try:
            self._seal(epoch)
        except (OSError, OverflowError, IndexDamaged, RuntimeError, TimeoutError) as err:
            log.warning("the index could not be written, the next start may read every folder: %s", err)
        else:
            self._merge_soon()

    def _seal(self, epoch: int) -> None:
        stamps = row_stamps(self._writer.files.data_dir, self._catalogue.ids.row_numbers())
        items, nets, ids, size_bytes, max_seq, is_settled = self._on_loop(self._freeze)
        rows = stamps if is_settled else {}
        run = self._writer.seal(items, len(items), nets, ids, size_bytes, epoch, max_seq, rows)
        self._on_loop(lambda: self._catalogue.thaw(run))

    def give_up(self) -> None:
        """Before a write that bypasses the journal: give the index up until the next `seal`.

        Raises OSError, SyncFailed: then the index may still exist, and the write must not go on.
        """
        self._writer.give_up()

    def stop(self, *, seals: bool) -> None:
        """End the thread; waits for a merge. `seals`: write all changes into the index first."""
        self._stopping.set()
        self._merger.shutdown()
        if seals and self._on_loop(lambda: bool(self._catalogue.freeze())):
            try:
                self._seal(self._writer.manifest.epoch)
            except (OSError, OverflowError, IndexDamaged, SyncFailed) as err:
                log.warning("the index could not be written, the next start reads every folder: %s", err)

    # --- on the loop ---

    def _freeze(self) -> tuple[list[tuple[str, Blob | None]], Nets, dict[int, bytes], int, int, bool]:
        catalogue = self._catalogue
        frozen = catalogue.freeze()
        nets = NetsOfChanges(frozen.nets.items())
        ids, last = catalogue.ids.rows(), self._sequence.last
        return frozen.items(), nets, ids, catalogue.bytes, last, self.is_settled()

    def _damaged(self, err: IndexDamaged) -> None:
        if self._is_damaged:
            return
        self._is_damaged = True
        try:
            self._writer.give_up()
        except (OSError, SyncFailed) as error:
            log.error("the index could not be removed: %s", error)
        self._stop(err, "%s The server stops; the next start reads every folder.", err)

    # --- in threads ---

    def _on_loop(self, step: Callable[[], T]) -> T:
        """Run `step` on the loop, after all finished commits are in the index; waits for it."""
        done: Future[T] = Future()

        def do() -> None:
            try:
                done.set_result(step())
            except Exception as err:  # noqa: BLE001 - it goes to the thread
                done.set_exception(err)

        # Twice: a callback wakes the waiter of a commit, which goes on in the callback after that.
        self._loop.call_soon_threadsafe(lambda: self._loop.call_soon(do))
        return done.result(_LOOP_S)

    def _tell(self, err: IndexDamaged) -> None:
        self._loop.call_soon_threadsafe(self._damaged, err)

    def _merge_soon(self) -> None:
        if self._merging is None or self._merging.done():
            self._merging = self._merger.submit(self._merge)

    def _merge(self) -> None:
        try:
            while not self._stopping.is_set() and (inputs := to_merge(self._writer.manifest.runs)):
                last = self._writer.manifest
                are_all = len(inputs) == len(last.runs)
                name = new_name()
                info = have_done(Task(self._writer.files.path(""), list(inputs), are_all, name, last.salt))
                by = Run(self._writer.files.path(name), info)
                self._writer.merged(inputs, info)
                names = {one.name for one in inputs}

                def replace(names: set[str] = names, by: Run = by) -> None:
                    runs = [run for run in self._catalogue.runs if run.info.name in names]
                    self._catalogue.replace(runs, by)

                self._on_loop(replace)
        except IndexDamaged as err:
            self._tell(err)
        except (OSError, SyncFailed, OverflowError, RuntimeError, TimeoutError) as err:
            log.warning("runs of the index could not be merged: %s", err)


def keeper_for(
    blobs: object, writer: IndexWriter | None, sequence: Sequence, stop: Callable[..., None]
) -> IndexKeeper | None:
    """The keeper of the index on disk, if `blobs` are in one."""
    if writer is None or not isinstance(blobs, Catalogue):
        return None
    return IndexKeeper(blobs, writer, sequence, stop)


def committer_for(
    data_dir: Layout, sync: str, on_fatal: Callable[[SyncFailed], None], keeper: IndexKeeper | None
) -> GroupCommit:
    """The committer, and the journal if it is wanted. Raises OSError, SyncFailed."""
    if keeper is None:
        kept = None if data_dir.read_only else open_journal(data_dir, sync)
        return GroupCommit(data_dir, kept, on_fatal)
    journaling = open_journal(data_dir, sync, keeper.seal)
    if journaling is None:
        keeper.give_up()
    return GroupCommit(data_dir, journaling, on_fatal, keeper.give_up)
