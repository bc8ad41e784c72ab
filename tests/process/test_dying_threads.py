"""A server whose committer ends by an exception ends, too: writes would wait for it for ever."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.processes import Server

# Out of memory, say: each step of the thread may raise it, those that handle errors included.
DIES = """
import sys
from services.engines.local.serving import group_commit
from services import server

def out_of_memory(self, batch):
    if self.batches:
        raise MemoryError
    real(self, batch)

real, group_commit.GroupCommit._commit = group_commit.GroupCommit._commit, out_of_memory
sys.exit(server.main(sys.argv[4:]))  # after "python -m services.server"
"""


def test_the_server_ends_at_once_and_loses_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", through=[sys.executable, "-c", DIES])
    try:
        assert server.ask("POST", "/store/before", b"acknowledged").status == 201
        with pytest.raises(OSError):  # noqa: PT011 - reset, or no answer
            server.ask("POST", "/store/after", b"not acknowledged")
        assert server.popen.wait(60) == 1
        assert "CRITICAL server: uncaught MemoryError" in server.said()
        server._through = []
        server.restart()
        assert server.ask("GET", "/store/before").body == b"acknowledged"
        assert server.ask("GET", "/store/after").status == 404
    finally:
        server.end()
