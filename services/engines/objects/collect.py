"""How the gc removes data that nobody will read again: claim, fence, then delete.

It handles one state object at a time. The order of the steps allows any number of collectors and writers, and
any of them may die between two requests. The steps run on any Bucket: the model test explores this code.

- claim: a Pending state object without a sign of life is swapped to Failure. People see that, and its write
  stops if it still runs.
- fence: the pointer gets the next generation, and says that the write was killed (fence.py). From then on no
  swap of that write can succeed: the store refuses a swap of the old pointer, and a writer that reads the new
  one sees that its write was killed. Safety depends on this step, and not on the state object: that is
  removed in the end, and a delayed request may create it again.
- delete: first the data, then the state object, so that an interrupted delete is found again.

A write that took effect needs neither claim nor fence: what it replaced is garbage as soon as no reader is
left.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from common.errors import CorruptRecord
from services.engines.objects import entry as entries
from services.engines.objects import keys
from services.engines.objects.bucket import Refused, Unclear, starting_with
from services.engines.objects.commit import Tools
from services.engines.objects.decide import Ended, Finding, ended, finding, garbage
from services.engines.objects.entry import FAILURE, Entry
from services.engines.objects.fence import fence
from services.engines.objects.pointer import Known

_AT_ONCE = 1000  # objects that one request removes, at most
REASON = "Found without a sign of life - Deleting!"


class Result(enum.Enum):
    """What came of one state object."""

    COLLECTED = "it and its garbage are gone"
    ALIVE = "its write may still be going on"
    READ = "a reader may still read what it would remove"
    AGAIN = "somebody else changed it meanwhile: the next pass looks anew"
    UNREADABLE = "it, or the pointer of its location, cannot be read: left as it is, and reported"


class Collecting:
    """Collects with one bucket. `reading_s`: how long replaced data is kept for those who read it."""

    def __init__(self, tools: Tools, reading_s: float) -> None:
        self._tools = tools
        self._bucket, self._pointers, self._clock = tools
        self._reading_ns = int(reading_s * 1e9)
        self.removed_objects = 0
        self.fences = 0

    async def settle(self, txn: str, *, silent: bool) -> Result:
        """Do what can be done for the state object of the write `txn`.

        `silent`: there was no sign of life for so long that a Pending write may be given up. Safety does not
        depend on that. Raises Unavailable.
        """
        key = keys.gc_key(txn)
        got = await self._bucket.get(key)
        if got is None:
            return Result.COLLECTED
        try:
            entry = entries.decode(got.data)
        except CorruptRecord:
            return Result.UNREADABLE
        now = await self._pointers.read(entry.location)
        found = finding(entry, now)
        if found is Finding.OPEN and entry.state != FAILURE:
            if not silent:
                return Result.ALIVE
            entry = entries.failed(entry, REASON, self._clock.now_ns())
            try:
                await self._bucket.put(key, entries.encode(entry), got.etag)
            except (Refused, Unclear):
                return Result.AGAIN
        while found is Finding.OPEN:
            now, is_ours = await fence(self._tools, entry.location, entry.txn, entry.base)
            self.fences += is_ours
            found = finding(entry, now)
        if found is Finding.UNREADABLE:
            return Result.UNREADABLE
        return await self._delete(entry, now)

    async def _delete(self, entry: Entry, now: Known) -> Result:
        for write in garbage(entry, now):
            end = ended(write, now)
            if end.at_ns and self._clock.now_ns() - end.at_ns < self._reading_ns:
                return Result.READ
            if await self._is_kept(write, end):
                continue
            if write == entry.old and entry.old_parts:
                await self._remove(entries.old_keys(entry))
            else:
                stem = keys.data_stem(entry.location, write)
                async for page in starting_with(self._bucket, keys.DATA, stem):
                    await self._remove([listed.key for listed in page])
        await self._bucket.delete([keys.gc_key(entry.txn)])
        return Result.COLLECTED

    async def _is_kept(self, write: str, end: Ended) -> bool:
        """Whether this data is damaged, and so kept: what cannot be judged is never thrown away."""
        if end.damaged is not None:
            return end.damaged
        return await self._bucket.get(keys.damaged_key(write)) is not None

    async def _remove(self, data_keys: Sequence[str]) -> None:
        for at in range(0, len(data_keys), _AT_ONCE):
            await self._bucket.delete(data_keys[at : at + _AT_ONCE])
        self.removed_objects += len(data_keys)
