"""Finds data that neither a pointer nor a state object has: a killed write stored it after its collection.

A write makes its state object before its data, and the gc removes the state object only when the write has
taken effect or was killed. So first look for the state object, then read the pointer. If neither has the
data, it is garbage for ever, and can be removed at once.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from services.engines.objects import keys
from services.engines.objects.commit import Tools
from services.engines.objects.decide import ended


class Fate(enum.Enum):
    """What the data of one write is."""

    SERVED = "the pointer holds it"
    NAMED = "a state object names it: the gc's business"
    READ = "replaced of late: a reader may still read it"
    KEPT = "damaged, or the pointer cannot be read: kept for people"
    REMOVED = "nobody would have read it again: it is gone"


class Sweeping:
    """Sweeps one bucket. `reading_s`: how long replaced data is kept for those who read it."""

    def __init__(self, tools: Tools, reading_s: float) -> None:
        self._bucket, self._pointers, self._clock = tools
        self._reading_ns = int(reading_s * 1e9)

    async def sweep(self, name: str, txn: str, data_keys: Sequence[str]) -> Fate:
        """Decide on the data of the write `txn` at the location of that name; remove it if it is garbage.

        `data_keys`: its objects that a LIST gave. Raises Unavailable.
        """
        if await self._bucket.get(keys.gc_key(txn)) is not None:
            return Fate.NAMED
        known = await self._pointers.read_listed(name)
        if known.pointer is None and known.etag is not None:
            return Fate.KEPT
        if known.pointer is not None and known.pointer.data_txn == txn:
            return Fate.SERVED
        if await self._bucket.get(keys.damaged_key(txn)) is not None:
            return Fate.KEPT
        end = ended(txn, known)
        if end.at_ns and self._clock.now_ns() - end.at_ns < self._reading_ns:
            return Fate.READ
        await self._bucket.delete(data_keys)
        return Fate.REMOVED
