"""The shipped supervisord.conf with the three processes: whoever is killed, the store serves again.

One system for all tests, since each leaves it serving.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.processes import ROOT, wait_for
from tests.support.rules import DataDirectory

SERVES_WITHIN_S = 10.0  # what is promised after any kill


class System:
    """supervisord on a copy of the shipped configuration, with its sockets elsewhere."""

    def __init__(self, home: Path) -> None:
        self.data = DataDirectory(home / "data")
        self.home = home
        text = (ROOT / "supervisord.conf").read_text()
        text = text.replace("%(here)s/run", str(home)).replace("%(here)s", str(ROOT))
        (home / "supervisord.conf").write_text(text)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.log = home / "log"
        self.start()

    def start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BLOBKEEP_")}
        environment |= {
            "PYTHONPATH": str(ROOT),
            "BLOBKEEP_CONFIG": os.devnull,
            "BLOBKEEP_LISTEN": f"127.0.0.1:{self.port}",
            "BLOBKEEP_DIR": str(self.data.path),
        }
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.home / "supervisord.conf")],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ctl(self, *command: str) -> str:
        conf = str(self.home / "supervisord.conf")
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", conf, *command],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.stdout

    def pids(self) -> dict[str, int]:
        """By program, of those that run; asked of the system, not of supervisord, who may be dead."""
        found: dict[str, int] = {}
        for process in psutil.process_iter(["cmdline", "environ"]):
            words = process.info["cmdline"] or []
            environment = process.info["environ"] or {}
            if environment.get("BLOBKEEP_DIR") == str(self.data.path) and "-m" in words:
                found[words[words.index("-m") + 1].removeprefix("services.")] = process.pid
        found.pop("supervisor.supervisord", None)
        return found

    def ask(self, method: str, location: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SERVES_WITHIN_S)
        with contextlib.closing(connection):
            connection.request(method, "/store/" + location, body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def serves(self) -> bool:
        try:
            return self.ask("GET", "lasting") == (200, b"value")
        except (OSError, http.client.HTTPException):
            return False

    def end(self) -> None:
        self.popen.terminate()
        self.popen.wait(40)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    made = System(tmp_path_factory.mktemp("system"))
    try:
        wait_for(lambda: made.log.exists() and "serving" in made.log.read_text(), what="the first start")
        assert made.ask("POST", "lasting", b"value")[0] == 201
        wait_for(lambda: len(made.pids()) == 3)
        yield made
    finally:
        made.end()
    made.data.check()


@pytest.mark.parametrize("program", ["server", "gc", "recovery"])
def test_a_killed_process_comes_back_and_the_store_serves(system: System, program: str) -> None:
    killed = system.pids()[program]
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    assert system.ask("GET", "lasting") == (200, b"value")  # waits for the successor; is never refused
    assert time.monotonic() - began < SERVES_WITHIN_S
    wait_for(lambda: system.pids().get(program) not in (None, killed), what=f"a new {program}")


@pytest.mark.parametrize("victims", [("supervisord",), ("supervisord", "server", "gc", "recovery")])
def test_after_a_killed_supervisord_the_next_one_serves(system: System, victims: tuple[str, ...]) -> None:
    before = system.pids()
    for pid in [system.popen.pid, *(before[name] for name in victims[1:])]:
        os.kill(pid, signal.SIGKILL)
    system.popen.wait(10)
    system.start()
    began = time.monotonic()
    wait_for(system.serves, SERVES_WITHIN_S, "an answer")
    assert time.monotonic() - began < SERVES_WITHIN_S
    wait_for(lambda: len(system.pids()) == 3, what="all three")
    after = system.pids()
    assert not set(after.values()) & set(before.values())  # no orphan, so no second server either
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in before.values()), what="the orphans' end")


def test_a_server_killed_during_an_upload_keeps_the_old_value(system: System) -> None:
    with socket.create_connection(("127.0.0.1", system.port), timeout=30) as upload:
        head = b"PUT /store/lasting HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        upload.sendall(head + bytes(500_000))
        wait_for(lambda: any(p.stat().st_size for p in system.data.path.glob("*/data.raw")), what="a Pending")
        os.kill(system.pids()["server"], signal.SIGKILL)
    assert system.ask("GET", "lasting") == (200, b"value")


def test_a_drain_finishes_what_is_under_way_and_new_requests_wait(system: System) -> None:
    before = system.pids()["server"]
    with socket.create_connection(("127.0.0.1", system.port), timeout=30) as upload:
        upload.sendall(b"PUT /store/lasting HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nva")
        wait_for(lambda: list(system.data.path.glob("*/data.raw")), what="the upload's begin")
        restart = threading.Thread(target=system.ctl, args=("restart", "server"))
        restart.start()
        wait_for(lambda: "stopping: requests under way" in system.log.read_text().split("serving")[-1])
        with socket.create_connection(("127.0.0.1", system.port), timeout=30) as new:
            new.sendall(b"GET /store/lasting HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            upload.sendall(b"lue")
            assert b"HTTP/1.1 200 OK" in upload.recv(4096)
            answer = b"".join(iter(lambda: new.recv(4096), b""))
    restart.join()
    assert answer.endswith(b"\r\n\r\nvalue")
    assert system.pids()["server"] != before


def test_the_control_socket_is_its_owner_s_alone(system: System) -> None:
    assert (system.home / "supervisor.sock").stat().st_mode & 0o777 == 0o700
    status = system.ctl("status")
    assert [line.split()[0] for line in status.splitlines()] == ["gc", "recovery", "server"]
