"""A store in memory: an implementation of services/store.py for tests that need no disk. Handlers run on it,
so they know nothing of paths, locks or syncs.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import NamedTuple

from common.checksum import Bytes, sums_of
from common.errors import GIVEN_UP, Busy, Damaged, NoSpace, NotFound
from common.states import CODE, MSG_COMPLETE, MSG_DELETED, State
from common.times import rfc3339
from common.transfer import Sink
from services.copying import copy_bytes
from services.engine import Events
from services.engines.local.disk.blob import Blob
from services.store import (
    NO_ATTRIBUTES,
    Condition,
    Content,
    Description,
    Event,
    Multiparts,
    Page,
    Usage,
)


class Transition(NamedTuple):
    """See services.engine.Transition."""

    code: int
    message: str
    at: str


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

    def pour_now(self, sink: Sink) -> int:
        return sink.take(memoryview(self._body))

    def close(self) -> None: ...


class MemoryRoom:
    """See transfer.LentRoom."""

    def __init__(self, upload: MemoryUpload) -> None:
        self._upload = upload
        self._memory = memoryview(bytearray(1 << 20))

    def room(self) -> memoryview:
        return self._memory

    def filled(self, count: int) -> bool:
        self._upload.take(self._memory[:count])
        return True

    async def more(self) -> None: ...


class MemoryUpload:
    """See store.Upload."""

    def __init__(self, store: MemoryStore, location: str, condition: Condition, content: Content) -> None:
        self._store = store
        self._location = location
        self._condition = condition
        self._content = content
        self._body = bytearray()
        self._is_over = False

    def _must_go_on(self) -> None:
        if self._is_over:
            raise Busy(GIVEN_UP)

    def lend(self) -> MemoryRoom:
        return MemoryRoom(self)

    def takes(self, data: Bytes) -> bool:
        return False

    def take(self, data: Bytes) -> None:
        self._body += data

    async def write(self, data: Bytes) -> None:
        self._body += data
        if len(self._body) > self._store.room_bytes:
            raise NoSpace("The memory is full.")

    async def sha256(self) -> bytes:
        self._must_go_on()
        return hashlib.sha256(self._body).digest()

    async def commit(self, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> tuple[Blob, bool]:
        self._must_go_on()
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
            type=self._content.type,
            encoding=self._content.encoding,
            modified_ns=time.time_ns(),
            metadata={**self._content.metadata, **attributes},
        )
        store.blobs[self._location] = (blob, bytes(self._body))
        store.damaged.discard(self._location)
        if old is not None:
            store.tell(old[0], MSG_DELETED, State.FAILURE)
        store.tell(blob, MSG_COMPLETE, State.COMPLETE)
        return blob, old is not None

    async def abort(self, reason: str) -> None:
        self._is_over = True
        self._store.aborted.append(reason)


class MemoryStore:
    """See store.Store. `damaged`: locations that answer 500; `room_bytes`: a longer body gets a 507."""

    multiparts: Multiparts | None = None
    is_remote = False
    told_sha256 = b""  # with the last `write_whole`

    def __init__(self, events: Events | None = None) -> None:
        self.events = events or Events()
        self.blobs: dict[str, tuple[Blob, bytes]] = {}
        self.damaged: set[str] = set()
        self.aborted: list[str] = []
        self.room_bytes = 1 << 40
        self.numbers = itertools.count(1)

    async def stat(self, location: str) -> Blob | None:
        if location in self.damaged:
            raise Damaged("This blob is damaged.")
        return self.blobs[location][0] if location in self.blobs else None

    def peek(self, location: str, *, body: bool = True) -> tuple[Blob, bytes] | None:
        found = self.blobs.get(location)
        if found is None or location in self.damaged:
            return None
        return found if body else (found[0], b"")

    async def open(self, location: str) -> MemoryReading:
        if await self.stat(location) is None:
            raise NotFound("There is no such blob.")
        return MemoryReading(*self.blobs[location])

    def open_nowait(self, location: str) -> MemoryReading | None:
        found = None if location in self.damaged else self.blobs.get(location)
        return None if found is None else MemoryReading(*found)

    def _admit(self, location: str, condition: Condition, size: int | None) -> None:
        condition(self.blobs.get(location, (None, b""))[0], location in self.damaged)
        if size is not None and size > self.room_bytes:
            raise NoSpace("The memory is full.")

    async def begin(
        self, location: str, condition: Condition, content: Content, size: int | None, *, waits: bool = True
    ) -> MemoryUpload:
        self._admit(location, condition, size)
        return MemoryUpload(self, location, condition, content)

    def begin_nowait(
        self, location: str, condition: Condition, content: Content, size: int
    ) -> MemoryUpload | None:
        self._admit(location, condition, size)
        return MemoryUpload(self, location, condition, content)

    async def write_whole(
        self, location: str, condition: Condition, content: Content, body: bytes, sha256: bytes = b""
    ) -> tuple[Blob, bool]:
        assert sha256 in (b"", hashlib.sha256(body).digest())
        self.told_sha256 = sha256
        upload = await self.begin(location, condition, content, len(body))
        await upload.write(body)
        return await upload.commit()

    copy = copy_bytes

    async def delete(self, location: str, condition: Condition) -> None:
        condition(self.blobs.get(location, (None, b""))[0], location in self.damaged)
        old = self.blobs.pop(location, None)
        self.damaged.discard(location)
        if old is None:
            raise NotFound("There is no such blob.")
        self.tell(old[0], MSG_DELETED, State.FAILURE)

    def tell(self, blob: Blob, message: str, state: State) -> None:
        """Tell the listeners of one step of a blob."""
        step = Transition(CODE[state], message, rfc3339(time.time_ns()))
        self.events.told(SimpleNamespace(id=blob.id, location=blob.location, events=(step,)), 0)

    async def list(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """Looks at everything, in the simplest way. The engines, whose work is in proportion to the page,
        must give the same.
        """
        shown = {
            at
            for at in self.blobs
            if at.startswith(prefix) and at.startswith("\0") <= prefix.startswith("\0")
        }
        entries: set[str] = set()
        for at in shown:
            cut = at.find(delimiter, len(prefix)) if delimiter else -1
            entries.add(at if cut < 0 else at[: cut + 1])
        found = sorted(one for one in entries if one > after)
        more = found[limit - 1] if len(found) > limit else None
        page = found[:limit]
        blobs = [
            self.blobs[one][0]
            for one in page
            if one in shown and not (delimiter and delimiter in one[len(prefix) :])
        ]
        known = {blob.location for blob in blobs}
        return Page(blobs, [one for one in page if one not in known], more)

    async def usage(self) -> Usage:
        total = sum(blob.size for blob, _ in self.blobs.values())
        return Usage(len(self.blobs), total, len(self.damaged), 0, 1 << 16, 1 << 16, 0, 0, 0, 0)

    async def check_writable(self) -> None: ...


def description(blob: Blob) -> Description:
    at = rfc3339(blob.modified_ns)
    history = [Event(at, "OK", "Blob Data WR Complete!")]
    etag = f'"{blob.sha256.hex()}"'
    return Description(
        blob.id,
        blob.location,
        "OK",
        blob.seq,
        blob.size,
        etag,
        at,
        blob.type,
        blob.encoding,
        {name: said for name, said in blob.metadata.items() if not name.startswith(".")},
        history,
    )
