"""Small blobs that are read often, in memory: whether one is still what its location holds, the store says.

A GET names the ETag of the object in memory, and the store answers 304 without the bytes if it has the same.
So nothing is served that the store did not confirm after the request came. An object in memory was verified
when it was read.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from common.checksum import Bytes
from common.second_reads import SecondReads
from services.engines.objects.pointer import Known

_ENTRY_BYTES = 2 << 10  # what an entry costs beside its object
# One that was not read for so long gives way at once; else to read every blob once would displace all.
_READ_OFTEN_S = 10.0


class HeldObject(NamedTuple):
    """`etag`: of `known`; `whole`: the bytes of the pointer's object, with the blob behind it."""

    known: Known
    etag: str
    whole: bytes


class HeldBlobs:
    """At most `max_bytes` of objects, the most recently read ones."""

    def __init__(self, max_bytes: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._left_bytes = self._max_bytes = max_bytes
        self._now_s = now_s
        self._second_reads = SecondReads()
        self._held: OrderedDict[str, tuple[HeldObject, float]] = OrderedDict()

    def find(self, location: str) -> HeldObject | None:
        """What was kept of this location."""
        found = self._held.get(location)
        return found[0] if found is not None else None

    def is_current(self, location: str, held: HeldObject) -> None:
        """The store has confirmed that the location still holds it. Another read may have dropped it."""
        if self.find(location) is held:
            self._held[location] = held, self._now_s()
            self._held.move_to_end(location)

    def saw(self, location: str, known: Known, whole: Bytes) -> None:
        """An object was read and verified: keep a copy if it is read often. What was kept is out of date."""
        self.drop(location)
        cost = len(whole) + _ENTRY_BYTES
        if not known.etag or cost > self._max_bytes:
            return
        key = location, known.etag
        if not self._second_reads.lets_in(key, is_full=self._left_bytes < cost and self._all_are_read()):
            return
        while self._left_bytes < cost:
            self.drop(next(iter(self._held)))
        self._held[location] = HeldObject(known, known.etag, bytes(whole)), self._now_s()
        self._left_bytes -= cost

    def drop(self, location: str) -> None:
        """Forget it."""
        found = self._held.pop(location, None)
        if found is not None:
            self._left_bytes += len(found[0].whole) + _ENTRY_BYTES

    def _all_are_read(self) -> bool:
        _, read_s = next(iter(self._held.values()))
        return self._now_s() - read_s < _READ_OFTEN_S
