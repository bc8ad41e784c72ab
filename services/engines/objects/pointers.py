"""Reads pointers from the bucket, and remembers them in memory.

A remembered pointer is never served, and no request is refused because of it: it only says what to try first.
A swap that succeeds proves that it was right.
"""

from __future__ import annotations

from collections import OrderedDict

from common.checksum import Bytes
from common.errors import CorruptRecord
from services.engines.objects import framing, keys, pointer
from services.engines.objects.bucket import Bucket, Clock, Got, Unchanged
from services.engines.objects.held import HeldObject
from services.engines.objects.pointer import Known

# How long a remembered pointer is tried first. Not longer: a pointer's history has only its last states, and
# must still contain the remembered one (decide.Outcome.UNKNOWN).
REMEMBERED_NS = 2_000_000_000
_MOST_REMEMBERED = 16_384  # some 1 KiB each
# Holds nearly every pointer, without the bytes of a blob behind it.
HEAD_BYTES = 8 << 10


class Pointers:
    """The pointers of one bucket. Remembers the last ones."""

    def __init__(self, bucket: Bucket, clock: Clock) -> None:
        self._bucket = bucket
        self._clock = clock
        self._by_location: OrderedDict[str, tuple[Known, int]] = OrderedDict()

    async def read(self, location: str) -> Known:
        """The pointer as it is now; of a small blob, without its bytes. Raises Unavailable."""
        return self._remember(location, await self._head(keys.pointer_key(location)))

    async def read_again(self, location: str, held: HeldObject) -> tuple[Known, Bytes]:
        """As `read_whole`. Gives what is `held` if that is still there. Raises Unavailable."""
        got = await self._bucket.get_changed(keys.pointer_key(location), held.etag)
        if isinstance(got, Unchanged):
            self.note(location, held.known)
            return held.known, held.whole
        return self._remember(location, got), got.data if got is not None else b""

    async def read_whole(self, location: str) -> tuple[Known, Bytes]:
        """The pointer as it is now, and the bytes of its object. Raises Unavailable."""
        got = await self._bucket.get(keys.pointer_key(location))
        return self._remember(location, got), got.data if got is not None else b""

    async def read_listed(self, name: str) -> Known:
        """The pointer of a name that a LIST gave, whose location may not be known. Raises Unavailable."""
        got = await self._head(keys.LOC + name)
        if got is None:
            return pointer.ABSENT
        known = pointer.seen(got.etag, got.data, got.size, None)
        if known.pointer is None or keys.name_of(known.pointer.location) != name:
            return Known(got.etag, None)
        self.note(known.pointer.location, known)
        return known

    async def read_note(self, txn: str) -> tuple[Known, int]:
        """What is kept of the damaged blob of a write, without its bytes; and the length of the note.

        Raises Unavailable.
        """
        got = await self._head(keys.damaged_key(txn))
        return (pointer.seen(got.etag, got.data, got.size, None), got.size) if got else (pointer.ABSENT, 0)

    def recent(self, location: str) -> Known | None:
        """The pointer that was seen there a moment ago; None if none was."""
        seen = self._by_location.get(location)
        if seen is None:
            return None
        known, seen_ns = seen
        return known if abs(self._clock.now_ns() - seen_ns) < REMEMBERED_NS else None

    def with_etag(self, location: str, etag: str) -> Known | None:
        """The pointer that was seen there with this ETag, however long ago; None if none was."""
        known, _ = self._by_location.get(location, (None, 0))
        return known if known is not None and known.etag == etag else None

    def note(self, location: str, known: Known) -> None:
        """Remember what was seen or written."""
        self._by_location[location] = known, self._clock.now_ns()
        self._by_location.move_to_end(location)
        if len(self._by_location) > _MOST_REMEMBERED:
            self._by_location.popitem(last=False)

    def forget(self, location: str) -> None:
        """Forget what was seen there."""
        self._by_location.pop(location, None)

    async def _head(self, key: str) -> Got | None:
        """The beginning of an object, which has all of its JSON."""
        got = await self._bucket.get(key, limit=HEAD_BYTES)
        while got is not None and (more := _missing(got)):
            got = await self._bucket.get(key, limit=more)
        return got

    def _remember(self, location: str, got: Got | None) -> Known:
        if got is None:
            known = pointer.ABSENT
        else:
            known = pointer.seen(got.etag, got.data, got.size, location)
        self.note(location, known)
        return known


def _missing(got: Got) -> int:
    """How many bytes must be read to have the JSON; 0 if they were read, or the object has no more."""
    try:
        needed = framing.needed(got.data)
    except CorruptRecord:
        return 0
    return needed if len(got.data) < min(needed, got.size) else 0
