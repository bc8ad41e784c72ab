"""What the engine counts of its requests to the store: how many, how long, how they ended."""

from __future__ import annotations

import time

from common.histogram import Histogram
from services.engine import StoreRequests

KINDS = ("get", "put", "swap", "delete", "list")
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meter:
    """Used only from the event loop. The kind `swap` is a conditional write; a refused one is no error."""

    def __init__(self) -> None:
        self.by_kind = {kind: StoreRequests(Histogram(BOUNDS_S)) for kind in KINDS}

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(one.seconds.count for one in self.by_kind.values())

    def count(self, kind: str, began: float, *, failed: bool = False) -> None:
        """Count a request that began at `began` (time.monotonic()). `failed`: it got no usable answer."""
        one = self.by_kind[kind]
        one.seconds.add(time.monotonic() - began)
        one.errors += failed
