"""Kills processes of a system at random, and in the middle of their work."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter

from services.engines.local.disk import layout
from tests.support.processes import wait_for
from tests.support.system import System
from tests.torture.clients import Record

_VICTIMS = {"server": 12, "gc": 4, "recovery": 2, "supervisord": 1}  # and how often each is chosen
_NASTY_WITHIN_S = 0.3
_WORKS_WITHIN_S = 10.0


class Killer(threading.Thread):
    """Kills until `stopping` is set. `kills`: how many, by victim and moment."""

    def __init__(
        self,
        system: System,
        record: Record,
        seed: int,
        stopping: threading.Event,
        *,
        kills_readers: bool = False,
    ) -> None:
        super().__init__(name="killer")
        self._victims = _VICTIMS | ({"reader": 6} if kills_readers else {})
        self._system = system
        self._record = record
        self._rng = random.Random(seed)
        self._stopping = stopping
        self.kills: Counter[str] = Counter()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._rng.uniform(0.05, 1.0)):
                self._let_them_work(self._rng.randint(1, 60))
                victims = self._victims
                self._kill_one(self._rng.choices([*victims], [*victims.values()])[0])
        except BaseException as err:  # noqa: BLE001 - told by who joins the thread
            self.error = err

    def _let_them_work(self, answers: int) -> None:
        """On a busy machine a server that is killed as soon as it is back would never serve."""
        until = self._record.counts["answered"] + answers
        deadline = time.monotonic() + _WORKS_WITHIN_S
        while self._record.counts["answered"] < until and time.monotonic() < deadline:
            time.sleep(0.001)

    def _kill_one(self, victim: str) -> None:
        if victim == "supervisord":
            os.kill(self._system.popen.pid, signal.SIGKILL)
            self._system.popen.wait(120)
            self.kills[victim] += 1
            self._system.start()
            return
        pid = self._system.pids().get(victim)
        if pid is None:
            return  # it is being restarted
        moment = "at random"
        if victim in ("server", "gc") and self._rng.random() < 0.6:
            moment = "half-way"
            if not self._wait_for_half(layout.GONE_NAME if victim == "gc" else ".tmp"):
                moment = "at random"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills[f"{victim} {moment}"] += 1

    def _wait_for_half(self, sign: str) -> bool:
        """Wait for a temporary file, or for a folder that is being removed. False if none is seen in time."""
        root = self._system.data.root
        deadline = time.monotonic() + _NASTY_WITHIN_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if sign == layout.GONE_NAME:
                    if os.listdir(f"{root}/{sign}"):
                        return True
                    continue
                for name in os.listdir(root):
                    if name.isdigit() and any(file.endswith(sign) for file in os.listdir(f"{root}/{name}")):
                        return True
        return False


def wait_until_it_serves(system: System) -> None:
    """Return once a request is answered."""

    def answers() -> bool:
        try:
            return system.ask("GET", "nothing-here")[0] == 404
        except OSError:
            return False

    wait_for(answers, 240.0, "an answer after the last kill")
