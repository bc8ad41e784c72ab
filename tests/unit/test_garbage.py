"""What waits for the gc."""

from __future__ import annotations

import time

from services.engines.local.serving.garbage import Garbage


def test_what_failed_waits_until_a_later_pass_of_the_gc_is_over() -> None:
    garbage = Garbage()
    garbage.failed(1, 5)
    assert garbage.waiting() == (1, 5)
    garbage.collected(time.time() - 60, 0)  # it began before
    assert garbage.waiting() == (1, 5)
    garbage.collected(time.time() + 1, 2)  # two could not be removed
    assert garbage.waiting() == (2, 0)
    garbage.collected(time.time() + 1, 0)
    assert garbage.waiting() == (0, 0)
