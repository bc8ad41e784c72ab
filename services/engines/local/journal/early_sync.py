"""When to sync early: before there is so much unwritten data that the next checkpoint stalls commits.

A checkpoint syncs the file system, so it writes what all programs have dirtied there. Beside a neighbour who
dirties 400 MB/s it finds 2 GB at the journal's turn. They fill the disk's queue for half a second, and the
commits' own small syncs wait at its end, 100 to 200 ms each. Written in portions of 64 MB, as they come, the
same bytes delay hardly a commit by more than 40 ms.

This is done only while writes come quickly. Where the journal turns once in an hour, the kernel has nearly
always written the data back before, and one long sync at its turn costs less.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_PORTION_BYTES = 256 << 10  # of the journal, from one look to the next: some 125 small creates
_QUICKLY_S = 0.25  # writes come quickly where a portion takes no longer
_DIRTY_BYTES = 64 << 20  # worth a sync: 30 ms of a fast disk
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def dirty_bytes(counts: str = "/proc/vmstat") -> int:
    """What the kernel has yet to begin to write, for all programs and disks; 0 where it is silent. 30 µs."""
    try:
        with open(counts, "rb") as file:
            _, found, rest = file.read().partition(b"\nnr_dirty ")
    except OSError:
        return 0
    return int(rest.split(maxsplit=1)[0]) * _PAGE_BYTES if found else 0


class EarlySync:
    """`grew` is asked by who appends to the journal, all else by who syncs early."""

    def __init__(
        self,
        dirty: Callable[[], int] = dirty_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dirty = dirty
        self._clock = clock
        self._appended_bytes = 0  # to the portion
        self._since_s = clock()  # when the portion began
        self._other_bytes = 0  # dirty, but no sync of this file system writes them
        self._rest_until_s = 0.0

    def grew(self, appended_bytes: int) -> bool:
        """True where it is time to look whether a sync `is_due`."""
        self._appended_bytes += appended_bytes
        if self._appended_bytes < _PORTION_BYTES:
            return False
        now_s = self._clock()
        quickly = now_s - self._since_s <= _QUICKLY_S
        self._appended_bytes, self._since_s = 0, now_s
        return quickly

    def is_due(self) -> bool:
        """True where there is much to write."""
        if self._clock() < self._rest_until_s:
            return False
        dirty = self._dirty()
        self._other_bytes = min(self._other_bytes, dirty)
        return dirty - self._other_bytes >= _DIRTY_BYTES

    def synced(self, took_s: float) -> None:
        """A sync is over. The next is not before as much time has passed: half of it is for others."""
        self._rest_until_s = self._clock() + took_s
        self._other_bytes = self._dirty()
