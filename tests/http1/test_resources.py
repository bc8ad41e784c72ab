"""What is left behind: no reference cycles, no descriptors; and what happens when descriptors run out."""

from __future__ import annotations

import gc
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.http1.serving import Client, running, wait_until

ROOT = Path(__file__).resolve().parents[2]
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
PAUSE_S = 0.1
PUT = b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"


@pytest.mark.parametrize("with_uvloop", [True, False])
def test_a_thousand_requests_leave_no_reference_cycles(with_uvloop: bool) -> None:
    with running(with_uvloop=with_uvloop) as server, server.connect() as client:
        client.send(GET + PUT)  # what is made once is made here
        client.answer()
        client.answer()
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                client.send((GET + PUT) * 50)
                for _ in range(100):
                    assert client.answer()[0] == 200
            found = server.call(lambda: None) or gc.collect()
        finally:
            gc.enable()
        assert found < 10, f"{found} objects in cycles after 1,000 requests"


@pytest.mark.parametrize("with_uvloop", [True, False])
def test_connections_leave_no_descriptors_and_no_cycles(with_uvloop: bool) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    with running(with_uvloop=with_uvloop) as server:
        server.ask(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        before = descriptors()
        gc.collect()
        gc.disable()
        try:
            # Not among them: an upload that is cut off. Tornado's own handler then refers to the exception
            # that ends it, and that, by its traceback, to the handler.
            for number in range(100):
                with server.connect() as client:
                    client.send([GET, PUT, b"GET", b"bad\n\n", b""][number % 5])
                    if number % 5 < 2:
                        client.answer()
            wait_until(lambda: server.open_connections() == 0, "closing")
            wait_until(lambda: descriptors() <= before, "giving descriptors back")
            found = gc.collect()
        finally:
            gc.enable()
        assert found < 10, f"{found} objects in cycles after 100 connections"


_SERVER = """
import asyncio, logging, resource, socket, sys
import uvloop
from tornado.web import RequestHandler
from services.http1 import HTTPServer, Limits, acceptor
from tests.http1.serving import ordinary_app

really = acceptor.Acceptor._accept
tries = 0

def accept(self):
    global tries
    tries += 1
    really(self)

acceptor.Acceptor._accept = accept

class Tries(RequestHandler):
    def get(self):
        self.write(str(tries))

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    server = HTTPServer(ordinary_app(("/tries", Tries)), limits=Limits(accept_pause_s=float(sys.argv[1])))
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server.add_sockets([listener])
    print(listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()

logging.basicConfig(level=logging.WARNING)
uvloop.run(main())
"""


def test_used_up_descriptors_do_not_make_it_spin_and_connections_wait_their_turn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(PAUSE_S)], stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT
        )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        clients = [Client(socket.create_connection(("127.0.0.1", port), timeout=120)) for _ in range(60)]
        wait_until(lambda: b"cannot accept" in log.read_bytes(), "running out")
        began, before = time.monotonic(), _tries(clients[0])
        wait_until(lambda: _tries(clients[0]) >= before + 3, "trying again")
        # One try in each pause. A loop that spins would try thousands of times.
        assert _tries(clients[0]) - before <= (time.monotonic() - began) / PAUSE_S + 2
        for client in clients[:5]:
            client.send(GET)
            assert client.answer()[0] == 200  # clients that have a connection are served meanwhile
        for client in clients[:40]:
            client.sock.close()
        for client in clients[40:]:
            client.send(GET)
            assert client.answer()[0] == 200  # the others' turn has come
            client.sock.close()
        assert log.read_bytes().count(b"cannot accept") <= 3
        assert b"accepting connections again" in log.read_bytes()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _tries(client: Client) -> int:
    client.send(b"GET /tries HTTP/1.1\r\nHost: a\r\n\r\n")
    return int(client.answer()[2])


def test_two_thousand_idle_connections_are_cheap() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 5000:
        pytest.skip("needs 5,000 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 5000), hard))
    try:
        with running() as server:
            before = _rss_bytes()
            clients = [server.connect() for _ in range(2000)]
            wait_until(lambda: server.open_connections() == 2000, "connecting")
            for client in clients[::100]:
                client.send(GET)
                assert client.answer()[0] == 200
            assert (_rss_bytes() - before) / 2000 < 20_000  # both ends are in this process
            for client in clients:
                client.sock.close()
            wait_until(lambda: server.open_connections() == 0, "closing")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
