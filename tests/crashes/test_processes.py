"""Real servers that die at a disk call, counted from their start. Then a server starts that does not die."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.campaign import SIZE, chooser, tally
from tests.support.disk_calls import DIED
from tests.support.processes import Process, Server
from tests.support.rules import DataDirectory

STAGED = bytes(range(256)) * 800  # over small_body_bytes
# In this order, until the server dies. (method, location, body)
REQUESTS = [
    ("POST", "a", b"first"),
    ("POST", "b", STAGED),
    ("PUT", "a", b"second"),
    ("DELETE", "b", None),
    ("POST", "b", b"again"),
    ("PUT", "a", STAGED),
    ("DELETE", "a", None),
]


class DyingServer(Server):
    """A server that dies at disk call `at`, maybe before it serves."""

    def module(self) -> list[str]:
        return ["tests.support.dying"]

    def __init__(self, root: Path, at: int, *flags: str) -> None:
        self.port = 0
        env = {"DIES_AS": "server", "DIES_AT": str(at)}
        Process.__init__(self, "server", root, "-s", "127.0.0.1:0", *flags, env=env)
        try:
            self.wait_until_serving()
        except AssertionError:
            assert self.popen.wait(120) == DIED


@pytest.mark.parametrize("sync", ["journal", "folder"])
@pytest.mark.parametrize("id_bits", [16, 32])
def test_a_server_that_dies_at_a_disk_call_loses_nothing(
    sync: str, id_bits: int, data: DataDirectory, start_server: StartServer
) -> None:
    flags = ("--sync", sync, "--id-bits", str(id_bits))
    for at in sorted(chooser(f"processes {sync} {id_bits}").sample(range(1, 90), SIZE or 80)):
        now: dict[str, list[bytes | None]] = {"a": [None], "b": [None]}
        server = DyingServer(data.path, at, *flags)
        try:
            for method, location, body in REQUESTS if server.popen.poll() is None else ():
                new = None if method == "DELETE" else body
                try:
                    answer = server.ask(method, f"/store/{location}", body)
                except (OSError, http.client.HTTPException):
                    now[location] = [*now[location], new]  # it died, so the value is the old or the new one
                    break
                assert answer.status in (200, 201), answer
                now[location] = [new]
        finally:
            server.kill()
        tally("deaths of real servers", server.popen.returncode == DIED)
        whole = start_server(*flags)
        for location, values in now.items():
            answer = whole.ask("GET", f"/store/{location}")
            found = answer.body if answer.status == 200 else None
            assert answer.status in (200, 404), (at, answer)
            assert found in values, (at, location)
            if found is not None:
                assert whole.ask("DELETE", f"/store/{location}").status == 200
        listing = json.loads(whole.ask("GET", "/store/").body)
        assert listing["blobs"] == []
        assert whole.stop() == 0
        data.check()
