"""The blobs of a directory by location, in order, and by id, from an index on disk and a little memory.

What changed since the newest run was written is in memory (`changed`; None for a deleted blob); the rest is
in the runs. Memory does not grow with the blobs, except one bit for each id: it keeps a limited number of the
last lookups.

Used only from the event loop; before that, from the thread that opens the engine. It never changes the disk.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from services.engines.local.disk.blob import Blob
from services.engines.local.index.changes import Changes, Span
from services.engines.local.index.folder_search import FolderSearch
from services.engines.local.index.format import IndexDamaged, id_key, location_key
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.run import NotCached, Paused, Run

# Of what was looked up last, twice as many are kept at the most: some 500 bytes each.
_KEPT = 8192
# So many deleted locations in a row are passed over before others have their turn: some 2 ms.
_MOST_PASSED = 1000


class _Unknown:
    pass


_UNKNOWN = _Unknown()


class Catalogue:
    """See the module docstring. `runs`: the newest first. Raises IndexDamaged if a run is damaged."""

    def __init__(self, runs: list[Run], salt: bytes, ids: IdSet, size_bytes: int) -> None:
        self.runs = runs
        self.salt = salt
        self.ids = ids
        self.bytes = size_bytes  # of the data of all blobs
        self.changed = Changes()
        self.frozen: Changes | None = None  # on its way into a run
        self._by_id: dict[int, str] = {}  # of those in `changed` and `frozen`: where it is
        # The last lookups (None: no blob), and the ones before. `recent` is always the same object, so that
        # callers may look into it directly.
        self.recent: dict[str, Blob | None] = {}
        self._old: dict[str, Blob | None] = {}
        self.on_damage: Callable[[IndexDamaged], None] = lambda err: None

    # --- one ---

    def get(self, location: str) -> Blob | None:
        """The blob of a location. May wait for the disk."""
        found = self.recent.get(location, _UNKNOWN)
        return self._look_up(location, True) if found is _UNKNOWN else cast(Blob | None, found)

    def get_nowait(self, location: str) -> Blob | None:
        """The same. Raises NotCached instead of waiting."""
        found = self.recent.get(location, _UNKNOWN)
        return self._look_up(location, False) if found is _UNKNOWN else cast(Blob | None, found)

    def _look_up(self, location: str, waits: bool) -> Blob | None:
        found: Blob | _Unknown | None = self._old.get(location, _UNKNOWN)
        if found is _UNKNOWN:
            found = self.changed.blobs.get(location, _UNKNOWN)
        if found is _UNKNOWN and self.frozen is not None:
            found = self.frozen.blobs.get(location, _UNKNOWN)
        if found is _UNKNOWN:
            found = self._in_runs(location, waits)
        blob = cast(Blob | None, found)
        self._keep(location, blob)
        return blob

    def _in_runs(self, location: str, waits: bool) -> Blob | None:
        key = location_key(self.salt, location)
        try:
            for run in self.runs:
                found = run.find(location, key, waits)
                if found is not None:
                    return found[0]
        except IndexDamaged as err:
            self.on_damage(err)
            raise
        return None

    def _keep(self, location: str, blob: Blob | None) -> None:
        if len(self.recent) >= _KEPT:
            self._old = dict(self.recent)
            self.recent.clear()
        self.recent[location] = blob

    def __contains__(self, location: object) -> bool:
        return isinstance(location, str) and self.get(location) is not None

    def __len__(self) -> int:
        return len(self.ids)

    def by_id(self, blob_id: int) -> Blob | None:
        """The blob with this id that is served at its location. May wait for the disk."""
        if blob_id not in self.ids:
            return None
        location = self._by_id.get(blob_id)
        if location is not None:
            blob = self.get(location)
            return blob if blob is not None and blob.id == blob_id else None
        key = id_key(self.salt, blob_id)
        try:
            for run in self.runs:
                for found in run.with_id(blob_id, key, True):
                    blob = self.get(found.location)
                    if blob is not None and blob.id == blob_id:
                        return blob
            raise IndexDamaged(f"The index is damaged: it has blob {blob_id}, and does not say where.")
        except IndexDamaged as err:
            self.on_damage(err)
            raise

    # --- changes ---

    def show(self, location: str, blob: Blob | None) -> None:
        """From now on `location` has `blob` (None: nothing). May wait for a disk."""
        old = self.get(location)
        if old is not None:
            self.bytes -= old.size
            self.ids.discard(old.id)
            self._by_id.pop(old.id, None)
        elif blob is None:
            return
        self.changed.show(location, old, blob)
        if blob is not None:
            self.bytes += blob.size
            self.ids.add(blob.id)
            self._by_id[blob.id] = location
        self._keep(location, blob)
        self._old.pop(location, None)

    def __setitem__(self, location: str, blob: Blob) -> None:
        self.show(location, blob)

    def pop(self, location: str) -> Blob:
        """Take it out. Raises KeyError."""
        blob = self.get(location)
        if blob is None:
            raise KeyError(location)
        self.show(location, None)
        return blob

    def freeze(self) -> Changes:
        """All changes, which are to become the newest run. They must not be modified afterwards."""
        if self.frozen is None:
            self.frozen = self.changed
        else:  # the last one could not be written: both
            self.frozen = self.frozen.followed_by(self.changed)
        self.changed = Changes()
        return self.frozen

    def thaw(self, run: Run | None) -> None:
        """The frozen changes are now in `run` (None: there were none)."""
        if run is not None:
            self.runs = [run, *self.runs]
        self.frozen = None
        if not self.changed:
            self._by_id = {}
        else:
            self._by_id = {blob.id: at for at, blob in self.changed.blobs.items() if blob is not None}

    def replace(self, merged: list[Run], by: Run) -> None:
        """Replace these runs, neighbours in age, by `by`, which has the same content."""
        first = self.runs.index(merged[0])
        self.runs = [*self.runs[:first], by, *self.runs[first + len(merged) :]]

    # --- many, in order ---

    def spans(self, start: str, prefix: str = "", *, waits: bool = False) -> Iterator[list[Blob]]:
        """The blobs from `start` on, in order, a few at a time; ends where no more begin with `prefix`.

        `start` is at least `prefix`. Raises NotCached instead of waiting for the disk, and if much was passed
        over: fetch, then go on from what it has reached. Nothing may change meanwhile.
        """
        streams: list[Iterator[Span]] = [changes.spans(start) for changes in self._changes()]
        streams += [run.spans(start, waits) for run in self.runs]
        last, passed = "", 0
        try:
            for locations, blobs in streams[0] if len(streams) == 1 else newest(streams):
                found = [blob for blob in blobs if blob is not None]
                if found:
                    last, passed = locations[-1], 0
                    yield found
                elif locations:
                    last, passed = locations[-1], passed + len(locations)
                    if not last.startswith(prefix):
                        return
                    if passed > _MOST_PASSED and not waits:
                        raise Paused
        except NotCached as missing:
            missing.reached = last + "\0" if last else start
            raise
        except IndexDamaged as err:
            self.on_damage(err)
            raise

    def __getitem__(self, location: str) -> Blob:
        blob = self.get(location)
        if blob is None:
            raise KeyError(location)
        return blob

    def values(self) -> Iterator[Blob]:
        """All blobs, in order. May wait for the disk. Nothing may change meanwhile."""
        return itertools.chain.from_iterable(self.spans("", waits=True))

    def __iter__(self) -> Iterator[str]:
        return (blob.location for blob in self.values())

    def items(self) -> Iterator[tuple[str, Blob]]:
        """All, in order: as `values`."""
        return ((blob.location, blob) for blob in self.values())

    def firsts(self, prefix: str) -> Callable[[str], str | None]:
        """See FolderSearch."""
        search = FolderSearch(self._changes(), self.runs, prefix, self.spans, self.on_damage)
        return search.first

    def _changes(self) -> list[Changes]:
        """The newest first."""
        return [changes for changes in (self.changed, self.frozen) if changes]


def newest(streams: Iterable[Iterator[Span]]) -> Iterator[Span]:
    """All locations in order, each once, with the value of the first stream that has it.

    What one stream has before all others is taken at once, so a location costs next to nothing where a large
    run stands beside small ones.
    """
    heap = [head for age, stream in enumerate(streams) if (head := _head(age, stream)) is not None]
    heapq.heapify(heap)
    last = None
    while heap:
        location, age, at, (locations, blobs), stream = heap[0]
        end = len(locations)
        if len(heap) > 1:
            following = min(heap[1:3])[0]  # the two below the top: the next one is among them
            # One that is in both is older there, and is passed over when its turn comes.
            end = at + 1 if following == location else bisect_left(locations, following, at)
        at += location == last
        if at < end:
            yield (locations, blobs) if end - at == len(locations) else (locations[at:end], blobs[at:end])
            last = locations[end - 1]
        head = (
            (locations[end], age, end, (locations, blobs), stream)
            if end < len(locations)
            else _head(age, stream)
        )
        if head is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, head)


_Head = tuple[str, int, int, Span, Iterator[Span]]  # where it is, its age, the place in what it gave last


def _head(age: int, stream: Iterator[Span]) -> _Head | None:
    for span in stream:
        if span[0]:
            return span[0][0], age, 0, span, stream
    return None
