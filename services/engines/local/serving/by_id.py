"""Blobs by id, whatever their state: read from the state files on disk. Runs in the store's threads."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Container, Iterator, Sequence

from common.errors import (
    SHORTAGE_ERRNOS,
    BadRequest,
    BlobkeepError,
    CorruptRecord,
    Damaged,
    NotFound,
    Unreadable,
    from_os_error,
)
from common.states import MSG_UNDELETED, WORD_OF_CODE, State
from common.times import rfc3339
from services.engines.local.disk import blob_folder, directory, keeping
from services.engines.local.disk.blob import Blob as LocalBlob
from services.engines.local.disk.blob import served
from services.engines.local.disk.keeping import Keeping
from services.engines.local.disk.kept_blob import OpenBlob, open_blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.serving.bring_back import GONE_TEXT, bring_back
from services.engines.local.serving.expiry import Expiry
from services.engines.local.serving.store import LocalStore
from services.store import Blob, Condition, DamagedBlob, Description, Event, Reading

log = logging.getLogger(__name__)

_OK = WORD_OF_CODE[0]
_ID = re.compile(r"0|[1-9][0-9]{0,9}")  # 32 bits; as the folders are named, so each blob has one name
_ALL = 1 << 32  # more than there are ids


class LocalAdmin:
    """See engine.Admin. Ids are decimal numbers."""

    quarantine = None  # its folders are handled without us

    def __init__(self, data_dir: Layout, store: LocalStore) -> None:
        self._data_dir = data_dir
        self._store = store

    async def list_by_id(self, state: str | None, after: str | None, limit: int) -> Sequence[Description]:
        """See engine.Admin."""
        if after is not None and not _ID.fullmatch(after):
            raise BadRequest("after= must be the id of a blob: pass the last page's next.")
        number = -1 if after is None else int(after)
        store = self._store
        return await store.by_id(
            *(page, self._data_dir, store.index.blobs.ids, state, number, limit),
            *(store.keeping, store.expiry),
        )

    async def describe(self, blob_id: str) -> Description:
        """See engine.Admin."""
        store = self._store
        return await store.by_id(describe, self._data_dir, _number(blob_id), store.keeping, store.expiry)

    async def open(self, blob_id: str) -> Reading:
        """See engine.Admin."""
        store = self._store
        with await store.by_id(_open, self._data_dir, _number(blob_id)) as found:
            record = found.record
            blob = store.find_by_id(record.id, record.seq) if record.state is State.COMPLETE else None
            if blob is not None:
                return store.reading(blob, found.take_fd(), store)
            _must_be_kept(record)
            return store.reading(served(record), found.take_fd(), _ReportsOfKept())

    async def undelete(self, blob_id: str, location: str, condition: Condition) -> tuple[Blob, bool]:
        """See engine.Admin."""
        found = await self._store.by_id(_open, self._data_dir, _number(blob_id))
        with found:
            old = found.record
            _must_be_kept(old)
            if old.location != location:
                raise NotFound(GONE_TEXT)
            message = f"{MSG_UNDELETED} from {old.id}!"
            return await bring_back(self._store, found, condition, message, _ReportsOfKept())

    async def find_damaged(self) -> Sequence[DamagedBlob]:
        """See engine.Admin."""
        return self._store.damage.listed(_ALL)

    def damaged(self, limit: int) -> Sequence[DamagedBlob]:
        """See engine.Admin."""
        return self._store.damage.listed(limit)


class _ReportsOfKept:
    """For readings of kept blobs: damage has no consequence, since no location serves them."""

    def report_damage(self, blob: LocalBlob, reason: str) -> None:
        log.error("blob %d of %r, kept after its end: %s", blob.id, blob.location, reason)

    def unreadable(self, blob: LocalBlob, err: OSError) -> BlobkeepError:
        log.error("blob %d of %r, kept after its end: %s", blob.id, blob.location, err.strerror)
        return Unreadable("The disk does not give the bytes of this blob: ask again in a moment.")


def _number(blob_id: str) -> int:
    if not _ID.fullmatch(blob_id):
        raise NotFound("No blob has such an id: ids are decimal numbers.")
    return int(blob_id)


def _must_be_kept(record: BlobRecord) -> None:
    if record.state is not State.FAILURE or not record.is_whole:
        raise NotFound("This blob is neither served nor kept: GET /blobs/{id} shows its history.")


def _open(data_dir: Layout, blob_id: int) -> OpenBlob:
    with _told(blob_id):
        return open_blob(data_dir, blob_id)


def page(
    data_dir: Layout,
    live: Container[int],
    state: str | None,
    after: int,
    limit: int,
    options: Keeping,
    expiry: Expiry,
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
        with contextlib.suppress(NotFound, Damaged, Unreadable):  # collected; or recovery tells of it
            one = describe(data_dir, blob_id, options, expiry)
            if state in (None, one.state):
                found.append(one)
    return found


def describe(data_dir: Layout, blob_id: int, options: Keeping, expiry: Expiry) -> Description:
    """See engine.Admin.describe."""
    with _told(blob_id):
        return description(blob_folder.read_record(data_dir, blob_id), options, expiry)


@contextlib.contextmanager
def _told(blob_id: int) -> Iterator[None]:
    """The error for a client when a blob's files cannot be read."""
    try:
        yield
    except FileNotFoundError as err:
        raise NotFound(f"No blob has id {blob_id}: it never had one, or was collected.") from err
    except CorruptRecord as err:
        raise Damaged(f"The state of blob {blob_id} is damaged on disk: see the log.") from err
    except OSError as err:
        if err.errno in SHORTAGE_ERRNOS:
            raise from_os_error(err, "read the blob's state") from err
        raise Unreadable(f"The disk does not give the state of blob {blob_id} now: ask again.") from err


def description(record: BlobRecord, options: Keeping, expiry: Expiry) -> Description:
    """All that the record of a blob in any state says, and by the options how long it is kept or served."""
    until_ns = keeping.not_before(record, options, time.time_ns())
    kept_until = rfc3339(until_ns) if keeping.AT_ONCE < until_ns < keeping.NEVER else None
    expires_s = expiry.at_s(served(record)) if record.state is State.COMPLETE else None
    complete = record.state is State.COMPLETE or kept_until is not None
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
        kept_until=kept_until,
        expires=rfc3339(int(expires_s * 1e9)) if expires_s is not None else None,
    )
