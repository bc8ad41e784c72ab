"""Counts what waits for the gc: blobs in Failure, and the bytes of their data. Exact to a second."""

from __future__ import annotations

import time
from collections import deque

import msgspec


class Waiting(msgspec.Struct):
    """Blobs that went to Failure within one second of `time.time()`, and the bytes of their data."""

    second: int
    blobs: int
    bytes: int


class Garbage:
    """Used from the event loop alone."""

    def __init__(self) -> None:
        self._left = 0  # what the gc tried to remove and could not
        self.kept = self.kept_bytes = 0  # what the gc leaves alone until its time comes
        self._failed: deque[Waiting] = deque()  # those that no pass of the gc has had a chance to remove

    def failed(self, blobs: int, size_bytes: int) -> None:
        """So many blobs went to Failure just now."""
        second = int(time.time())
        if self._failed and self._failed[-1].second == second:
            self._failed[-1].blobs += blobs
            self._failed[-1].bytes += size_bytes
        elif blobs:
            self._failed.append(Waiting(second, blobs, size_bytes))

    def collected(self, pass_began_s: float, left: int) -> None:
        """A pass of the gc that began then is over: what was in Failure by then is gone, except `left`."""
        self._left = left
        while self._failed and self._failed[0].second + 1 <= pass_began_s:
            self._failed.popleft()

    def waiting(self) -> tuple[int, int]:
        """(blobs, bytes) in Failure that wait for the gc."""
        return self._left + sum(one.blobs for one in self._failed), sum(one.bytes for one in self._failed)
