"""Handles damage: stops serving a blob, quarantines it, or writes a lost state again.

Runs on the event loop, under the lock of each location; the committer does the disk work.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence

from common import logs
from common.errors import SHORTAGE_ERRNOS, BlobkeepError, SyncFailed, from_os_error
from common.keyed_lock import KeyedLock
from common.self_report import NamedBlob
from common.states import MSG_SUPERSEDED, State
from services.engine import Events
from services.engines.local.disk import blob_folder, layout, quarantine
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.blob_folder import RecordOfAnother
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery.reconciled import Reconciled
from services.engines.local.serving.disk_step import disk_error
from services.engines.local.serving.group_commit import GroupCommit
from services.engines.local.serving.index import Index, KnownDamage
from services.engines.local.serving.old_record import restore_state
from services.store import DamagedBlob

log = logging.getLogger(__name__)

_TRY_AGAIN_S = 5.0


class LocalDamage:
    """See the module docstring. `found`: what the start found."""

    def __init__(
        self,
        data_dir: Layout,
        index: Index,
        locks: KeyedLock,
        committer: GroupCommit,
        events: Events,
        stop_for: Callable[[SyncFailed], None],
        found: Reconciled,
    ) -> None:
        self._data_dir = data_dir
        self._index = index
        self._locks = locks
        self._committer = committer
        self._events = events
        self._stop_for = stop_for
        self.unsettled = found.unsettled
        self._first: dict[str, list[Callable[[], None]]] = {}  # other steps, of locations in `unsettled`
        self.nameless = found.nameless  # paths of damaged folders whose location nobody knows
        self.tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

    def listed(self, limit: int) -> Sequence[DamagedBlob]:
        """Up to `limit` blobs that are damaged, and neither written nor deleted since."""
        named = (
            DamagedBlob(at, one.blob_id, one.reason, one.name) for at, one in self._index.damaged.items()
        )
        nameless = (
            DamagedBlob(None, int(name.partition("-")[0]), "Nobody knows its location.", name)
            for name in map(os.path.basename, self.nameless)
        )
        return list(itertools.islice(itertools.chain(named, nameless), limit))

    def report(self, blob: Blob, reason: str) -> None:
        """Stop serving `blob`, if it is still its location's, and quarantine it in the background."""
        if not self._index.shows(blob):
            return
        about = logs.about(blob.id, blob.location)
        log.error("blob %d of %r: damaged: %s", blob.id, blob.location, reason, extra=about)
        self._index.show(blob.location, None)
        self._index.damaged[blob.location] = KnownDamage(blob.id, blob.seq, reason, None, None)
        self._events.damaged(NamedBlob(blob.id, blob.location, reason))
        if not self._data_dir.read_only:
            self._in_background(self._quarantine_soon(blob.location))

    def report_state(self, blob: Blob, reason: str) -> None:
        """Write the state file of a live blob again from memory, in the background."""
        about = logs.about(blob.id, blob.location)
        log.error(
            "blob %d of %r: its state is damaged on disk: %s", blob.id, blob.location, reason, extra=about
        )
        if not self._data_dir.read_only:
            self._in_background(self._restore_state(blob))

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _restore_state(self, blob: Blob) -> None:
        while True:
            async with self._locks.of(blob.location):
                if not self._index.shows(blob):
                    return
                try:
                    if await self._committer.call(lambda: restore_state(self._data_dir, blob)):
                        log.warning("blob %d of %r: its state was written anew", blob.id, blob.location)
                    return
                except (OSError, BlobkeepError) as err:
                    log.error("blob %d: its state could not be written anew: %s", blob.id, err)
                    if not isinstance(err, OSError) or err.errno not in SHORTAGE_ERRNOS:
                        self.report(blob, "its state is damaged")  # in quarantine a note says whose it is
                        return
            await asyncio.sleep(_TRY_AGAIN_S)  # a shortage of the process says nothing about the blob

    async def _quarantine_soon(self, location: str) -> None:
        async with self._locks.of(location):
            damaged = self._index.damaged.get(location)
            if damaged is not None and damaged.name is None:
                with contextlib.suppress(BlobkeepError):  # logged where it was raised
                    await self.quarantine_now(location, damaged)

    async def quarantine_now(self, location: str, damaged: KnownDamage) -> KnownDamage:
        """Under the location's lock: move the folder. Raises StorageFailed and others, after logging them."""
        blob_id = damaged.blob_id
        try:
            name, note = await self._committer.call(
                lambda: quarantine.move_in(self._data_dir, blob_id, location, damaged.seq, damaged.reason)
            )
            moved = KnownDamage(blob_id, damaged.seq, damaged.reason, name, note)
        except FileNotFoundError:
            # Somebody removed its folder by hand: nothing is left that could come back, or be released.
            moved = KnownDamage(blob_id, damaged.seq, damaged.reason, "", None)
        except (OSError, BlobkeepError) as err:
            if isinstance(err, SyncFailed):
                self._stop_for(err)
            about = logs.about(blob_id, location)
            log.error("blob %d of %r: could not be quarantined: %s", blob_id, location, err, extra=about)
            if isinstance(err, OSError):
                raise from_os_error(err, "quarantine the damaged blob") from err
            raise
        self._index.damaged[location] = moved
        return moved

    async def forget(self, location: str) -> None:
        """Under the location's lock: a blob is about to be served there. Raises OSError, SyncFailed."""
        damaged = self._index.damaged.get(location)
        if damaged is not None and damaged.name and damaged.note is not None:
            await self._release(damaged.name, damaged.note)

    async def learn(self, settled: Reconciled) -> None:
        """Under the location's lock: take over what the judgement of one blob found, or left to do."""
        index = self._index
        for name, note in settled.moved:
            self._events.damaged(NamedBlob(note.id, note.location, note.reason))
            if note.location is None:
                self.nameless.append(f"{self._data_dir.ours(layout.QUARANTINE_NAME)}/{name}")
            elif note.location in index.blobs or note.location in index.damaged:
                await self._release(name, note)
            else:
                index.damaged[note.location] = KnownDamage(note.id, note.seq, note.reason, name, note)
        for location, (_, note) in settled.damaged.items():  # could not be moved
            if location not in index.blobs:
                index.damaged.setdefault(location, KnownDamage(note.id, note.seq, note.reason, None, None))
        for location, ids in settled.unsettled.items():
            self.unsettled.setdefault(location, []).extend(ids)

    async def _release(self, name: str, note: quarantine.Note) -> None:
        await self._committer.call(lambda: quarantine.release(self._data_dir, name, note))

    def forget_dropped(self) -> None:
        """Do not count what an operator has dropped of the folders of unknown locations."""
        self.nameless = [path for path in self.nameless if os.path.lexists(path)]

    def do_first(self, location: str, step: Callable[[], None]) -> None:
        """Have `step` done on disk before the location is written or deleted; it may be done twice."""
        self.unsettled.setdefault(location, [])
        self._first.setdefault(location, []).append(step)

    async def settle(self, location: str) -> None:
        """Do what has to be done first now, though the location is neither written nor deleted.

        Raises as `settle_now`. SyncFailed stops the server.
        """
        async with self._locks.of(location):
            try:
                await self.settle_now(location)
            except SyncFailed as err:
                self._stop_for(err)
                raise

    async def settle_now(self, location: str) -> None:
        """Before a location is written or deleted: mark its older blobs that recovery could not mark, and do
        what had to be done first."""
        if location not in self.unsettled:
            return

        def mark() -> None:
            for blob_id in self.unsettled[location]:
                with contextlib.suppress(RecordOfAnother):  # somebody exchanged folders
                    older = blob_folder.read_record(self._data_dir, blob_id)
                    if older.state is State.COMPLETE and older.location == location:
                        blob_folder.fail(self._data_dir, older, MSG_SUPERSEDED, time.time_ns())
            for step in self._first.get(location, ()):
                step()

        try:
            await self._committer.call(mark)
        except OSError as err:
            raise disk_error(err, "mark an older blob of this location") from err
        del self.unsettled[location]
        self._first.pop(location, None)
