"""System calls for each request of a server on an object store, counted as in
tests/perf/test_system_calls.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.objects.test_system import System
from tests.perf.test_system_calls import BODY, REQUESTS, SLACK, Client, can_trace, check, counted
from tests.support.processes import Server
from tests.support.programs import needs
from tests.support.seaweed import Seaweed

pytestmark = [needs("strace"), pytest.mark.skipif(not can_trace(), reason="strace is not allowed")]

# The loop waits, the request is read, the store is asked; the loop waits, the answer is read, the client is
# answered. `getpid` is asyncio's way of finding its loop. Through obstore a create took 28 calls: its threads
# woke each other and the loop.
GET = {"epoll_pwait": 2, "read": 2, "write": 2, "getpid": 1}
CREATE = GET | {"getrandom": 1}  # its txn
# Of 1 MiB that is held: the store says that it is unchanged, and the client gets it in one call.
HELD = {"epoll_pwait": 2, "read": 2, "write": 1, "sendmsg": 1, "getpid": 1}


@pytest.fixture
def server(store_process: Seaweed, tmp_path: Path) -> Iterator[Server]:
    system = System(store_process, tmp_path)
    yield system.server()
    system.end()


def test_a_request_takes_no_threads_and_no_more_calls_than_recorded(server: Server, tmp_path: Path) -> None:
    with closing(Client(server.port)) as client:
        for number in range(20):
            assert client.ask("POST", f"warm-{number}", BODY) == 201
            assert client.ask("GET", f"warm-{number}") == 200
        for what, method, status, body, recorded in (
            ("a create of 1 KiB", "POST", 201, BODY, CREATE),
            ("a GET of it", "GET", 200, b"", GET),
        ):
            with counted(server, tmp_path) as seen:
                answers = {client.ask(method, f"blob-{number}", body) for number in range(REQUESTS)}
            assert answers == {status}
            check(seen, recorded, what)
            assert seen.counts.get("futex", 0) < SLACK + seen.idle, f"{what} hands something to a thread"


def test_a_blob_that_is_held_does_not_come_from_the_store_again(server: Server, tmp_path: Path) -> None:
    with closing(Client(server.port)) as client:
        assert client.ask("POST", "large", b"x" * (1 << 20)) == 201
        for _ in range(20):
            assert client.ask("GET", "large") == 200
        with counted(server, tmp_path) as seen:
            answers = {client.ask("GET", "large") for _ in range(REQUESTS)}
        assert answers == {200}
        check(seen, HELD, "a GET of 1 MiB that is held")
        assert seen.counts.get("setsockopt", 0) < SLACK, "the server waits for bytes of the store"
