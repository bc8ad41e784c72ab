"""After a start with the index: compares each blob on disk with the index, in the background.

The start compared only the names of the folders. Somebody may have changed the content of a folder while the
server was down (a state or data put back from a backup, a removed file). That is found here, at a bounded
rate, or when the blob is read, whichever comes first. The index then follows the folder, by the rules of a
start.
"""

from __future__ import annotations

import asyncio
import enum
import logging

from common.errors import BlobkeepError, CorruptRecord, Damaged
from common.keyed_lock import KeyedLock
from common.logs import about
from common.states import State
from services.engines.local.disk import blob_folder
from services.engines.local.disk.blob import Blob, served
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery.scan_slices import SliceScan
from services.engines.local.serving.damage import LocalDamage
from services.engines.local.serving.index import Index
from services.engines.local.serving.index_keeper import IndexKeeper
from services.engines.local.serving.unread import Unread

log = logging.getLogger(__name__)

# To compare one costs 20 µs: a million take 17 minutes, of which a core works for 20 seconds.
_AT_ONCE = 64
_PAUSE_S = 0.064


class _Found(enum.Enum):
    """What a folder is, compared with what the index says."""

    SAME = "as it was"
    CHANGED = "it was changed while no server ran"
    NO_STATE = "its state says nothing"
    UNREADABLE = "the disk does not give it"


class Comparison:
    """See the module docstring. On the event loop."""

    def __init__(
        self,
        data_dir: Layout,
        index: Index,
        locks: KeyedLock,
        damage: LocalDamage,
        unread: Unread,
        keeper: IndexKeeper | None,
        is_needed: bool,
    ) -> None:
        self._data_dir = data_dir
        self._index = index
        self._locks = locks
        self._damage = damage
        self._unread = unread
        self._keeper = keeper
        self.is_over = not is_needed
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Compare all blobs once, if the start did not read them."""
        if self.is_over:
            return
        scan = await asyncio.to_thread(SliceScan, self._data_dir)
        with scan:
            at = ""
            while some := await self._index.after(at, _AT_ONCE):
                at = some[-1].location
                on_disk = await asyncio.to_thread(scan.read, [blob.id for blob in some])
                for blob, found in zip(some, on_disk, strict=True):
                    if found != blob:
                        await self._settle(blob, None)
                await asyncio.sleep(_PAUSE_S)
        self.is_over = True
        log.info("every blob is what the index said at the start, or was settled")

    def doubt(self, blob: Blob, reason: str) -> None:
        """Called when a read of `blob` finds damage: unless its folder was changed, it is damaged."""
        task = asyncio.get_running_loop().create_task(self._settle(blob, reason))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, blob: Blob, damage: str | None) -> None:
        try:
            await self._settle_now(blob, damage)
        except (OSError, BlobkeepError) as err:
            log.error("blob %d of %r: not compared with the index: %s", blob.id, blob.location, err)

    async def _settle_now(self, blob: Blob, damage: str | None) -> None:
        async with self._locks.of(blob.location):
            if not self._index.shows(blob):
                return
            found, reason = await asyncio.to_thread(_judge, self._data_dir, blob)
            if found is _Found.NO_STATE:
                self._damage.report_state(blob, found.value)
            if found is _Found.CHANGED:
                what = "blob %d of %r: %s: read anew"
                log.warning(what, blob.id, blob.location, found.value, extra=about(blob.id, blob.location))
                if self._keeper is not None:  # the journal will not tell the next start
                    await asyncio.to_thread(self._keeper.give_up)
                self._index.show(blob.location, None)
                self._unread.read_again(blob.id, found.value)
            elif reason := (reason or damage):
                self._damage.report(blob, reason)


def _judge(data_dir: Layout, blob: Blob) -> tuple[_Found, str | None]:
    """What the folder is, and what is wrong with its data. Under the lock of its location."""
    try:
        record = blob_folder.read_record(data_dir, blob.id)
        if record.state is not State.COMPLETE or record.is_original or served(record) != blob:
            return _Found.CHANGED, None
        blob_folder.check_size(data_dir, record)
    except FileNotFoundError:
        is_there = blob_folder.is_folder(data_dir.folder(blob.id))
        return _Found.NO_STATE if is_there else _Found.CHANGED, None
    except CorruptRecord:
        return _Found.NO_STATE, None
    except Damaged as err:
        return _Found.SAME, str(err)
    except OSError as err:
        log.debug("blob %d: not compared: %s", blob.id, err)
        return _Found.UNREADABLE, None
    return _Found.SAME, None
