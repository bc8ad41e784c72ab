"""Real processes of the product, on a data directory of the test's own, with their logs kept."""

from __future__ import annotations

import http.client
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.support import warm
from tests.support.environment import ROOT as ROOT
from tests.support.environment import environment

T = TypeVar("T")
# Variables that our programs read when they run, and that Python does not read at its start.
_READ_WHEN_RUN = ("BLOBKEEP_", "RECORD_", "DIES_")
_SERVING = re.compile(r"serving .* on (?:.*?):(\d+)(?=[, ])")


def wait_for(condition: Callable[[], T], seconds: float = 120.0, what: str = "it") -> T:
    """Wait for the first true value of `condition`. Fails the test after `seconds`, which is only a bound.

    It looks less and less often: to look takes processor time from what is waited for.
    """
    deadline = time.monotonic() + seconds
    pause_s = 0.005
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(pause_s)
        pause_s = min(1.1 * pause_s, 0.05)
    return value


class Process:
    """`python -m services.<program>` on the directory `root`; options are flags. Its log is in `log`."""

    def __init__(
        self,
        program: str,
        root: Path | str,
        *flags: str,
        env: dict[str, str] | None = None,
        module: str = "",
        through: Sequence[str] = (),
    ) -> None:
        self.program = program
        self.root = Path(root)
        self.log = self.root.parent / f"{self.root.name}.{program}.log"
        self.flags = flags
        self._module = module or f"services.{program}"
        self._env = env or {}
        self._through = through  # a program with its arguments that starts ours
        self.popen = self._start()

    def _start(self) -> subprocess.Popen[bytes] | warm.Forked:
        env = environment(**self._env)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            if self._is_warm():
                arguments = [*self.module(), "--dir", str(self.root), *self.flags]
                return warm.source().start(arguments, env, self.log)
            return subprocess.Popen(
                [*self._through, sys.executable, "-m", *self.module(), "--dir", str(self.root), *self.flags],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _is_warm(self) -> bool:
        """True if a fork of a process that has imported the product can be used in place of a new Python."""
        ours = all(name.startswith(_READ_WHEN_RUN) for name in self._env)
        return ours and not self._through and self._module in warm.PROGRAMS

    def module(self) -> list[str]:
        """What comes after `python -m`, up to the flags."""
        return [self._module]

    @property
    def pid(self) -> int:
        return self.popen.pid

    def said(self) -> str:
        """The log of this run so far."""
        return self.log.read_bytes()[self._log_start :].decode()

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.popen.kill()
        self.popen.wait(120)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(120)

    def restart(self) -> None:
        """Start it again, on the same directory with the same flags."""
        self.popen = self._start()

    def end(self) -> None:
        """For fixtures: stop it if it runs, with SIGKILL if it does not end."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(120)
            except subprocess.TimeoutExpired:
                self.kill()
                raise


class Server(Process):
    """The server, listening on a free port of 127.0.0.1; returns once it serves."""

    trust: ssl.SSLContext | None = None  # where it speaks TLS

    def __init__(
        self,
        root: Path | str,
        *flags: str,
        env: dict[str, str] | None = None,
        through: Sequence[str] = (),
    ) -> None:
        self.port = 0
        super().__init__("server", root, "-s", "127.0.0.1:0", *flags, env=env, through=through)
        self.wait_until_serving()

    def wait_until_serving(self) -> None:
        """Wait for its line "serving ... on HOST:PORT"; sets `port`."""

        def port() -> int:
            assert self.popen.poll() is None, f"the server ended:\n{self.said()}"
            found = _SERVING.search(self.said())
            return int(found[1]) if found else 0

        self.port = wait_for(port, what="the server's start")

    def restart(self) -> None:
        super().restart()
        self.wait_until_serving()

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own; a `body` in pieces declares no length.

        Raises OSError, http.client.HTTPException.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        if self.trust is not None:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=120, context=self.trust)
        return ask_on(connection, method, target, body, headers)


def ask_on(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | Iterable[bytes] | None,
    headers: dict[str, str] | None,
) -> Answer:
    """One request on a connection, which is closed then; see Server.ask."""
    try:
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


class Answer:
    """Status, headers by lower-case name, body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    def __repr__(self) -> str:
        return f"{self.status} {self.headers} {self.body[:200]!r}"
