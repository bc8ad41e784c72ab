"""The steps of a crash ladder, and what holds after each of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import rules
from tests.support.campaign import tally

_MAX_CALLS = 400


@dataclass
class Step:
    """One process that dies at disk call `at`, in a directory of its own. The test sets `died`."""

    at: int
    root: str
    died: bool | None = None


def steps(base: Path, *, rotten: bool = False) -> Iterator[Step]:
    """One step after the other, until a process does not die. After each step the directory must keep the
    rules. `rotten`: it has damaged blobs.
    """
    for at in range(1, _MAX_CALLS):
        step = Step(at, str(base / str(at)))
        yield step
        assert step.died is not None
        broken = rules.broken_rules(step.root, rotten=rotten)
        assert not broken, (at, broken)
        shutil.rmtree(step.root)
        tally("deaths of forked processes", step.died)
        if not step.died:
            return
    raise AssertionError("the ladder has no end")
