"""The program that reads the logs may hang, but nothing else does. Dropped lines are counted and reported."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services.engines.objects.development import free_ports
from tests.process.test_supervision import CONF, Supervisord, is_gone
from tests.support.environment import ROOT, environment
from tests.support.processes import wait_for
from tests.support.rules import DataDirectory


class Stalled:
    """A program whose stdout and stderr are one pipe, which nobody reads, and which is full at the start."""

    def __init__(self, argv: list[str], env: dict[str, str], *, full: bool = True) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while full:
                os.write(writing, b"." * 4096)
        os.set_blocking(writing, True)
        self.popen = subprocess.Popen(
            argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing
        )
        os.close(writing)

    def rest(self) -> str:
        """Everything that comes, to the end."""
        return b"".join(iter(lambda: os.read(self.reading, 1 << 16), b"")).decode().lstrip(".")

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()
        os.close(self.reading)


def program(name: str, data: Path, *flags: str) -> Stalled:
    return Stalled(
        [sys.executable, "-m", f"services.{name}", "--dir", str(data), "-D", *flags], environment()
    )


def ask(port: int, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, target, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def serves(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(port, "GET", "/healthz")[0] == 200
    return False


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "data")


@pytest.fixture
def stalled_server(data: DataDirectory) -> Iterator[tuple[Stalled, int]]:
    (port,) = free_ports(1)
    server = program("server", data.path, "-s", f"127.0.0.1:{port}", "--access-log")
    try:
        wait_for(lambda: serves(port), what="an answer")
        yield server, port
    finally:
        server.end()


def test_a_server_whose_log_nobody_reads_serves_and_stops(
    stalled_server: tuple[Stalled, int], data: DataDirectory
) -> None:
    """Before, everything hung for ever after 350 malformed requests."""
    server, port = stalled_server
    for _ in range(1000):
        with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 400"
    for number in range(100):  # three DEBUG lines each
        assert ask(port, "POST", f"/store/{number}", b"x")[0] == 201
    assert ask(port, "GET", "/store/99") == (200, b"x")
    server.popen.terminate()
    assert server.popen.wait(120) == 0
    data.check()


def test_what_waited_is_written_once_the_log_is_read(stalled_server: tuple[Stalled, int]) -> None:
    server, port = stalled_server
    for _ in range(500):
        with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 400"
    server.popen.send_signal(signal.SIGTERM)
    said = server.rest()
    assert server.popen.wait(120) == 0
    assert " blobs on " in said
    malformed = said.count(" INFO server: Malformed HTTP message from ")
    more = [int(found) for found in re.findall(r": (\d+) more lines like this one: Malformed", said)]
    assert malformed >= 100
    assert malformed + sum(more) == 500
    assert said.count('] "-" 400 0 "-" "-" 0.000000\n') == 500  # there is an access log line for each
    assert "INFO server: stopped\n" in said


@pytest.mark.parametrize("name", ["gc", "recovery"])
def test_a_worker_whose_log_nobody_reads_works_and_stops(name: str, data: DataDirectory) -> None:
    interval = f"--{name}-interval-s"
    worker = program(name, data.path, interval, "0.01")
    try:
        wait_for((data.path / ".status" / f"{name}.json").exists, what="its first pass")
        wait_for(
            lambda: psutil.Process(worker.popen.pid).num_ctx_switches().voluntary > 200, what="its passes"
        )
        worker.popen.terminate()
        assert worker.popen.wait(120) == 0
    finally:
        worker.end()


def test_a_supervisord_whose_output_nobody_reads_restarts_what_dies(tmp_path: Path) -> None:
    """Before, supervisord hung in a write, so nothing was restarted any more."""
    # Each process runs long enough before its death. After a quick death supervisord would wait for seconds.
    supervisord = Supervisord(tmp_path, CONF.replace("autorestart=true", "autorestart=true\nstartsecs=0"))
    supervisord.end()
    (tmp_path / "server.py").write_text(
        (tmp_path / "server.py").read_text().replace('print("started', 'print("x" * 300_000 + "started')
    )
    stalled = Stalled(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(supervisord.conf)],
        supervisord.environment,
        full=False,  # its first lines still go straight into the pipe
    )
    try:

        def asked() -> int:
            with contextlib.suppress(OSError):
                return supervisord.ask()
            return 0

        for _ in range(3):
            pid = wait_for(asked, what="an answer")
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda killed=pid: is_gone(killed), what="its end")  # type: ignore[misc]
        wait_for(asked, what="the last one")
        stalled.popen.terminate()
        said = stalled.rest()
        assert stalled.popen.wait(120) == 0
        assert said.count("spawned: 'server'") == 4
        assert said.count("started on") >= 4
        assert "stopped: server" in said
    finally:
        stalled.end()
