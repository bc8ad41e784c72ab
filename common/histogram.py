"""A histogram in plain numbers: cheap to add to, read by /metrics and the dashboard. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """`buckets[i]`: values up to `bounds[i]` and above the bound before; the last: above all bounds."""

    __slots__ = ("bounds", "buckets", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one value. One thread at a time may add; any may read."""
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.buckets)


def quantile(bounds: Sequence[float], buckets: Sequence[int], share: float) -> float | None:
    """The value that `share` (0..1) of the values do not exceed, as a line in its bucket; None: no values.

    Above the last bound nothing is known: then it is that bound.
    """
    rank = share * sum(buckets)
    if not rank:
        return None
    below = 0
    for at, count in enumerate(buckets[:-1]):
        if count and below + count >= rank:
            lower = bounds[at - 1] if at else 0.0
            return lower + (bounds[at] - lower) * (rank - below) / count
        below += count
    return bounds[-1]
