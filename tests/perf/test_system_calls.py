"""System calls for each request, counted with strace on a real server. Counts are stable, and times are not.
A count above the recorded one fails: something came in by mistake, or it is worth its cost, and then the
record says why. If a count is lower, lower the record. What the kernel does for the loop's timers and for
other threads' wake-ups is in the counts, too, so they are no whole numbers; `SLACK` covers that. An idle
server also makes some calls each second. On a busy machine that is more for each request, so they are allowed
for the time that the requests took.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.processes import Server, wait_for
from tests.support.programs import find, needs

REQUESTS = 200
SLACK = 0.35
# Allowed for each call: the loop's timers, and the folders that are checked. Counted: 18 and 8 a second.
IDLE_PER_S = 30
BODY = b"x" * 1024
Counts = Mapping[str, float]


@dataclass
class Seen:
    """The number of calls by name, and how many of them an idle server makes in that time; both divided
    by REQUESTS.
    """

    counts: dict[str, float] = field(default_factory=dict)
    idle: float = 0


def can_trace() -> bool:
    """True if strace may be used, which containers often forbid."""
    if find("strace") is None:
        return True
    return (
        subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0
    )


pytestmark = [needs("strace"), pytest.mark.skipif(not can_trace(), reason="strace is not allowed")]


class Client:
    """One connection that stays open, without a client library."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=120)

    def ask(self, method: str, name: str, body: bytes = b"") -> int:
        """One request with a small answer; its status."""
        length = f"Content-Length: {len(body)}\r\n" if method in ("POST", "PUT") else ""
        head = f"{method} /store/{name} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n"
        self._sock.sendall(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._sock.recv(65536)
        head_bytes, _, rest = answer.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head_bytes.lower().split(b"\r\n")[1:])
        left = int(fields.get(b"content-length", b"0")) - len(rest) if method != "HEAD" else 0
        while left > 0:
            left -= len(self._sock.recv(65536))
        return int(answer.split(b" ", 2)[1])

    def close(self) -> None:
        self._sock.close()


