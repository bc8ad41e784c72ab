"""For operators: blobs by id, in any state. See engine.Admin.

An id contains a txn and a location, so a complete blob is found by its pointer, and any other by its state
object. Pages are in the order of locations. A page with blobs in Pending or Failure reads every state object.
Those are the backlog of the gc, which is short.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from common.errors import BadRequest, CorruptRecord, Damaged, NotFound
from common.states import WORD_OF_CODE
from services.engines.objects import damage, entry, history, keys, txn
from services.engines.objects.bucket import pages
from services.engines.objects.commit import Tools
from services.engines.objects.decide import Finding, finding
from services.engines.objects.entry import Entry
from services.engines.objects.pointer import KILLED, ObjectBlob
from services.engines.objects.quarantine import ObjectsQuarantine
from services.engines.objects.store import ObjectsStore
from services.store import Blob, Condition, DamagedBlob, Description, Reading

_OK = WORD_OF_CODE[0]
_NOT_KEPT = (
    "Write this blob again, from a backup: the engine objects keeps none that was deleted or replaced."
)


class ObjectsAdmin:
    """See engine.Admin."""

    def __init__(self, tools: Tools, store: ObjectsStore) -> None:
        self._tools = tools
        self._store = store
        self._places = asyncio.Semaphore(32)
        self.quarantine = ObjectsQuarantine(tools, store)

    async def list_by_id(self, state: str | None, after: str | None, limit: int) -> Sequence[Description]:
        """See engine.Admin."""
        begin = ("", "")
        if after is not None:
            parsed = txn.parse_blob_id(after)
            if parsed is None:
                raise BadRequest("after= must be the id of a blob: pass the last page's next.")
            begin = parsed
        found: list[tuple[tuple[str, str], Description]] = []
        if state in (None, _OK):
            async for _, known in self._store.listing.pointers(begin[0]):
                blob = known.blob
                if blob is not None:
                    found.append(((blob.location, blob.version), self._about(blob)))
                if len(found) == limit:
                    break
        if state != _OK:
            for place, one in await self._unfinished():
                if place > begin and state in (None, one.state):
                    found.append((place, one))
        return [one for _, one in sorted(found, key=lambda pair: pair[0])[:limit]]

    async def describe(self, blob_id: str) -> Description:
        """See engine.Admin."""
        parsed = txn.parse_blob_id(blob_id)
        if parsed is None:
            raise NotFound("No blob has such an id.")
        location, write = parsed
        known = await self._tools.pointers.read(location)
        pointer = known.pointer
        if pointer is None and known.etag is not None:
            raise Damaged(damage.TEXT)
        if pointer is not None and pointer.txn == write and pointer.facts is not None:
            return self._about(ObjectBlob(pointer, pointer.facts))
        past = pointer.find(write) if pointer is not None else None
        if past is None or past.state == KILLED:  # else it took effect, and its state object is behind
            found = await self._entry(write)
            if found is not None and found.brings:
                return history.description(history.of_entry(found), type=found.type)
        if pointer is None or past is None:
            raise NotFound("No blob has this id: it never had one, or was collected.")
        return history.description_of_past(pointer, past)

    async def find_damaged(self) -> Sequence[DamagedBlob]:
        """See engine.Admin. Looks at every pointer."""
        found = []
        async for location, known in self._store.listing.pointers(""):
            if known.is_damaged:
                found.append(damage.of_pointer(location, known))
        return found

    async def open(self, blob_id: str) -> Reading:
        """See engine.Admin. A deleted or replaced blob is kept only for those who still read it."""
        parsed = txn.parse_blob_id(blob_id)
        if parsed is None:
            raise NotFound("No blob has such an id.")
        reading = await self._store.open(parsed[0])
        if str(reading.blob.id) != blob_id:
            reading.close()
            raise NotFound(_NOT_KEPT)
        return reading

    async def undelete(self, blob_id: str, location: str, condition: Condition) -> tuple[Blob, bool]:
        """See engine.Admin."""
        raise NotFound(_NOT_KEPT)

    def damaged(self, limit: int) -> Sequence[DamagedBlob]:
        """See engine.Admin."""
        return self._store.damaged_blobs(limit)

    def _about(self, blob: ObjectBlob) -> Description:
        """Of what a pointer holds, damaged or not."""
        about = history.of_pointer(blob.pointer, blob.facts)
        return history.description(about, pointer=blob.pointer, expires_s=self._store.expiry.at_s(blob))

    async def _unfinished(self) -> list[tuple[tuple[str, str], Description]]:
        """The blobs that are Pending or wait for the gc, each with its place in the order of locations."""
        found: list[tuple[tuple[str, str], Description]] = []
        async for page in pages(self._tools.bucket, keys.GC):
            names = [one.key.removeprefix(keys.GC) for one in page]
            entries = await asyncio.gather(*(self._entry(name) for name in names if txn.is_txn(name)))
            for described in await asyncio.gather(
                *(self._describe(one) for one in entries if one is not None)
            ):
                found += described
        return found

    async def _describe(self, one: Entry) -> list[tuple[tuple[str, str], Description]]:
        async with self._places:
            known = await self._tools.pointers.read(one.location)
        if finding(one, known) is not Finding.COMMITTED:
            about = history.description(history.of_entry(one), type=one.type)
            return [((one.location, one.txn), about)] if one.brings else []
        past = known.pointer.find(one.old) if known.pointer is not None and one.old else None
        if known.pointer is None or past is None:
            return []
        return [((one.location, one.old), history.description_of_past(known.pointer, past))]

    async def _entry(self, write: str) -> Entry | None:
        async with self._places:
            got = await self._tools.bucket.get(keys.gc_key(write))
        try:
            return entry.decode(got.data) if got is not None else None
        except CorruptRecord:
            return None  # the gc reports it
