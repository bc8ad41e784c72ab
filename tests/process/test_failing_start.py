"""Any exception while the server starts or stops ends the process with status 1, and it holds neither
lock nor port.
"""

from __future__ import annotations

import errno
import itertools
from pathlib import Path

import pytest

from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory

ERRORS = [f"{errno.EOPNOTSUPP}", "a mistake of ours"]
ENGINE = "services.engines.local.engine"
STEPS = [
    "services.server:ServerCredentials",
    "services.server:self_report.begin",
    "services.server:listening_sockets",
    f"{ENGINE}:directory.open_directory",
    "services.engines.local.recovery.restart:without_index",
    f"{ENGINE}:recovered",
    f"{ENGINE}:LocalStore",
    f"{ENGINE}:DiskProbe",
    f"{ENGINE}:serve_reports",
    f"{ENGINE}:LocalAdmin",
    "services.engines.local.serving.store:LocalDamage",
    "services.server:Monitor",
    "services.server:make_app",
    "services.server:FastPath",
    "services.server:make_server",
    "services.server:Monitor.start",
    "services.server:_address",
]


class FailingServer(Process):
    """A server in which one step raises."""

    def __init__(self, root: Path, place: str, error: str) -> None:
        self._place = [place, error]
        super().__init__("server", root, "-s", "127.0.0.1:0")

    def module(self) -> list[str]:
        return ["tests.support.failing_start", *self._place]


@pytest.mark.parametrize(("step", "error"), zip(STEPS, itertools.cycle(ERRORS), strict=False))
def test_a_start_that_fails_ends_the_process(data: DataDirectory, step: str, error: str) -> None:
    failing = FailingServer(data.path, step, error)
    try:
        assert failing.popen.wait(60) == 1
        assert error in failing.said() or "not supported" in failing.said()
    finally:
        failing.end()


@pytest.mark.parametrize("step", ["Monitor.close", "Monitor.look"])
def test_a_stop_that_fails_ends_the_process(data: DataDirectory, step: str) -> None:
    failing = FailingServer(data.path, f"services.watch.monitor:{step}", "a mistake of ours")
    try:
        wait_for(lambda: "serving 0 blobs" in failing.said(), what="the start")
        assert failing.stop() == (1 if step == "Monitor.close" else 0)
    finally:
        failing.end()


def test_a_directory_that_cannot_hold_a_socket_is_served(data: DataDirectory) -> None:
    """On Docker Desktop's mounts, SMB and exFAT the server hung, and kept its port and lock."""

    class WithoutSocket(Server):
        def module(self) -> list[str]:
            listen = "services.engines.local.serving.damage_socket:listen"
            return ["tests.support.failing_start", listen, f"{errno.EOPNOTSUPP}"]

    server = WithoutSocket(data.path)
    try:
        assert server.ask("POST", "/store/a", b"served").status == 201
        assert server.ask("GET", "/store/a").body == b"served"
        assert "the recovery worker cannot report damage" in server.said()
        assert server.stop() == 0
    finally:
        server.end()
