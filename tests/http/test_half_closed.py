"""A client that sends its request and then ends its sending, as `nc -N` does, is answered like any other."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.http.conftest import shared_server
from tests.support.processes import Server
from tests.support.raw import connected


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from shared_server(tmp_path_factory, "blobkeep")


@pytest.mark.parametrize("size", [10, 100_000, 1_500_000])
@pytest.mark.parametrize("by_handler", [False, True])
def test_an_upload_is_stored_and_answered(served: Server, size: int, by_handler: bool) -> None:
    body = b"x" * size
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    headers = {"Repr-Digest": f"sha-256=:{digest}:"} if by_handler else {}
    for number in range(5):
        target = f"/store/half/{size}/{by_handler}/{number}"
        with connected(served.port) as connection:
            connection.request("POST", target, headers, body)
            connection.sock.shutdown(socket.SHUT_WR)
            assert connection.answer().status == 201
        with connected(served.port) as connection:
            connection.request("GET", target)
            connection.sock.shutdown(socket.SHUT_WR)
            assert connection.answer().body == body
            assert connection.at_end()


def test_requests_in_a_row_that_came_with_the_end_are_all_answered(served: Server) -> None:
    """The server was stopped meanwhile, so it finds the bytes and the end together."""
    assert served.ask("POST", "/store/half/row", b"body").status == 201
    get = b"GET /store/half/row HTTP/1.1\r\nHost: localhost\r\n\r\n"
    os.kill(served.pid, signal.SIGSTOP)
    try:
        with socket.create_connection(("127.0.0.1", served.port), timeout=120) as sock:
            sock.sendall(get * 3)
            sock.shutdown(socket.SHUT_WR)
            os.kill(served.pid, signal.SIGCONT)
            answers = b"".join(iter(lambda: sock.recv(65536), b""))
    finally:
        os.kill(served.pid, signal.SIGCONT)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == answers.count(b"\r\n\r\nbody") == 3