@contextmanager
def counted(server: Server, folder: Path) -> Iterator[Seen]:
    """What the server calls meanwhile; filled in at the end."""
    seen = Seen()
    path = folder / "calls"
    command = ["strace", "-f", "-c", "-U", "name,calls", "-o", str(path), "-p", str(server.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        began_s = time.monotonic()
        threads = len(os.listdir(f"/proc/{server.pid}/task"))
        wait_for(lambda: traced(server.pid) == threads, what="strace's attaching")
        yield seen
        tracer.send_signal(signal.SIGINT)
        tracer.stderr.read()
        tracer.wait(120)
        seen.idle = (time.monotonic() - began_s) * IDLE_PER_S / REQUESTS
    for line in path.read_text().splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[1].isdigit() and parts[0] != "total":
            seen.counts[parts[0]] = int(parts[1]) / REQUESTS


def traced(pid: int) -> int:
    """How many threads of a process have a tracer."""
    found = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
        found += "TracerPid:\t0\n" not in status
    return found


@pytest.fixture
def traced_server(start_server: StartServer) -> Iterator[tuple[Server, Client]]:
    server = start_server()
    client = Client(server.port)
    for number in range(20):  # threads that start with the first requests, lazy imports
        assert client.ask("POST", f"warm-{number}", BODY) == 201
        assert client.ask("GET", f"warm-{number}") == 200
        assert client.ask("PUT", f"warm-{number}", BODY) == 200
        assert client.ask("DELETE", f"warm-{number}") == 200
    yield server, client
    client.close()


def check(seen: Seen, recorded: Counts, what: str) -> None:
    """Check that no count is above the recorded one, and that nothing else is called. The futexes that wake
    threads and pass Python's lock on do not count, since their number depends on which thread is faster.
    """
    counts = sorted(seen.counts.items())
    shown = ", ".join(f"{name} {count:.2f}" for name, count in counts if count > SLACK / 2)
    slack = SLACK + seen.idle
    more = {
        name: count for name, count in counts if count > recorded.get(name, 0) + slack and name != "futex"
    }
    assert not more, f"{what} calls more than recorded: {more}; all: {shown}"


# What every request needs: the loop waits, the request is read, the answer is written.
REQUEST = {"epoll_pwait": 1, "read": 1, "write": 1}
# A write goes to the committer's thread and back: `write` wakes the loop and `read` takes that; the loop
# turns once for the answer's task.
THERE_AND_BACK = {"epoll_pwait": 3, "read": 2, "write": 2}
# One batch of one: its record is written into the journal and synced. Sixteen at once share that. Both files
# are checked first, 1 µs each, since somebody may have removed them.
JOURNAL = {"pwrite64": 1, "fdatasync": 1, "newfstatat": 2}


def plus(*parts: Counts) -> Counts:
    """The sums."""
    return {name: sum(part.get(name, 0) for part in parts) for part in parts for name in part}


# Its folder is made, which takes the id; two files are made and get their names.
NEW_BLOB = {"mkdir": 1, "openat": 2, "write": 2, "close": 2, "rename": 2}
# Its state is read for the history, written again, and replaces the old one; the gc gets a hint (opened each
# time, since the gc takes the file away).
OLD_BLOB = {"openat": 3, "read": 1, "write": 2, "close": 3, "renameat2": 1}

CREATE = plus(THERE_AND_BACK, JOURNAL, NEW_BLOB)
REPLACE = plus(THERE_AND_BACK, JOURNAL, NEW_BLOB, OLD_BLOB)
DELETE = plus(THERE_AND_BACK, JOURNAL, OLD_BLOB)
# The first read of a body: the file is opened without a walk through the disk, read if it is in the page
# cache, closed. Then its bytes are in memory.
FIRST_GET = plus(REQUEST, {"openat2": 1, "preadv2": 1, "close": 1})


def test_a_request_of_each_kind_makes_no_more_system_calls_than_recorded(
    traced_server: tuple[Server, Client], tmp_path: Path
) -> None:
    server, client = traced_server
    for what, method, status, body, recorded in (
        ("a create of 1 KiB", "POST", 201, BODY, CREATE),
        ("a first GET", "GET", 200, b"", FIRST_GET),
        ("a GET", "GET", 200, b"", REQUEST),
        ("a HEAD", "HEAD", 200, b"", REQUEST),
        ("a replacement by 1 KiB", "PUT", 200, BODY, REPLACE),
        ("a DELETE", "DELETE", 200, b"", DELETE),
    ):
        with counted(server, tmp_path) as seen:
            answers = {client.ask(method, f"blob-{number}", body) for number in range(REQUESTS)}
        assert answers == {status}
        assert sum(seen.counts.values()) >= 2.5, f"{what}: strace saw {seen.counts}"
        check(seen, recorded, what)


def test_the_count_of_one_call_too_many_fails() -> None:
    check(Seen({"read": 1.2, "futex": 0.3}), {"read": 1}, "a GET")
    with pytest.raises(AssertionError, match=r"more than recorded.*'fsync'"):
        check(Seen({"read": 1, "fsync": 1}), {"read": 1}, "a GET")
    with pytest.raises(AssertionError, match=r"more than recorded.*'read'"):
        check(Seen({"read": 2}), {"read": 1}, "a GET")


# With readers: our own epoll, inside the loop's, is asked which connections have something.
READY_GET = {"epoll_pwait": 1, "epoll_wait": 1, "recvfrom": 1, "sendto": 1}


def test_a_get_that_is_ready_makes_no_more_system_calls_than_recorded(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(env={"BLOBKEEP_READERS": "1"})
    client = Client(server.port)
    assert client.ask("POST", "a", BODY) == 201
    assert {client.ask("GET", "a") for _ in range(3)} == {200}
    with counted(server, tmp_path) as seen:
        assert {client.ask("GET", "a") for _ in range(REQUESTS)} == {200}
    assert seen.counts["recvfrom"] >= 1
    check(seen, READY_GET, "a GET that is ready")
    client.close()


# The bytes were verified when they were kept. So no file is opened, nothing is read or checked, and the body
# is not copied. `sendto` is the head's.
HOT_LARGE_GET = {"epoll_pwait": 1, "read": 1, "sendto": 1, "sendfile": 1}


def test_a_hot_get_of_a_larger_blob_copies_nothing(
    traced_server: tuple[Server, Client], tmp_path: Path
) -> None:
    server, client = traced_server
    assert client.ask("POST", "large", b"x" * (200 << 10)) == 201
    assert {client.ask("GET", "large") for _ in range(3)} == {200}
    with counted(server, tmp_path) as seen:
        assert {client.ask("GET", "large") for _ in range(REQUESTS)} == {200}
    assert seen.counts["sendfile"] >= 1
    check(seen, HOT_LARGE_GET, "a hot GET of 200 KiB")
