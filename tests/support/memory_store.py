"""A store in memory: the second implementation of services/store.py, where the disk is not the point.

That the handlers run on it shows that they know nothing of paths, locks or syncs.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import AsyncIterator

from common.checksum import Bytes, sums_of
from common.errors import Damaged, NoSpace, NotFound
from common.times import rfc3339
from services.store import Blob, Condition, Counts, DamagedBlob, Description, Event, Page, Sink
from services.watch.feed import Feed
from services.watch.histogram import Histogram


class MemoryReading:
    """See store.Reading."""

    def __init__(self, blob: Blob, body: bytes) -> None:
        self.blob = blob
        self._body = body

    async def chunks(self, first: int, last: int) -> AsyncIterator[Bytes]:
        yield self._body[first : last + 1]

    async def pour(self, first: int, last: int, sink: Sink) -> None:
        while first <= last:
            first += sink.take(memoryview(self._body)[first : last + 1])
            await sink.ready()

    def close(self) -> None: ...


class MemoryUpload:
    """See store.Upload."""

    def __init__(
        self, store: MemoryStore, location: str, condition: Condition, media_type: str, encoding: str
    ) -> None:
        self._store = store
        self._location = location
        self._condition = condition
        self._type = media_type
        self._encoding = encoding
        self._body = bytearray()

    async def write(self, data: Bytes) -> None:
        self._body += data
        if len(self._body) > self._store.room_bytes:
            raise NoSpace("The memory is full.")

    async def sha256(self) -> bytes:
        return hashlib.sha256(self._body).digest()

    async def commit(self) -> tuple[Blob, bool]:
        store = self._store
        old = store.blobs.get(self._location)
        self._condition(old[0] if old else None, self._location in store.damaged)
        sha256, crcs = sums_of(self._body)
        number = next(store.numbers)
        blob = Blob.make(
            location=self._location,
            id=number,
            seq=number,
            size=len(self._body),
            sha256=sha256,
            crcs=crcs,
            type=self._type,
            encoding=self._encoding,
            modified_ns=time.time_ns(),
        )
        store.blobs[self._location] = (blob, bytes(self._body))
        store.damaged.discard(self._location)
        return blob, old is not None

    async def abort(self, reason: str) -> None:
        self._store.aborted.append(reason)


class MemoryStore:
    """See store.Store. `damaged`: locations that answer 500; `room_bytes`: a longer body finds no room."""

    def __init__(self) -> None:
        self.blobs: dict[str, tuple[Blob, bytes]] = {}
        self.damaged: set[str] = set()
        self.aborted: list[str] = []
        self.room_bytes = 1 << 40
        self.numbers = itertools.count(1)
        self.feed = Feed()

    def commits(self) -> tuple[Histogram, Histogram]:
        return Histogram([1.0]), Histogram([1.0])

    def find(self, location: str) -> Blob | None:
        if location in self.damaged:
            raise Damaged("This blob is damaged.")
        return self.blobs[location][0] if location in self.blobs else None

    def at_hand(self, location: str) -> tuple[Blob, bytes] | None:
        found = self.blobs.get(location)
        return None if found is None or location in self.damaged else found

    async def open(self, location: str) -> MemoryReading:
        if self.find(location) is None:
            raise NotFound("There is no such blob.")
        return MemoryReading(*self.blobs[location])

    def admit(self, location: str, condition: Condition, size: int | None) -> None:
        condition(self.blobs.get(location, (None, b""))[0], location in self.damaged)
        if size is not None and size > self.room_bytes:
            raise NoSpace("The memory is full.")

    async def begin(
        self, location: str, condition: Condition, media_type: str, encoding: str, size: int | None
    ) -> MemoryUpload:
        self.admit(location, condition, size)
        return MemoryUpload(self, location, condition, media_type, encoding)

    async def write_whole(
        self, location: str, condition: Condition, media_type: str, encoding: str, body: bytes
    ) -> tuple[Blob, bool]:
        upload = await self.begin(location, condition, media_type, encoding, len(body))
        await upload.write(body)
        return await upload.commit()

    async def delete(self, location: str, condition: Condition) -> None:
        condition(self.blobs.get(location, (None, b""))[0], location in self.damaged)
        if self.blobs.pop(location, None) is None:
            raise NotFound("There is no such blob.")

    def page(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        found = sorted(at for at in self.blobs if at.startswith(prefix) and at > after)
        more = found[limit - 1] if len(found) > limit else None
        return Page([self.blobs[at][0] for at in found[:limit]], [], more)

    async def list_by_id(self, state: str | None, after: int, limit: int) -> list[Description]:
        blobs = sorted((blob for blob, _ in self.blobs.values() if blob.id > after), key=lambda b: b.id)
        return [_describe(blob) for blob in blobs if state in (None, "OK")][:limit]

    async def describe(self, blob_id: int) -> Description:
        for blob, _ in self.blobs.values():
            if blob.id == blob_id:
                return _describe(blob)
        raise NotFound(f"No blob has id {blob_id}.")

    def counts(self) -> Counts:
        total = sum(blob.size for blob, _ in self.blobs.values())
        return Counts(len(self.blobs), total, len(self.damaged), 0, 1 << 16, 1 << 16, 0, 0, 0, 0)

    def damaged_blobs(self, limit: int) -> list[DamagedBlob]:
        return [DamagedBlob(at, 0, "", None) for at in sorted(self.damaged)[:limit]]

    async def check_writable(self) -> None: ...


def _describe(blob: Blob) -> Description:
    at = rfc3339(blob.modified_ns)
    history = [Event(at, "OK", "Blob Data WR Complete!")]
    etag = f'"{blob.sha256.hex()}"'
    return Description(
        blob.id, blob.location, "OK", blob.seq, blob.size, etag, at, blob.type, blob.encoding, history
    )
