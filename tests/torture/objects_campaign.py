"""Clients, kills, pauses and a bad network on an object store for some seconds, then the judgement.

`python -m tests.torture.objects_campaign --seed 1 --size 4` (make torture ENGINE=objects SEED=1 SIZE=4:
rounds of half a minute).

Three servers, two gcs and a recovery worker run on a SeaweedFS of a master, three volume servers, two filers
that share one etcd, and two S3 gateways. All but etcd are killed (tests/support/weed_cluster.py says why).
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.support.fault_proxy import Faults
from tests.support.processes import wait_for
from tests.support.supervised import Supervised
from tests.torture.campaign import Outcome, judge
from tests.torture.clients import Client, Record
from tests.torture.doors import StoreDoors
from tests.torture.objects_system import ObjectsSystem

CLIENTS = 6
LOCATIONS = 12
ROUND_S = 30.0
FAULTS = Faults(
    lost_answer=0.02,
    lost_request=0.01,
    refused=0.01,
    failed=0.01,
    late=0.01,
    late_s=8.0,
    twice=0.03,
    twice_s=6.0,
)
# Inside the pointer, one part, three parts.
_SIZES = (16, 100, 1000, 1000, 4096, 4097, 20_000, 20_000, 20_000, 2_500_000)
_KILLS_AT_LEAST = 2
_STOPS_AT_LEAST = 1
# Answers of 503 that promise that nothing was done, and nothing will be.
_NOTHING_DONE = (b"uploads are under way", b"gave no sign of life", b"happened to this blob meanwhile")
# A writer sleeps until the gcs have long given it up: hasty.SILENT_S is 2.
_STOPPED_S = (0.5, 6.0)


class Tormentor(threading.Thread):
    """Kills processes at random, and stops servers right after the store took the intent of a write."""

    def __init__(self, system: ObjectsSystem, seed: int, stopping: threading.Event) -> None:
        super().__init__(name="tormentor")
        self._system = system
        self._rng = random.Random(seed)
        self._stopping = stopping
        self._to_stop: set[int] = set()  # servers to stop at their next state object, by number
        self._sleepers: list[threading.Thread] = []
        self.kills: Counter[str] = Counter()
        self.error: BaseException | None = None
        for number, door in enumerate(system.doors):
            door.on_done = partial(self._on_done, number)

    @property
    def has_done_enough(self) -> bool:
        stops = self.kills["server stopped"]
        return sum(self.kills.values()) - stops >= _KILLS_AT_LEAST and stops >= _STOPS_AT_LEAST

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._rng.uniform(0.5, 3.0)):
                if self._rng.random() < 0.5:
                    self._to_stop.add(self._rng.randrange(len(self._system.servers)))
                else:
                    self._kill_one()
            for sleeper in self._sleepers:
                sleeper.join(30)
        except BaseException as err:  # noqa: BLE001 - told by who joins the thread
            self.error = err

    def _kill_one(self) -> None:
        system = self._system
        cluster = system.cluster
        kinds: list[tuple[str, list[Supervised], int]] = [
            ("server", system.servers, 6),
            ("worker", system.workers, 4),
            ("volume", cluster.volumes, 2),
            ("filer", cluster.filers, 1),
            ("gateway", cluster.gateways, 1),
            ("master", [cluster.master], 1),
        ]
        kind, victims, _ = self._rng.choices(kinds, [weight for _, _, weight in kinds])[0]
        if self._rng.choice(victims).signal(signal.SIGKILL):
            self.kills[kind] += 1

    def _on_done(self, number: int, method: str, target: str) -> None:
        """Called on the proxy's thread, before the server has got its answer."""
        if number in self._to_stop and method == "PUT" and "/gc/" in target:
            self._to_stop.discard(number)
            server = self._system.servers[number]
            if server.signal(signal.SIGSTOP):
                self.kills["server stopped"] += 1
                sleeper = threading.Timer(self._rng.uniform(*_STOPPED_S), server.signal, [signal.SIGCONT])
                sleeper.start()
                self._sleepers.append(sleeper)


def run(seed: int, seconds: float, home: Path) -> Outcome:
    """Torture a system in the empty folder `home` for `seconds`, or a little longer on a busy machine."""
    rng = random.Random(seed)
    system = ObjectsSystem(home, rng.randrange(1 << 30), FAULTS)
    record, stopping, over = Record(), threading.Event(), threading.Event()
    locations = [f"torture/{number}" for number in range(LOCATIONS)]
    try:
        system.start()
        system.create_s3_bucket("torture")
        clients = [
            StoreDoors(
                number,
                system.ports,
                record,
                locations,
                rng.randrange(1 << 30),
                stopping,
                pair=(locations[-2], locations[-1]),
                many_deletes=False,
                sizes=_SIZES,
                is_unsure=is_unsure,
            )
            for number in range(CLIENTS)
        ]
        tormentor = Tormentor(system, rng.randrange(1 << 30), over)
        system.fault_on()
        for thread in (*clients, tormentor):
            thread.start()
        time.sleep(seconds)
        wait_for(lambda: tormentor.has_done_enough or tormentor.error, 120.0, "a few kills and a pause")
        over.set()
        tormentor.join(60)
        if tormentor.error is not None:
            raise tormentor.error
        stopping.set()
        system.fault_off()
        for thread in clients:
            thread.join(120)
            assert not thread.is_alive(), f"{thread.name} hangs"
        system.wait_until_serving()
        for port in system.ports:  # all servers show the same
            reader = Client(CLIENTS, [port], record, locations, 0, stopping, many_deletes=False)
            for location in locations:
                wait_for(partial(reader.read, location), what=f"a last read of {location}")
            reader.hang_up()
        system.end_servers()
        wrong = record.wrong + system.leftovers()
        record.counts.update({f"proxy: {fault}": count for fault, count in system.proxy.counts.items()})
    finally:
        stopping.set()
        over.set()
        system.close()
    wrong += judge(record) + system.pointers.wrong()
    calls = sum(map(len, record.calls.values()))
    return Outcome(wrong, calls, dict(tormentor.kills), dict(record.counts))


def is_unsure(status: int, body: bytes) -> bool:
    """True if the write may have taken effect: a 503 that does not promise that nothing was done."""
    return status == 503 and not any(text in body for text in _NOTHING_DONE)


def main() -> int:
    """Run that many rounds; exit status 1 where anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--size", type=int, default=4, help=f"rounds of {ROUND_S:g} s")
    options = parser.parse_args()
    print(f"SEED={options.seed} SIZE={options.size}", flush=True)  # noqa: T201
    wrong = 0
    for seed in range(options.seed, options.seed + options.size):
        home = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))  # unix sockets need short paths
        outcome = run(seed, ROUND_S, home)
        print(f"seed {seed}: {outcome}", flush=True)  # noqa: T201
        for text in outcome.wrong:
            print(f"  {text}", flush=True)  # noqa: T201
        if outcome.wrong:
            print(f"  what was stored, and the logs: {home}", flush=True)  # noqa: T201
        else:
            shutil.rmtree(home)
        wrong += len(outcome.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
