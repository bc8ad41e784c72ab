"""Checks the time of all connections with one timer, and knows what time the process was running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Sweep:
    """Calls `check` every `tick_s` while it runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tick_s: float, check: Callable[[], None]) -> None:
        self._loop = loop
        self._tick_s = tick_s
        self._check = check
        self._swept_at = 0.0
        self._stopped_s = 0.0  # in which this process did not run
        self._handle: asyncio.TimerHandle | None = None
        self._loop_time = loop.time

    @property
    def runs(self) -> bool:
        """Whether it is going to check again."""
        return self._handle is not None

    def start(self) -> None:
        """Check from now on, if it does not already."""
        if self._handle is None:
            self._swept_at = self._loop_time()
            self._handle = self._loop.call_later(self._tick_s, self._sweep)

    def stop(self) -> None:
        """There is nothing to check."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def time(self) -> float:
        """The loop's time without pauses of the machine or of this process.

        In a pause the bytes of clients wait in their sockets, which is not the clients' fault.
        """
        return self._loop_time() - self._stopped_s

    def _sweep(self) -> None:
        self._handle = self._loop.call_later(self._tick_s, self._sweep)
        swept_at, self._swept_at = self._swept_at, self._loop_time()
        if self._swept_at - swept_at > 2 * self._tick_s:
            self._stopped_s += self._swept_at - swept_at - self._tick_s
        self._check()
