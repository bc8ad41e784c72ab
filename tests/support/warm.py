"""A process that has imported the product forks the processes of tests, so that they start sooner.

What is forked is as real as what `python -m` starts: a process of its own, with its own memory, sockets,
locks and signals, which ends by its own code or by a kill. Only the imports are not done again. They cost a
new server 0.2 s of CPU, and the suite starts hundreds of servers.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.environment import ROOT, environment

PROGRAMS = ("services.server", "services.gc", "services.recovery", "services.reader")
# Modules that a process imports only after it has read its options.
_CHOSEN = (
    "services.engines.local.engine",
    "services.engines.local.upkeep.check",
    "services.engines.local.upkeep.collector",
    "services.frontends.s3.app",
    "tornado.platform.asyncio",
)


class Forked:
    """What `subprocess.Popen` offers of a process that was started, as far as tests use it."""

    def __init__(self, source: Source, pid: int, handle: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._source = source
        self._handle = handle  # a pidfd: after it has ended, its pid may belong to another process

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises `subprocess.TimeoutExpired` after `timeout` s."""
        if (status := self._look(timeout)) is None:
            raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since, and was not told of yet
                signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self.returncode = self._source.status(self.pid, timeout)
            if self.returncode is not None:
                os.close(self._handle)
        return self.returncode


class Source:
    """The process that forks: one for each process that runs tests, from the first start that needs it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._ended: dict[int, int] = {}
        own, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(its.fileno())],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )
        self._socket = own
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
        """`python -m *arguments`, with stdout and stderr at the end of `log`."""
        with self._lock:
            self._socket.send(json.dumps([list(arguments), dict(environment), str(log)]).encode())
            while True:
                pid, status, handles = self._hear()
                if status is None:
                    return Forked(self, pid, *handles)
                self._ended[pid] = status

    def status(self, pid: int, timeout: float | None) -> int | None:
        """The exit status of `pid`; None if it still runs after `timeout` s."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                while select.select([self._socket], [], [], 0)[0]:
                    ended, status, _ = self._hear()
                    assert status is not None
                    self._ended[ended] = status
                if pid in self._ended:
                    return self._ended.pop(pid)
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            # another thread may use it
            select.select([self._socket], [], [], 1 if left is None else min(1, left))

    def _hear(self) -> tuple[int, int | None, list[int]]:
        """(pid, None, [pidfd]): it was started. (pid, exit status, []): it ended."""
        message, handles, _, _ = socket.recv_fds(self._socket, 1000, 1)
        assert message, "the process that forks has ended"
        pid, status = json.loads(message)
        return pid, status, handles

    def close(self) -> None:
        """End it. The processes that it started go on."""
        self._socket.close()
        self._process.wait()


_source: Source | None = None


def source() -> Source:
    """The forking process of this test process."""
    global _source
    if _source is None:
        _source = Source()
    return _source


def _fork_for(asked: socket.socket) -> Any:
    """Fork for each request. Returns only in the children, with what each has to run."""
    woken, wakes = socket.socketpair()
    woken.setblocking(False)
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = select.select([asked, woken], [], [])[0]
        if woken in ready:
            woken.recv(1000)
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    break
                if not pid:
                    break
                asked.send(json.dumps([pid, os.waitstatus_to_exitcode(status)]).encode())
        if asked in ready:
            message = asked.recv(1 << 20)
            if not message:
                os._exit(0)
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for one in (asked, woken, wakes):
                    one.close()
                return json.loads(message)
            handle = os.pidfd_open(pid)  # here, where it is not reaped before: a short process may have ended
            socket.send_fds(asked, [json.dumps([pid, None]).encode()], [handle])
            os.close(handle)


def _main() -> None:
    import gc
    import importlib
    import runpy

    from tests.support import small_journal

    for program in (*PROGRAMS, *_CHOSEN):
        importlib.import_module(program)
    small_journal.apply()
    gc.freeze()
    arguments, environment, log = _fork_for(socket.socket(fileno=int(sys.argv[1])))
    os.environ.clear()
    os.environ.update(environment)
    to = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(to, 1)
    os.dup2(to, 2)
    os.close(to)
    sys.argv = arguments
    sys.modules.pop(arguments[0], None)  # its module runs as `__main__`
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
