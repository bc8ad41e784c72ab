"""Finds the folders of a page, in the runs of the index and the changes since, from their marks and nets.

So a page of folders reads no blobs, however many there are in a folder and however many were deleted. See
`stretches` for what marks and nets are.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from services.engines.local.disk.blob import Blob
from services.engines.local.index.changes import Changes
from services.engines.local.index.format import Folders, IndexDamaged
from services.engines.local.index.run import NotCached, Paused, Run

_END = "\U0010ffff" * 257  # greater than any location: they have at most 1,024 bytes
_MOST_SUMMED = 64  # folders among changes: to read a blob costs less than to look at more
_MOST_PASSED = 500  # folders that are empty, before others have their turn: some 2 ms


class FolderSource(Protocol):
    """A run, or changes."""

    def seek(self, start: str) -> str:
        """At most the first location from `start` on, and at least `start`; _END if there is none."""
        ...

    def net(self, folder: str, end: str) -> int | None:
        """How many blobs it adds to `folder`, which ends before `end`; None: to be read.

        `folder` is between the start of the last `seek` and what that found.
        """
        ...


class InChanges:
    """The source for changes."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def seek(self, start: str) -> str:
        """See FolderSource."""
        return next(self._changes.blobs.irange(start), _END)

    def net(self, folder: str, end: str) -> int | None:
        """See FolderSource."""
        nets = self._changes.nets
        found = list(islice(nets.irange(folder, end), _MOST_SUMMED))
        return sum([nets[one] for one in found]) if len(found) < _MOST_SUMMED else None


class InRun:
    """The source for a run. Raises NotCached instead of waiting for the disk."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._number = -1  # of the part that has these marks
        self._marks: list[str] = []
        self._nets: list[int] = []
        self._at = 0  # of the first mark from the last start on

    def seek(self, start: str) -> str:
        """See FolderSource."""
        marks, at = self._marks, self._at + 1
        # A page of folders mostly asks for the next mark.
        if not (at < len(marks) and marks[at - 1] < start <= marks[at]):
            if not marks or not marks[0] < start <= marks[-1]:
                firsts = self._run.folder_firsts
                if not firsts:
                    return _END
                self._load(max(0, bisect_right(firsts, start) - 1))
                marks = self._marks
            at = bisect_left(marks, start)
        self._at = at
        if at:
            before = marks[at - 1]
            end = before.rfind("/")
            if end < 0 or f"{before[:end]}0" > start:
                return self._read(start)  # it may be in the stretch before
        if at < len(marks):
            return marks[at]
        if self._number + 1 == len(self._run.folder_firsts):
            return _END
        self._load(self._number + 1)
        self._at = 0
        return self._marks[0]

    def _load(self, number: int) -> None:
        found: Folders = self._run.folders_at(number, False)
        self._number, self._marks, self._nets = number, found.marks, found.nets

    def _read(self, start: str) -> str:
        """The first location from `start` on."""
        for locations, _ in self._run.spans(start, False):
            if locations:
                return locations[0]
        return _END

    def net(self, folder: str, end: str) -> int | None:
        """See FolderSource."""
        marks, at = self._marks, self._at
        to = at + 1
        if to < len(marks) and marks[at] < end <= marks[to]:
            return self._nets[at]
        to = bisect_left(marks, end, at)
        firsts, following = self._run.folder_firsts, self._number + 1
        if to == len(marks) and following < len(firsts) and firsts[following] < end:
            return None
        return sum(self._nets[at:to])


class FolderSearch:
    """A search from the start of a page on, which goes on from folder to folder.

    `prefix`: of all folders. `spans`: see Catalogue.spans. Nothing may change meanwhile.
    """

    def __init__(
        self,
        changes: Sequence[Changes],
        runs: Sequence[Run],
        prefix: str,
        spans: Callable[[str, str], Iterator[list[Blob]]],
        on_damage: Callable[[IndexDamaged], None],
    ) -> None:
        self._sources: list[FolderSource] = [*map(InChanges, changes), *map(InRun, runs)]
        self._heads = [""] * len(self._sources)  # what each has found last
        self._least = 0  # which one found the least
        self._limit = _END if len(self._sources) == 1 else ""  # the least that the others found
        self._removes = any(one.removes for one in changes) or any(run.removes for run in runs)
        self._prefix, self._level = prefix, len(prefix)
        self._reached = ""  # before it there is nothing more
        self._spans = spans
        self._on_damage = on_damage

    def first(self, start: str) -> str | None:
        """The first location from `start` on; None if there is none with the prefix. The arguments must grow.

        If it is in a folder below the prefix, it tells only of the folder, and need not be there itself. Else
        it may be less: what follows is to be read. Raises NotCached as Catalogue.spans does.
        """
        self._reached = start
        try:
            return self._first(start)
        except IndexDamaged as err:
            self._on_damage(err)
            raise
        except NotCached as missing:
            missing.reached = max(missing.reached, self._reached)
            raise

    def _first(self, start: str) -> str | None:
        heads, sources, removes = self._heads, self._sources, self._removes
        level, passed = self._level, 0
        while sources:
            if start <= self._limit:  # the others have not changed
                heads[self._least] = found = sources[self._least].seek(start)
            if start > self._limit or found > self._limit:
                found = self._seek_all(start)
            if found == _END:
                break
            cut = found.find("/", level) if removes else -1
            if cut < 0:
                return found
            folder, end = found[: cut + 1], f"{found[:cut]}0"  # "0" comes after "/"
            net = self._net(folder, end) if start <= folder else None
            if net is None:
                return next(
                    (some[0].location for some in self._spans(max(start, folder), self._prefix)), None
                )
            if net:
                return found
            if not found.startswith(self._prefix):
                break
            self._reached = start = end
            passed += 1
            if passed > _MOST_PASSED:
                raise Paused
        return None

    def _seek_all(self, start: str) -> str:
        heads, least, limit = self._heads, _END, _END
        for number, head in enumerate(heads):
            if head < start:
                heads[number] = head = self._sources[number].seek(start)
            if head < least:
                least, limit, self._least = head, least, number
            elif head < limit:
                limit = head
        self._limit = limit
        return least

    def _net(self, folder: str, end: str) -> int | None:
        if end <= self._limit:
            return self._sources[self._least].net(folder, end)
        total = 0
        for number, head in enumerate(self._heads):
            if head < end:
                net = self._sources[number].net(folder, end)
                if net is None:
                    return None
                total += net
        return total
