"""The stretches of a run, as it is written: locations of one folder that follow each other. Pure.

A page of folders needs to know of each folder where it begins and whether a blob is left in it. So a stretch
has a mark, which is at most its first location and greater than what is before it, and a net: how many blobs
there are more in its folder with this run than without. The sum of the nets of all runs is the number of
blobs in the folder, however many were replaced and deleted.

Each run has the whole net of a folder in one or several of its stretches, no matter in which.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from services.engines.local.disk.blob import Blob
from services.engines.local.index.format import FOLDERS_MARKS, Folders, folder_of


class Nets(Protocol):
    """Tells the net of folders."""

    def take(self, folder: str, last: str) -> int:
        """What was not taken yet of the net of `folder`. `last`: the location where its stretch ends."""
        ...


class NetsOfChanges:
    """Of folders that had these nets; the rest have 0."""

    def __init__(self, nets: Iterable[tuple[str, int]]) -> None:
        self._nets = dict(nets)

    def take(self, folder: str, last: str) -> int:
        """See Nets."""
        return self._nets.pop(folder, 0)


class NetsOfRuns:
    """Of several runs together, each given as its marks in order with their nets."""

    def __init__(self, runs: Sequence[Iterator[tuple[str, int]]]) -> None:
        self._marks = heapq.merge(*runs)
        self._mark: tuple[str, int] | None = next(self._marks, None)
        self._nets: dict[str, int] = {}  # of the folders that have begun: few

    def take(self, folder: str, last: str) -> int:
        """See Nets."""
        while self._mark is not None and self._mark[0] <= last:
            mark, net = self._mark
            if net:
                self._nets[folder_of(mark)] = self._nets.get(folder_of(mark), 0) + net
            self._mark = next(self._marks, None)
        return self._nets.pop(folder, 0)


class Stretches:
    """Takes what is written, in order, and gives the stretches to `put`, many at a time.

    `nets`: None if all blobs are new, as where no other run is.
    """

    def __init__(self, nets: Nets | None, put: Callable[[Folders], None]) -> None:
        self._given = nets
        self._put = put
        self._marks: list[str] = []
        self._nets: list[int] = []
        self._folder: str | None = None  # of the stretch that has begun
        self._last = ""
        self._blobs = 0  # in it
        self.removes = False  # whether a location was deleted

    def add(self, locations: Iterable[str], blobs: Iterable[Blob | None]) -> None:
        """Some more."""
        for location, blob in zip(locations, blobs, strict=True):
            folder = folder_of(location)
            if folder != self._folder:
                self._end()
                # Back in a folder after one that is inside it: only the location is greater than that.
                is_back = self._folder is not None and self._last.startswith(folder)
                self._marks.append(location if is_back else folder)
                self._folder = folder
            self._last = location
            if blob is None:
                self.removes = True
            else:
                self._blobs += 1

    def _end(self) -> None:
        if self._folder is None:
            return
        net = self._blobs if self._given is None else self._given.take(self._folder, self._last)
        self._nets.append(net)
        self._blobs = 0
        if len(self._marks) == FOLDERS_MARKS:
            self._put(Folders(self._marks, self._nets))
            self._marks, self._nets = [], []

    def end(self) -> None:
        """There is no more."""
        self._end()
        if self._marks:
            self._put(Folders(self._marks, self._nets))
