"""Pages of locations: a LIST gives the pointers in order, and the pointers have the rest.

A page costs one LIST for each thousand pointers that it passes, and one GET for each pointer whose ETag
changed since it was last seen. Deleted locations cost no GET: the length of a tombstone shows them. To skip a
folded folder costs one more LIST, unless its end is in the LIST that was already read.

A page of a thousand takes tens of thousands of calls, so the event loop has its turn after every fifty.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from services.engines.objects import framing, keys
from services.engines.objects.bucket import Listed
from services.engines.objects.commit import Tools
from services.engines.objects.expiry import Expiry
from services.engines.objects.pointer import Known, ObjectBlob
from services.rules.locations import AFTER_RECORDS
from services.store import Page

_AT_ONCE = 32  # GETs of pointers
_SLICE = 50  # pointers in one turn of the event loop

LivePointer = Listed | Known
"""What is known of a live pointer: that a LIST gave it, or the pointer itself."""


class BucketListing:
    """Lists one bucket. Blobs that have expired by `expiry` are on no page."""

    def __init__(self, tools: Tools, expiry: Expiry | None = None) -> None:
        self.tools = tools
        self._expiry = expiry or Expiry()
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def page(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """See store.Store. Raises Unavailable."""
        found: list[tuple[str, LivePointer]] = []
        prefixes: list[str] = []
        last = ""
        walk = _Walk(self, prefix, delimiter, after)
        async for location, live in walk.live():
            if len(found) + len(prefixes) == limit:
                return Page(await self._blobs(found), prefixes, last)
            cut = location.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                last = location[: cut + len(delimiter)]
                prefixes.append(last)
                walk.skip(last)
            else:
                last = location
                found.append((location, live))
        return Page(await self._blobs(found), prefixes, None)

    async def pointers(self, after: str) -> AsyncIterator[tuple[str, Known]]:
        """Every pointer of a location greater than `after` that is no tombstone, with its location, in order.

        Includes records of front ends and damaged blobs. Costs one GET for each pointer not seen before.
        """
        async for location, live in _Walk(self, "", "", after, records=True).live():
            yield location, await self.read(live)

    async def read(self, live: LivePointer) -> Known:
        """The pointer that a LIST found, from memory if the ETag is the same."""
        known = self._remembered(live)
        if known is not None:
            return known
        assert isinstance(live, Listed)
        async with self._places:
            return await self.tools.pointers.read_listed(live.key.removeprefix(keys.LOC))

    async def read_all(self, found: Sequence[LivePointer]) -> Sequence[Known]:
        """These pointers, in the same order. Those that are not in memory are read, some at once."""
        known: list[Known | None] = []
        for at in range(0, len(found), _SLICE):
            await asyncio.sleep(0)
            known += map(self._remembered, found[at : at + _SLICE])
        missing = [at for at, one in enumerate(known) if one is None]
        left = iter(missing)

        async def some() -> None:
            for at in left:
                known[at] = await self.read(found[at])

        try:
            await asyncio.gather(*(some() for _ in missing[:_AT_ONCE]))
        finally:
            for _ in left:  # after an error nobody begins another
                pass
        return [one for one in known if one is not None]

    def _remembered(self, live: LivePointer) -> Known | None:
        if isinstance(live, Known):
            return live
        location = keys.location_of(live.key.removeprefix(keys.LOC))
        return self.tools.pointers.with_etag(location, live.etag) if location is not None else None

    async def _blobs(self, found: Sequence[tuple[str, LivePointer]]) -> Sequence[ObjectBlob]:
        """The blobs of the pointers, without those that were deleted meanwhile or have expired."""
        known = await self.read_all([live for _, live in found])
        blobs: list[ObjectBlob] = []
        for at in range(0, len(known), _SLICE):
            await asyncio.sleep(0)
            blobs += (blob for one in known[at : at + _SLICE] if (blob := self._expiry.live(one)) is not None)
        return blobs


class _Walk:
    """Goes through the live pointers of a prefix, in order; can skip all that begin with a string."""

    def __init__(
        self, listing: BucketListing, prefix: str, delimiter: str, after: str, *, records: bool = False
    ) -> None:
        self._listing = listing
        self._prefix = prefix
        self._after = after
        self._skipped: str | None = None
        self._end = keys.end_of(prefix)
        self._is_over = False
        first = prefix or ("" if records else AFTER_RECORDS)
        if after > first:
            self._cursor = keys.before_group(after) if keys.is_grouped(after) else keys.name_of(after)
        else:
            self._cursor = keys.start_of(first)
        is_inside = after.startswith(prefix) and len(after) > len(prefix)
        if delimiter and is_inside and after.endswith(delimiter):
            self.skip(after)  # it was a common prefix

    def skip(self, prefix: str) -> None:
        """Pass over everything that begins with `prefix`."""
        self._skipped = prefix
        if not keys.is_grouped(prefix):
            self._cursor = keys.end_of(prefix)
            self._is_over = not self._cursor

    async def live(self) -> AsyncIterator[tuple[str, LivePointer]]:
        """Each location, with what is known of its pointer."""
        bucket = self._listing.tools.bucket
        group: list[Listed] = []  # names that end in a digest, and have the same beginning
        more = True
        while more and not self._is_over:
            cursor = keys.LOC + self._cursor if self._cursor else ""
            found, more = await bucket.list(keys.LOC, cursor)
            for count, listed in enumerate(found):
                if not count % _SLICE:
                    await asyncio.sleep(0)
                name = listed.key.removeprefix(keys.LOC)
                if self._end and name >= self._end:
                    more = False
                    break
                if name <= self._cursor or framing.is_marked(listed.size):
                    continue
                location = keys.location_of(name)
                if group and (location is not None or _stem(name) != _stem(group[0].key)):
                    async for one in self._of_group(group):
                        yield one
                    group = []
                if location is None:
                    group.append(listed)
                elif self._is_wanted(location):
                    yield location, listed
            if found:
                self._cursor = max(self._cursor, found[-1].key.removeprefix(keys.LOC))
        async for one in self._of_group(group):
            yield one

    async def _of_group(self, group: Sequence[Listed]) -> AsyncIterator[tuple[str, LivePointer]]:
        """In the order of their locations, for which each pointer must be read."""
        known = await self._listing.read_all(group)
        found = [(one.pointer.location, one) for one in known if one.pointer is not None]
        for count, (location, one) in enumerate(sorted(found, key=lambda pair: pair[0])):
            if not count % _SLICE:
                await asyncio.sleep(0)
            if self._is_wanted(location):
                yield location, one

    def _is_wanted(self, location: str) -> bool:
        if self._skipped is not None and location.startswith(self._skipped):
            return False
        return location > self._after and location.startswith(self._prefix)


def _stem(name_or_key: str) -> str:
    """A name without its digest."""
    return name_or_key.removeprefix(keys.LOC).rpartition("-")[0]
