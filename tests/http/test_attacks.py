"""Clients that attack, or are too many: ordinary requests go on, and nothing of the others is left.

This is for our own connection class (`http = "blobkeep"`), with small limits that are soon reached.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.http.test_tls import make_certificate
from tests.support.processes import Process, Server, wait_for
from tests.support.raw import connected
from tests.support.rules import DataDirectory

MIB = 1 << 20
OURS = ("--http", "blobkeep")
IDLE = 2000
_made: list[socket.socket] = []  # opened by a test, closed after it


@pytest.fixture(autouse=True)
def _attackers() -> Iterator[None]:
    """Allow enough descriptors for the attackers, which are in this process. Their connections end with
    the test.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < IDLE + 500:
        pytest.skip(f"only {hard} open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard >= 0 else 8192, hard))
    yield
    while _made:
        _made.pop().close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Watch:
    """Memory and descriptors of a server, compared with those when it was quiet."""

    def __init__(self, server: Server) -> None:
        for _ in range(5):
            wait_for(lambda: is_served(server), what="an answer")  # what is made only once is made now
        self.process = psutil.Process(server.pid)
        wait_for(lambda: not self.clients(), what="the end of these requests")
        self.descriptors_before = self.descriptors()
        self.rss_before: int = self.process.memory_info().rss

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def clients(self) -> int:
        return sum(1 for found in self.process.net_connections("tcp") if found.status != psutil.CONN_LISTEN)

    def grown_bytes(self) -> int:
        rss: int = self.process.memory_info().rss
        return rss - self.rss_before

    def assert_nothing_leaks(self) -> None:
        wait_for(
            lambda: self.descriptors() <= self.descriptors_before,
            what=f"the return to {self.descriptors_before} descriptors",
        )


def connect(server: Server, request: bytes = b"", receive_bytes: int = 0) -> socket.socket:
    """A connection that has sent `request`, if wanted with a small receive buffer."""
    sock = socket.socket()
    _made.append(sock)
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(120)
    sock.connect(("127.0.0.1", server.port))
    if request:
        sock.sendall(request)
    return sock


def reset(sock: socket.socket) -> None:
    """Close with a reset, as when a client has died."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def answer_of(sock: socket.socket) -> bytes:
    """Everything until the connection ends; b"" if there was no answer."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            said += piece
    sock.close()
    return said


def upload(location: str, size_bytes: int) -> bytes:
    return (
        f"POST /store/{location} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size_bytes}\r\n\r\n".encode()
    )


def is_served(server: Server) -> bool:
    """Ask once. False if the connection had ended before, as an idle one may with a small limit."""
    try:
        return server.ask("GET", "/store/").status == 200
    except ConnectionError:
        return False


def assert_serves(server: Server, name: str, times: int = 10) -> None:
    """Check that ordinary clients notice nothing."""
    for n in range(times):
        body = b"%d" % n
        with connected(server.port) as client:  # a body that comes with its head is never slow
            assert client.ask("POST", f"/store/{name}{n}", body=body).status == 201
            assert client.ask("GET", f"/store/{name}{n}").body == body


def test_two_thousand_idle_connections_cost_little_and_leave_nothing(start_server: StartServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # the server raises its own limit
    try:
        server = start_server(*OURS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    watch = Watch(server)
    idle = [connect(server) for _ in range(IDLE)]
    wait_for(lambda: watch.descriptors() >= watch.descriptors_before + IDLE, what="so many connections")
    assert_serves(server, "a")
    for sock in idle[::2]:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for sock in idle[::2]:
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert_serves(server, "b")
    assert watch.grown_bytes() < 48 * MIB  # 20 KiB each, and memory that Python keeps
    for sock in idle[:1000]:
        reset(sock)
    for sock in idle[1000:]:
        sock.close()
    watch.assert_nothing_leaks()
    assert_serves(server, "c")


def test_connections_that_say_nothing_are_closed(start_server: StartServer) -> None:
    server = start_server(*OURS, "--idle-timeout", "0.3")
    watch = Watch(server)
    idle = [connect(server) for _ in range(100)]
    assert {answer_of(sock) for sock in idle} == {b""}
    watch.assert_nothing_leaks()


def test_slow_heads_are_answered_with_408_while_others_are_served(start_server: StartServer) -> None:
    server = start_server(*OURS, "--header-timeout", "0.5")
    watch = Watch(server)
    slow = [connect(server, b"GET /store/a HTTP/1.1\r\n") for _ in range(100)]
    for n in range(40):
        for sock in slow:
            with contextlib.suppress(OSError):
                sock.sendall(b"X-%d: 1\r\n" % n)  # never the empty line
        if n % 10 == 0:
            assert_serves(server, f"n{n}-", 3)
        time.sleep(0.025)  # the attackers send so slowly
    said = [answer_of(sock) for sock in slow]
    assert all(text.startswith(b"HTTP/1.1 408 ") for text in said if text)  # b"": a reset
    assert any(said)
    watch.assert_nothing_leaks()
    assert watch.grown_bytes() < 32 * MIB


def test_the_408_of_a_slow_head_arrives(start_server: StartServer) -> None:
    server = start_server(*OURS, "--header-timeout", "0.2")
    said = answer_of(connect(server, b"GET /store/a HTTP/1.1\r\nHost: "))
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close\r\n" in said


@pytest.mark.parametrize("size_bytes", [60_000, 2 * MIB])
def test_slow_bodies_are_answered_with_408_and_leave_nothing(
    start_server: StartServer, data: DataDirectory, size_bytes: int
) -> None:
    flags = ("--min-upload-rate", "1 MB", "--min-upload-grace", "0.5", "--body-timeout", "0.7")
    server = start_server(*OURS, *flags)
    watch = Watch(server)
    trickling = [connect(server, upload(f"slow{n}", size_bytes)) for n in range(50)]
    stalled = [connect(server, upload(f"stalled{n}", size_bytes) + b"x" * 1000) for n in range(50)]
    for n in range(15):
        for sock in trickling:
            with contextlib.suppress(OSError):
                sock.sendall(b"x")
        if n % 5 == 0:
            assert_serves(server, f"n{n}-", 2)
        time.sleep(0.05)  # the attackers send so slowly
    assert all(answer_of(sock).startswith(b"HTTP/1.1 408 ") for sock in stalled)
    said = [answer_of(sock) for sock in trickling]
    assert all(text.startswith(b"HTTP/1.1 408 ") for text in said if text)  # b"": a reset
    assert any(said)
    watch.assert_nothing_leaks()
    assert server.ask("GET", "/store/slow0").status == 404
    assert_nothing_is_left(data, server, 6)


def assert_nothing_is_left(data: DataDirectory, server: Server, blobs: int) -> None:
    """After a pass of the gc, only the folders of live blobs are on disk."""
    gc = Process("gc", data.path, "--once")
    assert gc.popen.wait(120) == 0, gc.said()
    folders = [path for path in data.path.iterdir() if path.name.isdigit()]
    assert len(folders) == blobs, [path.name for path in folders]
    assert {path.name for folder in folders for path in folder.iterdir()} <= {
        "data.raw",
        "blob_state.base64.json",
    }


def test_two_hundred_uploads_cut_at_once_leave_nothing(
    start_server: StartServer, data: DataDirectory
) -> None:
    server = start_server(*OURS)
    watch = Watch(server)
    cut = [connect(server, upload(f"cut{n}", 4 * MIB) + bytes(200_000)) for n in range(150)]
    cut += [connect(server, upload(f"cut{n}", 1000) + bytes(900)) for n in range(150, 200)]

    def pending() -> int:
        return sum(1 for path in data.path.iterdir() if path.name.isdigit() and (path / "data.raw").exists())

    wait_for(lambda: pending() >= 150, what="the uploads on disk")
    assert_serves(server, "a")
    for sock in cut:
        reset(sock)
    assert_serves(server, "b")
    watch.assert_nothing_leaks()
    for n in (0, 149, 150, 199):
        assert server.ask("GET", f"/store/cut{n}").status == 404
        assert server.ask("POST", f"/store/cut{n}", b"again").status == 201  # the name is free
    assert watch.grown_bytes() < 64 * MIB
    assert_nothing_is_left(data, server, 24)


def test_readers_who_take_nothing_cost_little_and_are_cut_off_by_nobody_else(
    start_server: StartServer,
) -> None:
    server = start_server(*OURS)
    body = os.urandom(MIB) * 64
    assert server.ask("POST", "/store/large", body).status == 201
    assert len(server.ask("GET", "/store/large").body) == len(body)
    watch = Watch(server)
    readers = [
        connect(server, b"GET /store/large HTTP/1.1\r\nHost: localhost\r\n\r\n", 4096) for _ in range(50)
    ]
    for sock in readers:
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert_serves(server, "a")
    assert server.ask("GET", "/store/large").body == body
    assert watch.grown_bytes() < 32 * MIB
    for sock in readers:
        reset(sock)
    watch.assert_nothing_leaks()


def test_readers_over_tls_who_take_nothing_cost_little(start_server: StartServer, tmp_path: Path) -> None:
    """50 of them cost 45 MiB."""
    cert, key = make_certificate(tmp_path)
    server = start_server(*OURS, "--tls-cert", str(cert), "--tls-key", str(key))
    context = ssl.create_default_context(cafile=str(cert))

    def encrypted(request: bytes, receive_bytes: int) -> ssl.SSLSocket:
        plain = connect(server, receive_bytes=receive_bytes)
        secure = context.wrap_socket(plain, server_hostname="127.0.0.1")
        _made.append(secure)
        secure.sendall(request)
        assert secure.recv(20).startswith(b"HTTP/1.1 2")
        return secure

    body = os.urandom(MIB) * 30
    encrypted(upload("large", len(body)) + body, MIB)
    read = b"GET /store/large HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with encrypted(read, MIB) as whole:  # what is made only once is made now
        whole.recv(MIB)
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    for _ in range(50):
        encrypted(read, 4096)
    assert process.memory_info().rss - before < 32 * MIB


def test_one_who_asks_much_and_reads_nothing_is_not_read_either(start_server: StartServer) -> None:
    server = start_server(*OURS)
    assert server.ask("POST", "/store/a", bytes(50_000)).status == 201
    watch = Watch(server)
    asking = [connect(server, receive_bytes=4096) for _ in range(10)]
    request = b"GET /store/a HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
    for sock in asking:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(400):  # 400,000 requests, 20 GB of answers
                sock.send(request)
    assert_serves(server, "b")
    assert watch.grown_bytes() < 32 * MIB
    for sock in asking:
        reset(sock)
    watch.assert_nothing_leaks()


def test_one_connection_too_many_is_told_when_to_come_back_and_the_others_go_on(
    start_server: StartServer,
) -> None:
    server = start_server(*OURS, "--max-connections", "20")
    watch = Watch(server)
    uploading = connect(server, upload("a", 6) + b"abc")
    idle = [connect(server) for _ in range(19)]
    one_more = b"GET /store/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    # The number of descriptors does not show when all are accepted, since the upload may have its file open,
    # too.
    wait_for(
        lambda: answer_of(connect(server, one_more)).startswith(b"HTTP/1.1 503 "), what="the connections"
    )
    for _ in range(5):
        said = answer_of(connect(server, one_more))
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in said
    uploading.sendall(b"def")
    assert uploading.recv(4096).startswith(b"HTTP/1.1 201 ")
    for sock in [*idle, uploading]:
        sock.close()
    watch.assert_nothing_leaks()
    assert server.ask("GET", "/store/a").body == b"abcdef"


def test_readers_that_stop_reading_are_cut_off_and_healthz_is_answered_meanwhile(
    start_server: StartServer,
) -> None:
    """With `max_connections` such clients all others got 503, also for /healthz."""
    server = start_server(*OURS, "--max-connections", "10", "--send-timeout", "3")
    body = os.urandom(MIB) * 30
    assert server.ask("POST", "/store/large", body).status == 201
    watch = Watch(server)
    read = b"GET /store/large HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for sock in [connect(server, read, 4096) for _ in range(10)]:
        assert sock.recv(1)
    healthz = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    silent = [connect(server) for _ in range(300)]  # these do not keep it out, either
    said = answer_of(connect(server, healthz))
    assert said.startswith(b"HTTP/1.1 200 ")
    for sock in silent:
        sock.close()
    wait_for(lambda: is_served(server), what="a place for others")
    watch.assert_nothing_leaks()


def test_one_upload_too_many_is_told_when_to_come_back_and_reads_go_on(start_server: StartServer) -> None:
    server = start_server(*OURS, "--max-uploads", "4", "--min-upload-rate", "0")  # so that none is slow
    uploads = [connect(server, upload(f"a{n}", 6) + b"abc") for n in range(4)]

    def refused() -> bool:
        answer = server.ask("POST", "/store/b", bytes(200_000))
        if answer.status == 503:
            assert int(answer.headers["retry-after"]) > 0
        return answer.status == 503 or server.ask("DELETE", "/store/b").status != 200

    wait_for(refused, what="the refusal")
    assert server.ask("GET", "/store/").status == 200
    for sock in uploads:
        sock.sendall(b"def")
        assert sock.recv(4096).startswith(b"HTTP/1.1 201 ")
        sock.close()
    assert server.ask("GET", "/store/a3").body == b"abcdef"
    large = bytes(200_000)
    wait_for(lambda: server.ask("POST", "/store/c", large).status in (201, 409), what="the next upload")


def test_heads_without_bodies_do_not_keep_uploads_out(start_server: StartServer) -> None:
    """256 of these took all places of max_uploads for 30 s, and every other upload got 503."""
    server = start_server(*OURS, "--max-uploads", "8")
    heads = [connect(server, upload(f"never{n}", 200_000)) for n in range(8)]
    trickling = [connect(server, upload(f"slow{n}", 200_000) + b"x") for n in range(8)]
    assert server.ask("POST", "/store/small", b"a body that comes with its head").status == 201
    body = bytes(200_000)
    wait_for(lambda: server.ask("POST", "/store/large", body).status == 201, what="an upload's place")
    answered = [sock for sock in [*heads, *trickling] if has_answer(sock)]
    assert answered  # those that lost their place were told why
    for sock in answered:
        said = answer_of(sock)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in said
    assert server.ask("GET", "/store/large").body == body


def has_answer(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def test_running_out_of_descriptors_ends_nobody_and_passes(start_server: StartServer) -> None:
    server = start_server(*OURS)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (128, 128))
    watch = Watch(server)
    first = connect(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert first.recv(4096).startswith(b"HTTP/1.1 200 ")
    idle = [connect(server) for _ in range(300)]  # the rest of them wait in the system's queue
    wait_for(lambda: "cannot accept connections" in server.said(), what="the end of descriptors")
    first.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert first.recv(4096).startswith(b"HTTP/1.1 ")
    for sock in [*idle, first]:
        sock.close()
    watch.assert_nothing_leaks()
    assert_serves(server, "a", 3)
