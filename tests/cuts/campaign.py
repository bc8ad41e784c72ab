"""Records scenarios, cuts the power at many moments, and checks a given number of the disks that may be left.

`python -m tests.cuts.campaign --seed 1 --size 3000` (make power-cuts SEED=1 SIZE=3000).
"""

from __future__ import annotations

import argparse
import copy
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.cuts.check import Checker
from tests.cuts.cuts import all_images, one_image
from tests.cuts.disk import Disk, Image
from tests.cuts.scenarios import SCENARIOS
from tests.cuts.session import ANYTHING, DAMAGED, Expected, Recording, mark_of

_CLOSELY = 60  # times as many cuts in the moments of the processes that a recording names
# This share is for moments with few operations on their way, of which all disks are checked
_SHARE_EXHAUSTED = 0.05


@dataclass
class Outcome:
    """The result of one scenario. `wrong`: what was found, and where. Counts are of distinct disks."""

    name: str
    operations: int = 0
    disks: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def run(
    name: str, seed: int, size: int, *, second_cuts: int = 0, stop_after: int = 5, served: bool = True
) -> Outcome:
    """Record the scenario `name`, and check about `size` distinct disks of it. `served`: a real server is
    also started on one of them.
    """
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="cuts-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        recording = SCENARIOS[name](folder / "recorded", seed)
        return check(
            *(name, recording, folder, seed, size),
            second_cuts=second_cuts,
            stop_after=stop_after,
            served=served,
        )
    finally:
        logging.disable(logging.NOTSET)
        shutil.rmtree(folder, ignore_errors=True)


def check(
    name: str,
    recording: Recording,
    folder: Path,
    seed: int,
    size: int,
    *,
    second_cuts: int = 0,
    stop_after: int = 5,
    after: int = 0,
    served: bool = True,
) -> Outcome:
    """Check about `size` distinct disks that cuts during `recording` may leave, `after` so many entries.
    `served`: a real server is also started on one of them.
    """
    rng = random.Random(seed)
    marks = [mark_of(op) for op in recording.ops]
    rotten = any(mark is not None and mark.value in (DAMAGED, ANYTHING) for mark in marks)
    outcome = Outcome(name, len(recording.ops))
    checker = Checker(folder, rng, rotten=rotten)
    last: tuple[Image, Expected] | None = None
    for no, expected, model, image in _images(recording, rng, size, after):
        if not checker.is_new(image, expected):
            continue
        checker.second_cuts = second_cuts if rng.random() < 0.2 else 0
        before = checker.checked
        wrong = checker.check(image, expected)
        outcome.disks[model] += 1
        outcome.disks["second cut"] += checker.checked - before - 1
        outcome.wrong += [f"{name} seed {seed}, cut after {no}, {model}: {text}" for text in wrong]
        if len(outcome.wrong) >= stop_after:
            return outcome
        last = image, copy.deepcopy(expected)
    if last is not None and served:
        outcome.disks["served by a real server"] += 1
        wrong = checker.check_by_server(*last)
        outcome.wrong += [f"{name} seed {seed}, the last disk, served: {text}" for text in wrong]
    return outcome


def _images(
    recording: Recording, rng: random.Random, size: int, after: int
) -> Iterator[tuple[int, Expected, str, Image]]:
    """About `size` disks, spread over all moments: (how many entries were done, what is expected, ...)."""
    disk = Disk(recording.top)
    expected = Expected()
    weights = [_CLOSELY if op.pid in recording.closely else 1 for op in recording.ops]
    per_weight = size / max(1, sum(weights[after:]))
    owed = 0.0
    for no, op in enumerate(recording.ops, 1):
        disk.apply(op)
        mark = mark_of(op)
        if mark is not None:
            expected.take(mark)
        if no <= after:
            continue
        owed += weights[no - 1] * per_weight * rng.uniform(0.0, 2.0)
        if owed < 1.0:
            continue
        few = all_images(disk) if rng.random() < _SHARE_EXHAUSTED else None
        if few is not None:
            for image in few:
                owed -= 1
                yield no, expected, "bare, all of them", image
        while owed >= 1.0:
            owed -= 1
            yield no, expected, *one_image(disk, rng)


def main() -> int:
    """Run a campaign over all scenarios. Exit status 1 if anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--size", type=int, default=3000, help="disks, about")
    parser.add_argument("--only", default="", help="one scenario")
    options = parser.parse_args()
    print(f"SEED={options.seed} SIZE={options.size}", flush=True)  # noqa: T201
    names = [options.only] if options.only else list(SCENARIOS)
    rounds = max(1, options.size // (400 * len(names)))  # one recording gives some hundred disks
    wrong: list[str] = []
    total: Counter[str] = Counter()
    for number in range(rounds):
        for name in names:
            began = time.monotonic()
            seed = options.seed + number
            outcome = run(name, seed, options.size // (rounds * len(names)), second_cuts=3)
            total += outcome.disks
            wrong += outcome.wrong
            disks = ", ".join(f"{count} {model}" for model, count in sorted(outcome.disks.items()))
            print(  # noqa: T201
                f"{name} (seed {seed}): {outcome.operations} operations; disks: {disks}; "
                f"{len(outcome.wrong)} wrong; {time.monotonic() - began:.1f} s",
                *outcome.wrong,
                sep="\n  ",
                flush=True,
            )
    print(f"{total.total()} distinct disks ({dict(total)}), {len(wrong)} wrong")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
