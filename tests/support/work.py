"""Measures work in ways that do not depend on how fast or how busy the machine is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType

_PARTS = 8
_OURS = ("services.", "common.")
_TRIES = 5
_MOST = 3.0  # not 1, since processor time varies; work that grows with the square of the size has 8
_NOTHING_S = 0.002  # a shorter time is too inexact to judge


def calls_of(step: Callable[[], object]) -> int:
    """How many functions, Python's and C's, `step` calls."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        step()
    finally:
        sys.setprofile(None)
    return count


class OwnCalls:
    """How many functions the code of the product calls in this thread, from `start` to `stop`.

    Calls of the event loop do not count, since how often it wakes depends on other threads.
    """

    def start(self) -> None:
        """From now on."""
        self._count = 0
        sys.setprofile(self._note)

    def stop(self) -> int:
        """How many calls there were."""
        sys.setprofile(None)
        return self._count

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        caller = frame if event == "c_call" else frame.f_back if event == "call" else None
        self._count += caller is not None and caller.f_globals.get("__name__", "").startswith(_OURS)


def is_in_proportion(step: Callable[[int], object], size: int) -> bool:
    """Whether an input of `size` costs about as much as eight of an eighth of it.

    Measured as processor time of this thread, the least of some tries, so work in C counts, too.
    """
    best_whole = best_parts = float("inf")
    for _ in range(_TRIES):
        best_whole = min(best_whole, _cpu_s(step, size))
        best_parts = min(best_parts, sum(_cpu_s(step, size // _PARTS) for _ in range(_PARTS)))
        if best_whole <= _MOST * best_parts + _NOTHING_S:
            return True
    return False


def _cpu_s(step: Callable[[int], object], size: int) -> float:
    began = time.thread_time()
    step(size)
    return time.thread_time() - began
