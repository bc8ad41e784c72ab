"""The maps of the server: blobs by location, in order, and by id; and which locations are damaged.

In memory, rebuilt from disk at every start, or in the index on disk (`Catalogue`), which is a cache of the
state files. Used from the event loop alone (the committer's thread merely asks whether an id is in use, as a
hint).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Container, Iterator, Mapping, Sized
from typing import Protocol

import msgspec
from sortedcontainers import SortedDict

from common.errors import Damaged, Unreadable
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.quarantine import Note
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.run import NotCached
from services.engines.local.recovery.reconciled import LiveBlobs, Reconciled
from services.engines.local.serving.page import PageWalk
from services.store import Page

_FETCHES = 40  # for one location: more than there are runs of the index

DAMAGED_TEXT = "This blob is damaged on disk and is not served: write it anew, or delete it."

_UNPLACED_TEXT = (
    "What was last written here is only in the journal, and cannot be put in place while the data directory "
    "is read-only: mount its disk for writing."
)


class KnownDamage(msgspec.Struct, frozen=True):
    """A damaged blob of a known location. `name`: its folder in quarantine, None while on its way."""

    blob_id: int
    seq: int
    reason: str
    name: str | None
    note: Note | None


def damaged_of(found: Reconciled) -> dict[str, KnownDamage]:
    """By location: the damaged blobs that a start found."""
    return {
        at: KnownDamage(note.id, note.seq, note.reason, name or None, note if name else None)
        for at, (name, note) in found.damaged.items()
    }


class Ids(Sized, Container[int], Protocol):
    """Ids of blobs."""


class InMemory:
    """All blobs in maps, for a server without an index on disk."""

    def __init__(self, live: LiveBlobs) -> None:
        # Sorted by code point, so that a page of a listing costs what the page holds. To make all three from
        # a plain dict costs 0.5 µs a blob; from the sorted one, which looks up each, three times that.
        self._sorted: SortedDict[str, Blob] = SortedDict(live)
        self._by_id: dict[int, Blob] = {blob.id: blob for blob in live.values()}
        self.bytes = sum([blob.size for blob in live.values()])
        # The dict's own methods: nothing stands between a read and what it looks up.
        self.get: Callable[[str], Blob | None] = self._sorted.get
        self.get_nowait = self.get
        self.by_id: Callable[[int], Blob | None] = self._by_id.get
        self.recent: Mapping[str, Blob | None] = self._sorted

    @property
    def ids(self) -> Ids:
        """Of all blobs."""
        return self._by_id

    def __contains__(self, location: object) -> bool:
        return location in self._sorted

    def __getitem__(self, location: str) -> Blob:
        return self._sorted[location]  # type: ignore[no-any-return]

    def spans(self, start: str, prefix: str = "") -> Iterator[list[Blob]]:
        """The blobs from `start` on, in order, a few at a time."""
        locations, most = self._sorted.irange(start), 4
        while some := list(itertools.islice(locations, most)):
            yield list(map(self._sorted.__getitem__, some))
            most = 32

    def firsts(self, prefix: str) -> Callable[[str], str | None]:
        """A function that gives the first location from its argument on; None if there is none."""
        return lambda start: next(self._sorted.irange(start), None)

    def show(self, location: str, blob: Blob | None) -> None:
        """From now on `location` has `blob` (None: nothing)."""
        old = self.get(location)
        if old is not None:
            del self._by_id[old.id]
            self.bytes -= old.size
        if blob is not None:
            self._sorted[location] = blob
            self._by_id[blob.id] = blob
            self.bytes += blob.size
        elif old is not None:
            del self._sorted[location]


class Index:
    """See the module docstring. `live`: what the start found, or the index on disk that has it."""

    def __init__(self, live: LiveBlobs, damaged: dict[str, KnownDamage]) -> None:
        self.blobs: InMemory | Catalogue = live if isinstance(live, Catalogue) else InMemory(live)
        self.get, self.get_nowait, self.by_id = self.blobs.get, self.blobs.get_nowait, self.blobs.by_id
        self.recent: Mapping[str, Blob | None] = self.blobs.recent  # some, or all, to be had at once
        self.may_wait = isinstance(live, Catalogue)  # to look a blob up may need `fetch` first
        self.damaged = damaged
        # See `unread`: by id, why; by location.
        self.unreadable: dict[int, str] = {}
        self.unadopted: dict[str, Blob] = {}
        self.unplaced: frozenset[str] = frozenset()  # see Reconciled
        self.is_over: Callable[[Blob], bool] = lambda blob: False  # whether it has expired
        self.on_show: Callable[[str], None] | None = None  # told of a location before it changes for anybody
        self.on_change: Callable[[str], None] = lambda location: None  # told of each location that `show` is

    def peek(self, location: str) -> Blob | None:
        """The blob that is served there, if that can be told without waiting; None says nothing."""
        try:
            return self._unless_over(self.get_nowait(location))
        except NotCached:
            return None

    def seen(self, location: str) -> Blob | None:
        """The blob that is there for clients: as `get`, but none that has expired."""
        return self._unless_over(self.get(location))

    def _unless_over(self, blob: Blob | None) -> Blob | None:
        return None if blob is None or self.is_over(blob) else blob

    async def fetch(self, location: str) -> None:
        """Have what the index on disk says of `location` in memory, so that to look it up does not wait."""
        for _ in range(_FETCHES):
            try:
                self.get_nowait(location)
                return
            except NotCached as missing:
                await asyncio.to_thread(missing.fetch)

    def find(self, location: str) -> Blob | None:
        """The blob that is served there. Raises Damaged, Unreadable."""
        blob = self.seen(location)
        if blob is None:
            if location in self.damaged:
                raise Damaged(DAMAGED_TEXT)
            self.must_be_known(location)
        return blob

    def shows(self, blob: Blob) -> bool:
        """True if `blob` is what its location has now."""
        return is_same(self.get(blob.location), blob)

    def must_be_known(self, location: str) -> None:
        """Raise Unreadable where nobody can tell yet what `location` has."""
        if location in self.unplaced:
            raise Unreadable(_UNPLACED_TEXT)
        if not (self.unreadable or self.unadopted) or location in self.blobs or location in self.damaged:
            return
        if location in self.unadopted:
            raise Unreadable("The checksums of this blob are being computed: ask again in a moment.")
        if self.unreadable:
            raise Unreadable(
                f"The disk does not give the state of {len(self.unreadable)} blobs, and this may be one of "
                "them: ask again in a moment. The server's log names them and the way out."
            )

    def show(self, location: str, blob: Blob | None) -> None:
        """From now on `location` has `blob` (None: nothing), and is not damaged."""
        if self.on_show is not None:
            self.on_show(location)
        self.blobs.show(location, blob)
        self.damaged.pop(location, None)
        self.on_change(location)

    async def after(self, location: str, most: int) -> list[Blob]:
        """The next `most` blobs after `location`, records of front ends and what has expired among them."""
        found: list[Blob] = []
        start = location + "\0"
        while len(found) < most:
            try:
                for some in self.blobs.spans(start):
                    found += some
                    if len(found) >= most:
                        break
                else:
                    break
            except NotCached as missing:
                start = missing.reached
                await asyncio.to_thread(missing.fetch)
        return found[:most]

    async def listing(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """See store.Store.list. What has expired is left out, so a page may hold fewer than `limit`."""
        walk = PageWalk(self.blobs, prefix, delimiter, after, limit)
        while True:
            try:
                page = walk.take()
                if any(map(self.is_over, page.blobs)):  # type: ignore[arg-type]
                    blobs = [blob for blob in page.blobs if not self.is_over(blob)]  # type: ignore[arg-type]
                    return Page(blobs, page.prefixes, page.next)
                return page
            except NotCached as missing:
                await asyncio.to_thread(missing.fetch)


def is_same(one: Blob | None, other: Blob | None) -> bool:
    """True if both are the same blob, or none. Each look into the index on disk makes its own object."""
    return one is other or (
        one is not None and other is not None and one.id == other.id and one.packed == other.packed
    )
