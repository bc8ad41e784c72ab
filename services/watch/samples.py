"""The last ten minutes as the dashboard plots them: one sample a second, differences of sums. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from common.histogram import quantile
from services.watch.request_log import BOUNDS_S, Tally

KEPT = 600


class Sums(msgspec.Struct, frozen=True):
    """Sums that only grow. A worker's sums start again with each of its starts."""

    time_s: float
    requests: int
    errors: int  # answers of 500 and above
    bytes_in: int
    bytes_out: int
    buckets: tuple[int, ...]  # of all requests, as in BOUNDS_S
    removed: int = 0
    freed_bytes: int = 0
    scrubbed_bytes: int = 0


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One second: rates per second, latencies in milliseconds (None: no requests), the workers' amounts."""

    time_s: float
    requests: float
    errors: float
    p50_ms: float | None
    p99_ms: float | None
    bytes_in: float
    bytes_out: float
    removed: int
    freed_bytes: int
    scrubbed_bytes: int


class Samples:
    """Add the sums every second; `kept` are the samples, oldest first."""

    def __init__(self) -> None:
        self.kept: deque[Sample] = deque(maxlen=KEPT)
        self._last: Sums | None = None

    def add(self, sums: Sums) -> None:
        """The sums as of now."""
        last, self._last = self._last, sums
        if last is None or sums.time_s <= last.time_s:
            return  # the first, or the clock was set back
        seconds = sums.time_s - last.time_s
        buckets = [now - then for now, then in zip(sums.buckets, last.buckets, strict=True)]
        p50, p99 = quantile(BOUNDS_S, buckets, 0.5), quantile(BOUNDS_S, buckets, 0.99)
        self.kept.append(
            Sample(
                sums.time_s,
                (sums.requests - last.requests) / seconds,
                (sums.errors - last.errors) / seconds,
                None if p50 is None else p50 * 1000,
                None if p99 is None else p99 * 1000,
                (sums.bytes_in - last.bytes_in) / seconds,
                (sums.bytes_out - last.bytes_out) / seconds,
                _grown(sums.removed, last.removed),
                _grown(sums.freed_bytes, last.freed_bytes),
                _grown(sums.scrubbed_bytes, last.scrubbed_bytes),
            )
        )


def _grown(now: int, then: int) -> int:
    """How much a worker's sum grew; one that was started anew began at 0."""
    return now - then if now >= then else now


def sum_over(tallies: Iterable[Tally], time_s: float, removed: int, freed_bytes: int, scrubbed: int) -> Sums:
    """The sums over all methods."""
    every = list(tallies)
    return Sums(
        time_s,
        sum(one.requests for one in every),
        sum(n for one in every for status, n in one.statuses.items() if status >= 500),
        sum(one.bytes_in for one in every),
        sum(one.bytes_out for one in every),
        tuple(sum(column) for column in zip(*(one.buckets for one in every), strict=True))
        or (0,) * (len(BOUNDS_S) + 1),
        removed,
        freed_bytes,
        scrubbed,
    )
