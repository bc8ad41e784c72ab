"""The server as a process: acknowledged writes are there after it was killed, and it drains when told to
stop.
"""

from __future__ import annotations

from tests.support.processes import Server
from tests.support.rules import DataDirectory, live_blobs


def test_what_was_acknowledged_is_there_after_a_kill(server: Server, data: DataDirectory) -> None:
    for number in range(20):
        assert server.ask("POST", f"/store/{number}", b"%d" % number).status == 201
    assert server.ask("PUT", "/store/3", b"three").status == 200
    assert server.ask("DELETE", "/store/4").status == 200
    server.kill()
    expected = {str(n): b"%d" % n for n in range(20) if n != 4} | {"3": b"three"}
    assert live_blobs(data.root) == expected
    server.restart()
    assert {n: server.ask("GET", f"/store/{n}").body for n in expected} == expected
    assert server.ask("GET", "/store/4").status == 404


def test_a_stopped_server_leaves_an_empty_journal_and_status_0(server: Server) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    assert server.stop() == 0
    assert "stopped" in server.said()
