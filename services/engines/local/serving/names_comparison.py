"""After a start with the index: compares the names of folders that the start did not list, in the background.

A start lists only the rows in which a name was added or removed since the index was written (`row_stamps`).
What another row has beside the blobs of the index was there before: an upload that was interrupted, a
Failure, or a folder that somebody put there by hand while the last server ran. Each is judged as at a start.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from typing import Protocol

from common.errors import BlobkeepError, CorruptRecord
from common.states import State
from services.engines.local.disk import blob_folder, directory
from services.engines.local.disk.layout import Layout
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.recovery import reconcile
from services.engines.local.recovery.reconciled import Reconciled
from services.engines.local.serving.damage import LocalDamage
from services.engines.local.serving.garbage import Garbage
from services.engines.local.serving.group_commit import GroupCommit
from services.engines.local.serving.ids import IdAllocator
from services.engines.local.serving.index import Index

log = logging.getLogger(__name__)

# A row of 32,768 names costs 15 ms of processor time: ten million blobs take three minutes.
_PAUSE_S = 0.5


class NamesOwner(Protocol):
    """What is needed of the store."""

    data_dir: Layout
    index: Index
    ids: IdAllocator
    committer: GroupCommit
    damage: LocalDamage
    garbage: Garbage


class _Seen(enum.Enum):
    FAILURE = "for the gc"
    COMPLETE = "a blob that the index does not have"
    UNREADABLE = "the disk does not give it"
    OTHER = "never complete, or damaged"


class NamesComparison:
    """See the module docstring. On the event loop. `read_again`: see Unread."""

    def __init__(self, owner: NamesOwner, read_again: Callable[[int, str], None], found: Reconciled) -> None:
        self._owner = owner
        self._read_again = read_again
        self._rows = found.unlisted
        self._was_settled = found.is_settled
        owner.ids.note_from_now(bool(self._rows))

    def is_settled(self) -> bool:
        """False if a complete blob may be on the disk that the index does not have, but for unlisted rows.

        Then a start must list everything: until it has judged such a blob, its location is not known.
        """
        index = self._owner.index
        return (
            self._was_settled
            and not (index.unreadable or index.unadopted or index.unplaced or self._owner.damage.unsettled)
            and all(one.name is not None for one in index.damaged.values())
        )

    async def run(self) -> None:
        """Once, after the start."""
        for row in self._rows:
            await self._compare(row)
            await asyncio.sleep(_PAUSE_S)
        self._owner.ids.note_from_now(False)

    async def _compare(self, row: int) -> None:
        owner = self._owner
        assert isinstance(owner.index.blobs, Catalogue)
        try:
            names, foreign = await asyncio.to_thread(directory.names_of_row, owner.data_dir, row)
        except OSError as err:
            log.error(
                "%s: its names are not compared with the index: %s", owner.data_dir.parent(row << 16), err
            )
            return
        for name in foreign:
            log.warning("%r in the data directory is not ours: left alone", name)
        # After the listing: what was taken or shown meanwhile is known now.
        unknown, _ = owner.index.blobs.ids.differences(row, names)
        for blob_id in owner.ids.taken_before(unknown):
            try:
                await self._judge(blob_id)
            except (OSError, BlobkeepError) as err:
                log.error("blob %d: not judged before the next start: %s", blob_id, err)

    async def _judge(self, blob_id: int) -> None:
        owner, index = self._owner, self._owner.index
        seen = await asyncio.to_thread(_look, owner.data_dir, blob_id)
        if seen in (_Seen.COMPLETE, _Seen.UNREADABLE):  # of a location that nobody knows until it is judged
            known = {one.blob_id for one in index.damaged.values()} | {
                one.id for one in index.unadopted.values()
            }
            if blob_id not in index.unreadable and blob_id not in known and blob_id not in index.blobs.ids:
                self._read_again(blob_id, seen.value)
        elif seen is _Seen.OTHER:
            settled = await owner.committer.call(lambda: reconcile.look_again(owner.data_dir, blob_id, None))
            owner.garbage.failed(len(settled.failures), 0)
            await owner.damage.learn(settled)


def _look(data_dir: Layout, blob_id: int) -> _Seen:
    try:
        found = blob_folder.read_record(data_dir, blob_id)
    except FileNotFoundError:
        return _Seen.OTHER if blob_folder.is_folder(data_dir.folder(blob_id)) else _Seen.FAILURE
    except CorruptRecord:
        return _Seen.OTHER
    except OSError:
        return _Seen.UNREADABLE
    return {State.FAILURE: _Seen.FAILURE, State.COMPLETE: _Seen.COMPLETE}.get(found.state, _Seen.OTHER)
