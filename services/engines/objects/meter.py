"""What the engine counts of its requests to the store: how many, how long, how they ended."""

from __future__ import annotations

import time
from bisect import bisect_left

KINDS = ("get", "put", "swap", "delete", "list")
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class KindCounts:
    """Of one kind of request. `buckets`: by BOUNDS_S, the last one above all of them."""

    __slots__ = ("buckets", "errors", "requests", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0  # no answer, or one that is none: time-outs, 5xx
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS_S) + 1)


class Meter:
    """Used from the event loop alone. `swap`: a conditional write; a refused one is no error."""

    def __init__(self) -> None:
        self.by_kind = {kind: KindCounts() for kind in KINDS}
        self.failing_since: float | None = None  # time.time() of the first error since the last good answer
        self.last_error = ""

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(counts.requests for counts in self.by_kind.values())

    def count(self, kind: str, began: float, error: str = "") -> None:
        """One request that began at `began`, of time.monotonic(). `error`: why it got no answer to use."""
        counts = self.by_kind[kind]
        seconds = time.monotonic() - began
        counts.requests += 1
        counts.seconds += seconds
        counts.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        if error:
            counts.errors += 1
            self.last_error = error
            if self.failing_since is None:
                self.failing_since = time.time()
        else:
            self.failing_since = None
