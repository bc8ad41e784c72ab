"""The shipped supervisord.conf, with three processes and a reader: whichever is killed, the store serves
again. All tests share one system, since each leaves it serving.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator

import psutil
import pytest

from tests.support.processes import wait_for
from tests.support.system import SERVES_WITHIN_S, System


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    made = System(tmp_path_factory.mktemp("system"), {"BLOBKEEP_READERS": "1"})
    try:
        wait_for(lambda: made.log.exists() and "serving" in made.log.read_text(), what="the first start")
        assert made.ask("POST", "lasting", b"value")[0] == 201
        wait_for(lambda: len(made.pids()) == 4)
        yield made
    finally:
        made.end()
    made.data.check()


def test_every_line_has_one_notation_and_none_looks_like_a_failure(system: System) -> None:
    """This includes supervisord's lines. It would call two of them critical: that root runs it, and its
    socket.
    """
    lines = system.log.read_text().splitlines()
    shape = re.compile(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\w+) (supervisord|server|gc|recovery|reader): \S"
    )
    found = [shape.match(line) for line in lines]
    assert [line for line, match in zip(lines, found, strict=True) if match is None] == []
    assert {match[2] for match in found if match} >= {"supervisord", "server"}
    assert {match[1] for match in found if match} <= {"INFO", "WARNING"}
    assert f"its page: http://127.0.0.1:{system.port}/" in system.log.read_text()


@pytest.mark.parametrize("program", ["server", "gc", "recovery", "reader"])
def test_a_killed_process_comes_back_and_the_store_serves(system: System, program: str) -> None:
    killed = system.pids()[program]
    os.kill(killed, signal.SIGKILL)
    assert system.ask("GET", "lasting") == (200, b"value")  # waits for the successor, and is never refused
    wait_for(lambda: system.pids().get(program) not in (None, killed), what=f"a new {program}")


@pytest.mark.parametrize("victims", [("supervisord",), ("supervisord", "server", "gc", "recovery", "reader")])
def test_after_a_killed_supervisord_the_next_one_serves(system: System, victims: tuple[str, ...]) -> None:
    before = system.pids()
    for pid in [system.popen.pid, *(before[name] for name in victims[1:])]:
        os.kill(pid, signal.SIGKILL)
    system.popen.wait(120)
    system.start()
    wait_for(system.serves, SERVES_WITHIN_S, "an answer")

    def all_are_new() -> bool:  # no orphan, so there is no second server, either
        after = system.pids()
        return len(after) == 4 and not set(after.values()) & set(before.values())

    wait_for(all_are_new, what="four new processes")
    wait_for(system.serves, SERVES_WITHIN_S, "an answer of the new server")
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in before.values()), what="the orphans' end")


def test_a_server_killed_during_an_upload_keeps_the_old_value(system: System) -> None:
    with socket.create_connection(("127.0.0.1", system.port), timeout=120) as upload:
        head = b"PUT /store/lasting HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
        upload.sendall(head + bytes(500_000))
        wait_for(lambda: any(p.stat().st_size for p in system.data.path.glob("*/data.raw")), what="a Pending")
        os.kill(killed := system.pids()["server"], signal.SIGKILL)
    wait_for(lambda: system.pids().get("server") not in (None, killed), what="a new server")
    assert system.ask("GET", "lasting") == (200, b"value")


def test_a_drain_finishes_what_is_under_way_and_new_requests_wait(system: System) -> None:
    before = system.pids()["server"]
    with socket.create_connection(("127.0.0.1", system.port), timeout=120) as upload:
        upload.sendall(b"PUT /store/lasting HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nva")
        wait_for(lambda: list(system.data.path.glob("*/data.raw")), what="the upload's begin")
        restart = threading.Thread(target=system.ctl, args=("restart", "server"))
        restart.start()
        wait_for(lambda: "stopping: requests under way" in system.log.read_text().split("serving")[-1])
        with socket.create_connection(("127.0.0.1", system.port), timeout=120) as new:
            new.sendall(b"GET /store/lasting HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            upload.sendall(b"lue")
            assert b"HTTP/1.1 200 OK" in upload.recv(4096)
            answer = b"".join(iter(lambda: new.recv(4096), b""))
    restart.join()
    assert answer.endswith(b"\r\n\r\nvalue")
    assert system.pids()["server"] != before


def test_the_control_socket_is_its_owner_s_alone(system: System) -> None:
    assert (system.home / "supervisor.sock").stat().st_mode & 0o777 == 0o700
    status = system.ctl("status")
    assert [line.split()[0] for line in status.splitlines()] == [
        "gc",
        "reader:reader-0",
        "recovery",
        "server",
    ]
