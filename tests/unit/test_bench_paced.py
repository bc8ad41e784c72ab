"""The benchmark's reads at a steady rate: what they wait for the server counts, all of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

from bench import paced
from bench.peers import Running

TAKES_S = 0.02


@contextmanager
def answering(status: str) -> Iterator[Running]:
    """A server of one connection that takes TAKES_S for each answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            sock, _ = listening.accept()
            with sock:
                while sock.recv(65536):
                    time.sleep(TAKES_S)
                    sock.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        yield cast(Running, SimpleNamespace(port=listening.getsockname()[1]))
        thread.join()


def test_every_answer_takes_at_least_the_time_of_the_server() -> None:
    with answering("200 OK") as peer:
        found = paced.read(peer, "/", 5, connections=1, per_s=20, seconds=0.5)
    assert (found.requests, found.errors) == (10, 0)
    assert found.p50_us >= TAKES_S * 1e6


def test_a_request_that_found_no_free_connection_waits_from_when_it_was_due() -> None:
    with answering("404 Not Found") as peer:  # ten times as many as it can answer
        found = paced.read(peer, "/", 5, connections=1, per_s=500, seconds=0.1)
    assert (found.requests, found.errors) == (50, 50)
    assert found.p50_us >= 10 * TAKES_S * 1e6
