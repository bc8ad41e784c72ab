"""Processes that are started again when they end, as under a supervisor: for tests that kill them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_LOOK_EVERY_S = 0.05
_BACK_AFTER_S = 0.2


class Supervised:
    """One program. Its output goes to `folder`/`name`.log; `folder` is its working directory."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self._command = command
        self._folder = folder
        self._env = env
        self._popen: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.starts = 0

    def start(self) -> None:
        """Start it; returns at once."""
        with self._lock, (self._folder / f"{self.name}.log").open("ab") as log:
            self.starts += 1
            self._popen = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def signal(self, number: int) -> bool:
        """Send it a signal; False if it does not run."""
        with self._lock:
            if self._popen is None or self._popen.poll() is not None:
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._popen.pid, number)
            return True

    def runs(self) -> bool:
        """Whether it runs."""
        with self._lock:
            return self._popen is not None and self._popen.poll() is None

    def end(self) -> None:
        """kill -9, without a new start. Also works for a stopped process."""
        self.signal(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait(120)

    def tail(self) -> str:
        """The end of its output."""
        with contextlib.suppress(OSError):
            return (self._folder / f"{self.name}.log").read_text(errors="replace")[-2000:]
        return ""


class Supervisor(threading.Thread):
    """Starts each process again when it has ended, until `close`."""

    def __init__(self, processes: Sequence[Supervised]) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._processes = list(processes)
        self._closing = threading.Event()

    def run(self) -> None:
        ended: dict[str, float] = {}
        while not self._closing.wait(_LOOK_EVERY_S):
            for process in self._processes:
                if process.runs():
                    ended.pop(process.name, None)
                elif time.monotonic() - ended.setdefault(process.name, time.monotonic()) >= _BACK_AFTER_S:
                    process.start()

    def leave_alone(self, process: Supervised) -> None:
        """From now on it is not started again."""
        self._processes = [one for one in self._processes if one is not process]

    def close(self) -> None:
        """End all of them."""
        self._closing.set()
        if self.ident is not None:
            self.join(120)
        for process in self._processes:
            process.end()
