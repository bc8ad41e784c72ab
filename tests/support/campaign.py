"""The seed and the size of a campaign: `make faults SEED=7 SIZE=4`. The suite runs seed 1, size 1."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

SEED = int(os.environ.get("CAMPAIGN_SEED") or 1)
SIZE = int(os.environ.get("CAMPAIGN_SIZE") or 1)  # a multiple of what the suite does; 0: everything


def chooser(name: str) -> random.Random:
    """Random numbers that depend on the seed and on `name`, so that tests may run in any order."""
    return random.Random(f"{SEED} {name}")


def choose(name: str, of: Sequence[T], share: int) -> list[T]:
    """`share` x SIZE of them at random, in order; all of them for size 0."""
    count = share * SIZE if SIZE else len(of)
    if count >= len(of):
        return list(of)
    return [of[i] for i in sorted(chooser(name).sample(range(len(of)), count))]


def tally(what: str, count: int) -> None:
    """Count what a campaign did, for the last lines of tests/campaigns.py."""
    path = os.environ.get("CAMPAIGN_TALLY")
    if path:
        with open(path, "a", encoding="utf-8") as file:  # one short line: processes may append at once
            file.write(f"{int(count)} {what}\n")
