"""Clients and kills for some seconds, then the judgement.

`python -m tests.torture.campaign --seed 1 --seconds 300` (make torture SEED=1 SECONDS=300).
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from services.engines.local.disk import directory
from tests.support.linearizable import OfPair, Step, Undecided, is_linearizable
from tests.support.processes import wait_for
from tests.support.rules import layout_of, live_blobs
from tests.support.system import System
from tests.torture.clients import Client, Record
from tests.torture.doors import S3, ManyDoors
from tests.torture.killer import Killer, wait_until_it_serves

_CLIENTS = 6
_LOCATIONS = 5
_KILLS_AT_LEAST = 3  # however slow the machine is
_OPTIONS = {
    "BLOBKEEP_SMALL_BODY": "4096",
    "BLOBKEEP_GC_INTERVAL": "0.2",
    "BLOBKEEP_RECOVERY_INTERVAL": "0.5",
    "BLOBKEEP_S3_PATH": S3.rstrip("/"),
    "BLOBKEEP_RESTIC": "true",
}


@dataclass
class Outcome:
    """The result of one run. `wrong`: what was found."""

    wrong: list[str] = field(default_factory=list)
    calls: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return f"{self.calls} calls ({counts}); kills: {kills or 'none'}; {len(self.wrong)} wrong"


def run(seed: int, seconds: float, *, few_ids: bool, home: Path, readers: int = 0) -> Outcome:
    """Torture a system in the empty folder `home` for `seconds`, or a little longer on a busy machine.

    `readers`: so many reader processes answer, too, and are killed.
    """
    rng = random.Random(seed)
    module = "tests.torture.few_ids" if few_ids else "services.server"
    system = System(home, _OPTIONS | {"BLOBKEEP_READERS": str(readers)}, module)
    record, stopping = Record(), threading.Event()
    # with several readers, clients connect again and again, perhaps to another one
    ports = [system.port] * (1 + readers)
    locations = [f"torture/{number}" for number in range(_LOCATIONS)]
    pair = (locations[-2], locations[-1])
    try:
        wait_until_it_serves(system)
        assert system.ask_path("PUT", f"{S3}torture")[0] == 200  # the bucket
        clients = [
            ManyDoors(
                *(n, ports, record, locations, rng.randrange(1 << 30), stopping),
                many_deletes=few_ids,
                pair=pair,
            )
            for n in range(_CLIENTS)
        ]
        killer = Killer(system, record, rng.randrange(1 << 30), stopping, kills_readers=readers > 0)
        for thread in (*clients, killer):
            thread.start()
        time.sleep(seconds)
        wait_for(lambda: sum(killer.kills.values()) >= _KILLS_AT_LEAST, 120.0, "a few kills")
        stopping.set()
        for thread in (*clients, killer):
            thread.join(120)
            assert not thread.is_alive(), f"{thread.name} hangs"
        if killer.error is not None:
            raise killer.error
        wait_until_it_serves(system)
        reader = Client(_CLIENTS, ports, record, locations, 0, stopping, many_deletes=False)
        for location in locations:
            wait_for(partial(reader.read, location), what=f"a last read of {location}")
        reader.hang_up()
        wrong = _leftovers(system)
    finally:
        stopping.set()
        system.end()
    wrong += record.wrong + judge(record, pair)
    try:
        system.data.check()
    except AssertionError as err:
        wrong.append(str(err))
    calls = sum(map(len, record.calls.values()))
    return Outcome(wrong, calls, dict(killer.kills), dict(record.counts))


def _leftovers(system: System) -> list[str]:
    """While the system runs, the directory must at last have the live blobs and nothing else."""
    data_dir = layout_of(system.data.root)

    def only_live() -> bool:
        return len(directory.ids_in(data_dir)) == len(live_blobs(system.data.root))

    try:
        wait_for(only_live, 240.0, "the collection of everything that is not live")
    except (AssertionError, OSError) as err:
        return [f"{err}: {sorted(directory.ids_in(data_dir))}"]
    return []


def judge(record: Record, pair: tuple[str, ...] = ()) -> list[str]:
    """The histories that no order of their calls explains. `pair`: two locations with moves between them."""
    wrong = []
    histories: dict[str, tuple[list[Step], Hashable]] = {
        location: ([*calls], None) for location, calls in record.calls.items() if location not in pair
    }
    if pair:
        both = [OfPair(call, at) for at in (0, 1) for call in record.calls.get(pair[at], [])]
        histories[" and ".join(pair)] = [*both, *record.moves], (None, None)
    for location, (calls, initial) in histories.items():
        try:
            if not is_linearizable(calls, initial):
                shown = "\n    ".join(map(repr, calls))
                wrong.append(f"no order explains the {len(calls)} calls on {location}:\n    {shown}")
        except Undecided as err:
            wrong.append(f"{location}: undecided: {err}")
    return wrong


def main() -> int:
    """Run rounds of a minute until the time is over; exit status 1 where anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    print(f"SEED={options.seed} SECONDS={options.seconds:g}", flush=True)  # noqa: T201
    deadline = time.monotonic() + options.seconds
    round_s = min(60.0, options.seconds / 2)
    number = wrong = 0
    while time.monotonic() < deadline:
        home = Path(tempfile.mkdtemp(prefix="torture-"))
        readers = number % 3
        outcome = run(options.seed + number, round_s, few_ids=bool(number % 2), home=home, readers=readers)
        about = f"{'few' if number % 2 else 'all'} ids, {readers} readers, seed {options.seed + number}"
        print(f"{about}: {outcome}", flush=True)  # noqa: T201
        for text in outcome.wrong:
            print(f"  {text}", flush=True)  # noqa: T201
        if outcome.wrong:
            print(f"  what was on disk, and the logs: {home}", flush=True)  # noqa: T201
        else:
            shutil.rmtree(home)
        wrong += len(outcome.wrong)
        number += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
