"""Decides when to sync early: before the unwritten data grows so much that the next checkpoint stalls
commits.

A checkpoint syncs the file system, so it writes what all programs have dirtied there. If another program
dirties 400 MB/s, a checkpoint at the journal's turn finds 2 GB. They fill the disk's queue for half a second,
and the commits' small syncs wait behind them, 100 to 200 ms each. If the same bytes are written in portions
of 64 MB, as they come, hardly any commit waits more than 40 ms.

This is done only while writes come quickly. If the journal turns once in an hour, the kernel has nearly
always written the data back before, and one long sync costs less.
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
    """The dirty bytes that the kernel has not begun to write, of all disks; 0 if it does not say. 30 µs."""
    try:
        with open(counts, "rb") as file:
            _, found, rest = file.read().partition(b"\nnr_dirty ")
    except OSError:
        return 0
    return int(rest.split(maxsplit=1)[0]) * _PAGE_BYTES if found else 0


class EarlySync:
    """`grew` is for the thread that appends to the journal, all else for the one that syncs early."""

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
        """True if it is time to ask whether a sync `is_due`."""
        self._appended_bytes += appended_bytes
        if self._appended_bytes < _PORTION_BYTES:
            return False
        now_s = self._clock()
        quickly = now_s - self._since_s <= _QUICKLY_S
        self._appended_bytes, self._since_s = 0, now_s
        return quickly

    def is_due(self) -> bool:
        """True if there is enough to write."""
        if self._clock() < self._rest_until_s:
            return False
        dirty = self._dirty()
        self._other_bytes = min(self._other_bytes, dirty)
        return dirty - self._other_bytes >= _DIRTY_BYTES

    def synced(self, took_s: float) -> None:
        """A sync is over. The next one waits as long as this one took, so that others get half the time."""
        self._rest_until_s = self._clock() + took_s
        self._other_bytes = self._dirty()
