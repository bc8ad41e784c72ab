"""What changed since the newest run of the index was written, in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from sortedcontainers import SortedDict

from services.engines.local.disk.blob import Blob
from services.engines.local.index.format import BLOCK_BLOBS, folder_of

Span = tuple[Sequence[str], Sequence[Blob | None]]  # locations in order, and their blobs


class Changes:
    """See the module docstring. `blobs`: by location; None for a deleted blob. `nets`: by folder, how many
    blobs it has more than before; those that are not there have as many.
    """

    def __init__(self) -> None:
        self.blobs: SortedDict[str, Blob | None] = SortedDict()
        self.nets: SortedDict[str, int] = SortedDict()
        self.removes = False  # whether a blob was deleted

    def __len__(self) -> int:
        return len(self.blobs)

    def show(self, location: str, old: Blob | None, blob: Blob | None) -> None:
        """From now on `location` has `blob` (None: nothing), and no longer `old`."""
        self.blobs[location] = blob
        if blob is None:
            self.removes = True
        if net := (blob is not None) - (old is not None):
            self._add_net(folder_of(location), net)

    def _add_net(self, folder: str, net: int) -> None:
        if net := self.nets.get(folder, 0) + net:
            self.nets[folder] = net
        else:
            self.nets.pop(folder, None)

    def items(self) -> list[tuple[str, Blob | None]]:
        """All, in order."""
        return list(self.blobs.items())

    def followed_by(self, later: Changes) -> Changes:
        """Both together."""
        both = Changes()
        both.blobs = SortedDict({**self.blobs, **later.blobs})
        both.nets = self.nets.copy()
        for folder, net in later.nets.items():
            both._add_net(folder, net)
        both.removes = self.removes or later.removes
        return both

    def spans(self, start: str) -> Iterator[Span]:
        """All from `start` on, in order, some at a time."""
        locations = self.blobs.irange(start)
        while some := list(itertools.islice(locations, BLOCK_BLOBS)):
            yield some, [self.blobs[location] for location in some]
