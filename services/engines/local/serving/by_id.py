"""Blobs by id, whatever their state: read from the state files on disk. Runs in the store's threads."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Container, Sequence

from common.errors import (
    SHORTAGE_ERRNOS,
    BadRequest,
    CorruptRecord,
    Damaged,
    NotFound,
    Unreadable,
    from_os_error,
)
from common.states import WORD_OF_CODE, State
from common.times import rfc3339
from services.engines.local.disk import blob_folder, directory
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.serving.store import LocalStore
from services.store import DamagedBlob, Description, Event

_OK = WORD_OF_CODE[0]
_ID = re.compile(r"0|[1-9][0-9]{0,9}")  # 32 bits; as the folders are named, so each blob has one name


_ALL = 1 << 32  # more than there are ids


class LocalAdmin:
    """See engine.Admin. Ids are decimal numbers."""

    def __init__(self, data_dir: Layout, store: LocalStore) -> None:
        self._data_dir = data_dir
        self._store = store

    async def list_by_id(self, state: str | None, after: str | None, limit: int) -> Sequence[Description]:
        """See engine.Admin."""
        if after is not None and not _ID.fullmatch(after):
            raise BadRequest("after= must be the id of a blob: pass the last page's next.")
        number = -1 if after is None else int(after)
        return await self._store.by_id(page, self._data_dir, self._store.live_ids, state, number, limit)

    async def describe(self, blob_id: str) -> Description:
        """See engine.Admin."""
        if not _ID.fullmatch(blob_id):
            raise NotFound("No blob has such an id: ids are decimal numbers.")
        return await self._store.by_id(describe, self._data_dir, int(blob_id))

    async def find_damaged(self) -> Sequence[DamagedBlob]:
        """See engine.Admin."""
        return self._store.damaged_blobs(_ALL)

    def damaged(self, limit: int) -> Sequence[DamagedBlob]:
        """See engine.Admin."""
        return self._store.damaged_blobs(limit)


def page(
    data_dir: Layout, live: Container[int], state: str | None, after: int, limit: int
) -> list[Description]:
    """See engine.Admin.list_by_id. `live`: the ids of blobs that are served.

    Costs one pass over names (see directory.ids_after) and the reading of the page's state files. With
    `state`, a live blob is OK and no other blob is: the rest are passed over unread.
    """
    found: list[Description] = []
    for blob_id in directory.ids_after(data_dir, after):
        if len(found) == limit:
            break
        if state is not None and (blob_id in live) != (state == _OK):
            continue
        with contextlib.suppress(
            NotFound, Damaged, Unreadable
        ):  # collected meanwhile; recovery tells of damage
            one = describe(data_dir, blob_id)
            if state in (None, one.state):
                found.append(one)
    return found


def describe(data_dir: Layout, blob_id: int) -> Description:
    """See engine.Admin.describe."""
    try:
        return description(blob_folder.read_record(data_dir, blob_id))
    except FileNotFoundError as err:
        raise NotFound(f"No blob has id {blob_id}: it never had one, or was collected.") from err
    except CorruptRecord as err:
        raise Damaged(f"The state of blob {blob_id} is damaged on disk: see the log.") from err
    except OSError as err:
        if err.errno in SHORTAGE_ERRNOS:
            raise from_os_error(err, "read the blob's state") from err
        raise Unreadable(f"The disk does not give the state of blob {blob_id} now: ask again.") from err


def description(record: BlobRecord) -> Description:
    """All that the record of a blob in any state says."""
    complete = record.state is State.COMPLETE
    return Description(
        id=record.id,
        location=record.location,
        state=WORD_OF_CODE[record.events[-1].code],
        seq=record.seq,
        size=record.size if complete else None,
        etag=f'"{record.sha256.hex()}"' if complete else None,
        modified=rfc3339(record.modified_ns) if complete else None,
        type=record.type,
        encoding=record.encoding,
        metadata={name: said for name, said in record.metadata.items() if not name.startswith(".")},
        history=[Event(e.at, WORD_OF_CODE[e.code], e.message) for e in reversed(record.events)],
    )
