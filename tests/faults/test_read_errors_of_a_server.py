"""A real server on a disk that does not give the state of one blob. The errors come from strace, so they look
as if the kernel had them.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from services.engines.local.disk import layout, record
from tests.conftest import StartServer
from tests.perf.test_system_calls import can_trace
from tests.support.environment import ROOT, environment
from tests.support.processes import Server
from tests.support.programs import needs
from tests.support.rules import DataDirectory


class Traced(Server):
    """A server under strace, which makes reads of one file fail: those that `when` selects, counted in
    each thread.
    """

    def __init__(self, root: Path, path: Path, when: str, *flags: str) -> None:
        self._inject = ["-P", str(path), "-e", f"inject=read:error=EIO:when={when}"]
        super().__init__(root, *flags)

    def _start(self) -> subprocess.Popen[bytes]:
        command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=read", *self._inject]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(
                [*command, sys.executable, "-m", "services.server", "--dir", str(self.root), *self.flags],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self) -> None:
        """strace does not pass signals on, so the server itself gets SIGTERM."""
        child = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()
        if self.popen.poll() is None and child:
            os.kill(int(child[0]), signal.SIGTERM)
            self.popen.wait(120)
        super().end()


def figures(server: Server) -> dict[str, float]:
    text = server.ask("GET", "/metrics").body.decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+) ([0-9.e+]+)$", text, re.MULTILINE)}


@needs("strace")
@pytest.mark.skipif(not can_trace(), reason="strace is not allowed")
@pytest.mark.parametrize("when", ["1+", "1..2"])
def test_a_real_server_on_a_disk_that_does_not_give_one_state(
    data: DataDirectory, start_server: StartServer, when: str
) -> None:
    server = start_server()
    assert server.ask("POST", "/store/a", b"intact").status == 201
    assert server.ask("POST", "/store/b", b"another").status == 201
    server.stop()
    path = next(
        p for p in data.path.glob(f"*/{layout.STATE_NAME}") if record.load(p.read_bytes()).location == "a"
    )
    traced = Traced(data.path, path, when)
    try:
        assert traced.ask("GET", "/store/b").body == b"another"
        if when == "1+":
            answer = traced.ask("GET", "/store/a")
            assert answer.status == 503, answer
            assert "retry-after" in answer.headers
            assert msgspec.json.decode(answer.body)["code"] == 503
            assert b"names them and the way out" in answer.body
            assert "the way out is in docs/operating.md" in traced.said()
            assert traced.ask("HEAD", "/store/a").status == 503
            assert traced.ask("POST", "/store/a", b"anew").status == 503
            assert traced.ask("DELETE", "/store/a").status == 503
            assert figures(traced)["blobkeep_unread_blobs"] == 1
            checks = msgspec.json.decode(traced.ask("GET", "/healthz?verbose").body)["checks"]
            assert [check["ok"] for check in checks if check["name"] == "unread"] == [False]
        else:
            assert traced.ask("GET", "/store/a").body == b"intact"  # the start tried again
            assert traced.ask("POST", "/store/a", b"anew").status == 409
            assert figures(traced)["blobkeep_unread_blobs"] == 0
    finally:
        traced.end()
    assert path.exists()
    server.restart()
    assert server.ask("GET", "/store/a").body == b"intact"
