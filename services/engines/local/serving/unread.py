"""Blobs that the start could not judge: they are read again in the background until they can be.

An I/O error does not mean that the bytes rotted. While a state cannot be read, its location is unknown, and
may be any that the index does not have. Until then all such locations answer 503, not 404. A blob of the
original server waits here for its checksums if computing them would have delayed the start.

On the event loop. The decisions are those of the start (reconcile.look_again); the committer's thread makes
them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from common.errors import BlobkeepError, CorruptRecord, Damaged
from common.keyed_lock import KeyedLock
from common.logs import about
from common.threads import Threads
from services.engines.local.disk import blob_folder
from services.engines.local.disk.blob import Blob, served
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery import reconcile
from services.engines.local.recovery.adoption import with_sums
from services.engines.local.recovery.reconciled import Reconciled
from services.engines.local.serving.damage import LocalDamage
from services.engines.local.serving.garbage import Garbage
from services.engines.local.serving.group_commit import GroupCommit
from services.engines.local.serving.ids import Sequence
from services.engines.local.serving.index import Index

log = logging.getLogger(__name__)

T = TypeVar("T")

# The time between two tries, doubled while they fail.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class Unread:
    """See the module docstring. It ends when nothing is left to be read."""

    def __init__(
        self,
        data_dir: Layout,
        index: Index,
        locks: KeyedLock,
        committer: GroupCommit,
        damage: LocalDamage,
        sequence: Sequence,
        garbage: Garbage,
    ) -> None:
        self._data_dir = data_dir
        self._index = index
        self._locks = locks
        self._committer = committer
        self._damage = damage
        self._sequence = sequence
        self._garbage = garbage
        self._thread = Threads(1, "unread")  # to read terabytes must not keep others waiting
        self._stopping = False
        self._told: dict[str, str] = {}  # by location: the last error of its adoption, told once
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Try again and again."""
        index = self._index
        if index.unreadable:
            log.error(
                "until %d blobs can be read, names that are not known answer 503: the way out is in "
                "docs/operating.md, 'A disk that does not give a blob'",
                len(index.unreadable),
            )
        pause_s = FIRST_PAUSE_S
        while (before := len(index.unreadable) + len(index.unadopted)) and not self._stopping:
            for location, blob in list(index.unadopted.items()):
                await self._guarded(self._adopt(location, blob))
            for blob_id in list(index.unreadable):
                await self._guarded(self._read_again(blob_id))
            if len(index.unreadable) + len(index.unadopted) == before:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                pause_s = FIRST_PAUSE_S

    def read_again(self, blob_id: int, reason: str) -> None:
        """Judge a blob again as at a start. Until then its location is unknown."""
        self._index.unreadable[blob_id] = reason
        if self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """End what is under way; the thread notices within one MiB."""
        self._stopping = True
        self._task.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)
        await asyncio.wait([self._task])

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Errors of one blob must not keep the others waiting."""
        try:
            await work
        except (OSError, BlobkeepError) as err:
            log.debug("not read yet: %s", err)

    # --- states that the disk did not give ---

    async def _read_again(self, blob_id: int) -> None:
        found = await self._in_thread(lambda: self._location_of(blob_id))
        location = found or ""  # "": its state can be read, and says nothing: no location to wait for
        if found is None:
            return
        async with self._locks.of(location):
            current = self._index.get(location)
            reconciled = await self._committer.call(
                lambda: reconcile.look_again(self._data_dir, blob_id, current)
            )
            # Its state could be read just now, though not before: once more, with the lock of its location.
            is_unlocked = any(blob.location != location for blob in reconciled.live.values())
            if blob_id not in reconciled.unreadable and not is_unlocked:
                await self._show(blob_id, location, reconciled)

    def _location_of(self, blob_id: int) -> str | None:
        """The location in the state of a blob, or "" if it has none. None if it cannot be read."""
        try:
            return blob_folder.read_record(self._data_dir, blob_id).location
        except (FileNotFoundError, CorruptRecord):
            return ""
        except OSError as err:
            self._index.unreadable[blob_id] = err.strerror or str(err)
            return None

    async def _show(self, blob_id: int, location: str, reconciled: Reconciled) -> None:
        """Put the decision into the index. Under the lock of the location."""
        index = self._index
        del index.unreadable[blob_id]
        index.unreadable.update(reconciled.unreadable)
        log.warning("blob %d of %r: could be read again", blob_id, location, extra=about(blob_id, location))
        self._sequence.saw(reconciled.max_seq)
        blob = reconciled.live.get(location)
        if blob is not None and not index.shows(blob):
            await self._damage.forget(location)
            index.show(location, blob)
        index.unadopted.update(reconciled.unadopted)
        self._garbage.failed(len(reconciled.failures), 0)
        await self._damage.learn(reconciled)

    # --- blobs without checksums ---

    async def _adopt(self, location: str, blob: Blob) -> None:
        try:
            adopted = await self._in_thread(
                lambda: with_sums(self._data_dir, blob, lambda: not self._stopping)
            )
        except InterruptedError:
            return
        except (Damaged, CorruptRecord):
            # What it was is no more: to be judged anew.
            del self._index.unadopted[location]
            self._index.unreadable[blob.id] = "its files have changed"
            return
        except OSError as err:
            if self._told.get(location) != str(err):
                self._told[location] = str(err)
                log.error(
                    "blob %d of %r: data.raw: %s", blob.id, location, err, extra=about(blob.id, location)
                )
            return
        async with self._locks.of(location):
            if not self._data_dir.read_only:
                await self._committer.call(lambda: blob_folder.write_record(self._data_dir, adopted))
            del self._index.unadopted[location]
            self._index.show(location, served(adopted))
            log.info("blob %d: adopted from the original server", blob.id, extra=about(blob.id, location))

    async def _in_thread(self, step: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)
