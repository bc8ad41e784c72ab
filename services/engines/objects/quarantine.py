"""What is kept of damaged blobs: which, whether one is whole after all, restoring and removing it.

`damaged/<txn>` is the note of a damaged blob: its pointer, with the bytes of a small one (`damage.py`). Those
of a larger one stay where they are. Any number of servers may run meanwhile, and a command may die at any
request: it can be given again.

- restore: its bytes are compared with all checksums. If its location still is the damaged blob, one swap
  makes it served again, with its id and history. Else it is written anew, as by a client. The note stays.
- drop: if its location still is the damaged blob, that is deleted first. Then go its data, unless it is
  served again, and the note at last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from common import checksum
from common.checksum import CHUNK_BYTES, Bytes
from common.errors import AlreadyExists, BlobkeepError, Damaged, NotFound, Unavailable
from common.times import rfc3339
from services.copying import write_all
from services.engine import DeletedSince, KeptDamage, Restored
from services.engines.objects import damage, keys, pointer, txn
from services.engines.objects.bucket import Refused, Unclear, pages, starting_with
from services.engines.objects.commit import FIRST_PAUSE_S, MAX_TRIES, Tools, change_at_once
from services.engines.objects.pointer import Facts, Known, Pointer
from services.store import Blob, Content, Store

_UNREADABLE = "its state cannot be read"
_STATES = {
    pointer.DAMAGED: "answers 500",
    pointer.OK: "is served",
}
_UNSAID = "an earlier version did not note why"
_SINCE = "written or deleted since"


class _Note(NamedTuple):
    """`pointer` None: it cannot be read. `size`: of the note in bytes; `body`: the bytes of a small blob."""

    name: str
    pointer: Pointer | None
    size: int
    body: Bytes


class _Else(BlobkeepError):
    """The location is not this damaged blob any more. Never shown."""


class ObjectsQuarantine:
    """See engine.Quarantine."""

    def __init__(self, tools: Tools, store: Store) -> None:
        self._tools = tools
        self._bucket, self._pointers, self._clock = tools
        self._store = store

    async def find(self) -> Sequence[KeptDamage]:
        """See Quarantine. One LIST for each 1,000, and two GETs for each."""
        found = []
        async for page in pages(self._bucket, keys.DAMAGED):
            for listed in page:
                name = listed.key.removeprefix(keys.DAMAGED)
                if txn.is_txn(name):
                    known, size = await self._pointers.read_note(name)
                    note = _Note(name, known.pointer, size, b"")
                    found.append(await self._about(note, listed.modified_ns))
        return found

    async def examine(self, name: str) -> tuple[KeptDamage, list[int] | None, str]:
        """See Quarantine. Reads all of its bytes."""
        about = next((one for one in await self.find() if one.name == name), None)
        if about is None:
            raise _no_such(name)
        note = await self._read(name)
        if note.pointer is None or note.pointer.facts is None:
            return about, None, _UNREADABLE
        bad, wrong = [], ""
        try:
            async for chunk, _, reason in self._chunks(note, note.pointer.facts):
                if reason:
                    bad.append(chunk)
                    wrong = wrong or reason
        except Damaged as err:
            return about, None, str(err)
        return about, bad, wrong

    async def restore(self, name: str, to: str | None, *, even_deleted: bool) -> Restored:
        """See Quarantine."""
        note = await self._read(name)
        found = note.pointer
        if found is None or found.facts is None:
            raise Damaged(_UNREADABLE)
        async for _ in self._right_chunks(note, found.facts):
            pass
        if to is None and await self._swap_back(found, note.body):
            return Restored(found.location, found.facts.size)
        there = await self._there(to or found.location)
        if there is not None and there.sha256 != found.facts.sha256:
            raise AlreadyExists("Another blob is there.")
        if there is None:
            if to is None and not even_deleted:
                raise DeletedSince("It was deleted since.")
            await self._write_anew(note, found.facts, to or found.location)
        return Restored(to or found.location, found.facts.size)

    async def drop(self, name: str) -> int:
        """See Quarantine."""
        known, freed_bytes = await self._pointers.read_note(name) if txn.is_txn(name) else (pointer.ABSENT, 0)
        if known.etag is None:
            raise _no_such(name)
        found = known.pointer
        if found is not None:
            await self._delete(found)
            now = await self._pointers.read(found.location)
            if now.pointer is None and now.etag is not None:
                raise Unavailable("The pointer of its location cannot be read: nothing was removed.")
            if found.data_txn and (now.pointer is None or now.pointer.data_txn != name):
                stem = keys.data_stem(found.location, name)
                async for page in starting_with(self._bucket, keys.DATA, stem):
                    await self._bucket.delete([listed.key for listed in page])
                    freed_bytes += sum(listed.size for listed in page)
        await self._bucket.delete([keys.damaged_key(name)])
        return freed_bytes

    # --- inside ---

    async def _read(self, name: str) -> _Note:
        got = await self._bucket.get(keys.damaged_key(name)) if txn.is_txn(name) else None
        if got is None:
            raise _no_such(name)
        known = pointer.seen(got.etag, got.data, got.size, None)
        return _Note(name, known.pointer, got.size, memoryview(got.data)[known.body_at :])

    async def _about(self, note: _Note, kept_ns: int) -> KeptDamage:
        found = note.pointer
        if found is None or found.facts is None:
            return KeptDamage(note.name, None, damage.UNREADABLE, rfc3339(kept_ns), _SINCE, None)
        now = (await self._pointers.read(found.location)).pointer
        state = _STATES.get(now.state, _SINCE) if now is not None and now.txn == note.name else _SINCE
        return KeptDamage(
            note.name, found.location, found.reason or _UNSAID, rfc3339(kept_ns), state, found.facts.size
        )

    async def _chunks(self, note: _Note, facts: Facts) -> AsyncIterator[tuple[int, Bytes, str]]:
        """Every chunk: its number, its bytes, and what is wrong with them. Raises Damaged where no checksum
        tells."""
        assert note.pointer is not None
        location, crcs = note.pointer.location, facts.crcs
        if facts.sums_crc is not None:
            got = await self._bucket.get(keys.sums_key(location, note.name))
            if got is None or checksum.crc(got.data) != facts.sums_crc:
                raise Damaged("the object of its checksums is missing or wrong")
            crcs = bytes(got.data)
        for chunk in range(checksum.chunk_count(facts.size)):
            at = chunk * CHUNK_BYTES
            data: Bytes = memoryview(note.body)[at : at + CHUNK_BYTES]
            if facts.part_bytes:
                part, first = divmod(at, facts.part_bytes)
                key = keys.part_key(location, note.name, part)
                got = await self._bucket.get(key, first, min(CHUNK_BYTES, facts.size - at))
                data = got.data if got is not None else b""
            yield chunk, data, damage.wrong_chunk(facts, crcs, chunk, data)

    async def _right_chunks(self, note: _Note, facts: Facts) -> AsyncIterator[Bytes]:
        """The bytes of every chunk. Raises Damaged at the first that is wrong."""
        async for _, data, reason in self._chunks(note, facts):
            if reason:
                raise Damaged(reason)
            yield bytes(data)

    async def _swap_back(self, found: Pointer, body: Bytes) -> bool:
        """Make the location serve the blob again, if it still is the damaged one; whether it does."""
        key = keys.pointer_key(found.location)
        for attempt in range(MAX_TRIES):
            known = await self._pointers.read(found.location)
            if known.pointer is None or known.etag is None or known.pointer.txn != found.txn:
                return False
            if known.pointer.state == pointer.OK:
                return True
            try:
                data = pointer.encode(pointer.restored(known.pointer), body)
                await self._bucket.put(key, data, known.etag)
            except (Refused, Unclear):
                await self._clock.sleep(FIRST_PAUSE_S * 2**attempt)
            else:
                return True
            finally:
                self._pointers.forget(found.location)
        raise Unavailable("The object store does not take this write: try again.")

    async def _there(self, location: str) -> Blob | None:
        try:
            return await self._store.stat(location)
        except Damaged:
            return None  # what is damaged there now is kept, too

    async def _write_anew(self, note: _Note, facts: Facts, location: str) -> None:
        """Raises AlreadyExists if another blob came there meanwhile."""
        content = Content(facts.type, facts.encoding, facts.metadata)
        upload = await self._store.begin(location, _only_new, content, facts.size)
        await write_all(upload, self._right_chunks(note, facts))
        await upload.commit()

    async def _delete(self, found: Pointer) -> None:
        """Delete the location, if it still is the damaged blob."""

        def judge(known: Known) -> None:
            now = known.pointer
            if now is None or now.txn != found.txn or now.state != pointer.DAMAGED:
                raise _Else

        try:
            await change_at_once(self._tools, found.location, judge, None)
        except _Else:
            return


def _only_new(blob: Blob | None, damaged: bool) -> None:
    if blob is not None:
        raise AlreadyExists("Another blob is there.")


def _no_such(name: str) -> NotFound:
    return NotFound(f"Nothing in quarantine is named {name!r}: see `quarantine list`.")
