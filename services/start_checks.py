"""What prevents a start: a supervisord or a server on this directory, a port in use, no access to the disk.

Checked before supervisord runs, so that a person gets one sentence, and not a server that is restarted again
and again. Nothing here stays locked or bound.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from common import config
from common.errors import BlobkeepError, LockHeld
from common.process import UNDER_SUPERVISOR
from services import kept_socket
from services.engines.local.disk import directory
from services.engines.local.disk.locks import StateLock
from services.supervisord_conf import SOCKET_NAME, run_folder


class InTheWay(BlobkeepError):
    """Why Blobkeep cannot start. `in_use`: by another process; `passing`: it will be over in seconds."""

    def __init__(self, text: str, *, in_use: bool = False, passing: bool = False) -> None:
        super().__init__(text)
        self.in_use = in_use
        self.passing = passing


def wait_until_free(options: config.Config, tell: Callable[[str], None]) -> None:
    """Wait until nothing prevents the start. Raises InTheWay for what will stay; ConfigError.

    `tell`: called once with what it waits for, as a line for people.
    """
    deadline = time.monotonic() + kept_socket.PATIENCE_S
    told = False
    while True:
        try:
            check(options)
        except InTheWay as err:
            if not err.passing or time.monotonic() >= deadline:
                raise
            if not told:
                tell(f"Waiting: {err}")
                told = True
            time.sleep(0.1)
        else:
            return


def check(options: config.Config) -> None:
    """Raise InTheWay for the first thing that prevents the start; ConfigError if there must be a store and is
    none."""
    _check_control_socket(run_folder(options) / SOCKET_NAME)
    if options.engine == "local":
        if not options.create:
            directory.existing(options.dir)
        _check_directory(options.dir)
    _check_port(options.listen)


def _check_control_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        pid = "unknown"
        with contextlib.suppress(OSError):
            pid = (path.parent / "supervisord.pid").read_text().strip()
        raise InTheWay(
            f"it already runs on this directory (supervisord is process {pid}): stop that one first.",
            in_use=True,
        )


def _check_directory(root: str) -> None:
    path = os.path.abspath(root)
    try:
        directory.make_root(path)
        with StateLock(path, "serve", says=False) as lock:
            lock.acquire(1.0)  # a recovery worker may have it for a moment
    except LockHeld as err:
        pid = lock.holder().split()[0]
        raise InTheWay(str(err), in_use=True, passing=pid.isdecimal() and is_ending(int(pid))) from err
    except OSError as err:
        raise InTheWay(f"the data directory {path} cannot be used: {err.strerror}.") from err


def _check_port(listen: str) -> None:
    host, port = config.host_and_port(listen)
    try:
        kept_socket.bind(host, port).close()
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            pids = sorted(pids_listening_on(port))
            users = " and ".join(map(describe_process, pids)) or "a process that we are not allowed to see"
            raise InTheWay(
                f"{listen} is in use by {users}: stop that, "
                "or choose another address (blobkeep serve --listen 127.0.0.1:8080, or "
                "make run BLOBKEEP_LISTEN=127.0.0.1:8080).",
                in_use=True,
                passing=bool(pids) and all(map(is_ending, pids)),
            ) from err
        raise InTheWay(f"it cannot listen on {listen}: {err.strerror}.") from err


def pids_listening_on(port: int) -> set[int]:
    """The processes that listen on a TCP port, as far as we are allowed to see them."""
    with contextlib.suppress(psutil.Error):
        return {
            found.pid
            for found in psutil.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr.port == port and found.pid
        }
    return set()


def describe_process(pid: int) -> str:
    """`process 123 (nginx: nginx -g ...)`."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return f"process {pid} ({process.name()}: {' '.join(process.cmdline())[:80]})"
    return f"process {pid}"


def is_ending(pid: int) -> bool:
    """True for a process of a Blobkeep whose supervisord is gone: the kernel has told it to stop."""
    try:
        process = psutil.Process(pid)
        orphan = UNDER_SUPERVISOR in process.environ() and not any(map(_is_supervisord, process.parents()))
        return orphan and any(word.startswith("services.") for word in process.cmdline())
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _is_supervisord(process: psutil.Process) -> bool:
    return any("supervisord" in word for word in process.cmdline())
