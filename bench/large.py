"""Large uploads and downloads: the rate, the server's CPU per MiB, and how much its memory grows."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.measure import GIB, MIB, Case, Values
from bench.peers import Running

_SAMPLE_S = 0.01
_PIECE_BYTES = 64 << 10


class _Peak(threading.Thread):
    """The most resident memory that a peer has while this runs, by samples."""

    def __init__(self, peer: Running) -> None:
        super().__init__(daemon=True)
        self._peer = peer
        self._over = threading.Event()
        self.before_bytes = self.most_bytes = peer.rss_bytes()

    def run(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            self.most_bytes = max(self.most_bytes, self._peer.rss_bytes())

    def grown_mib(self) -> float:
        self._over.set()
        self.join()
        return (self.most_bytes - self.before_bytes) / MIB


def _measured(peer: Running, size_bytes: int, run: Callable[[], None]) -> Values:
    peak = _Peak(peer)
    before = peer.cpu_seconds()
    began = time.perf_counter()
    peak.start()
    run()
    seconds = time.perf_counter() - began
    cpu_seconds = peer.cpu_seconds() - before
    return {
        "mib_per_s": size_bytes / MIB / seconds,
        "cpu_us_per_mib": cpu_seconds * 1e6 / (size_bytes / MIB),
        "grown_mib": peak.grown_mib(),
        "seconds": seconds,
    }


def upload(peer: Running, name: str, size_bytes: int) -> None:
    """One body of zeros. Raises RuntimeError for another status.

    It is sent from memory in small pieces. To send a sparse file by `sendfile` made the kernel fill 1 GiB of
    page cache, and held the core of the load for up to 28 ms at a time: other clients had to wait.
    """
    connection = peer.connect()
    try:
        connection.putrequest(peer.create, peer.prefix + name)
        for field, value in {**peer.headers(), "Content-Length": str(size_bytes)}.items():
            connection.putheader(field, value)
        connection.endheaders()
        body = memoryview(bytes(_PIECE_BYTES))
        for at in range(0, size_bytes, _PIECE_BYTES):
            connection.sock.sendall(body[: size_bytes - at])
        status = connection.getresponse().status
    finally:
        connection.close()
    if status not in (200, 201, 204):
        raise RuntimeError(f"{peer.name}: an upload of {size_bytes} bytes was answered with {status}")


def _download(peer: Running, name: str, size_bytes: int) -> None:
    connection = peer.connect()
    buffer = bytearray(MIB)
    try:
        connection.request("GET", peer.prefix + name)
        answer = connection.getresponse()
        got = 0
        while part := answer.readinto(buffer):
            got += part
    finally:
        connection.close()
    if got != size_bytes:
        raise RuntimeError(f"{peer.name}: {got} bytes came instead of {size_bytes}")


def _get_large(peer: Running, seconds: float) -> Values:
    del seconds
    upload(peer, "large", GIB)
    _download(peer, "large", GIB)  # so that it is in the page cache
    return _measured(peer, GIB, lambda: _download(peer, "large", GIB))


def _upload_one(peer: Running, seconds: float) -> Values:
    del seconds
    return _measured(peer, GIB, lambda: upload(peer, f"one-{time.monotonic_ns()}", GIB))


def _upload_many(peer: Running, seconds: float) -> Values:
    del seconds
    prefix = f"many-{time.monotonic_ns()}-"

    def run() -> None:
        with ThreadPoolExecutor(32) as threads:
            list(threads.map(lambda n: upload(peer, f"{prefix}{n}", 64 * MIB), range(32)))

    return _measured(peer, 32 * 64 * MIB, run)


def _slow_readers(peer: Running, seconds: float) -> Values:
    """50 clients ask for 64 MiB each, read the first bytes, and then stop reading."""
    upload(peer, "slow", 64 * MIB)
    socks: list[socket.socket] = []

    def run() -> None:
        for _ in range(50):
            sock = socket.create_connection(("127.0.0.1", peer.port))
            sock.sendall(f"GET {peer.prefix}slow HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            sock.recv(1000)
            socks.append(sock)
        time.sleep(seconds)

    try:
        return _measured(peer, 50 * 64 * MIB, run)
    finally:
        for sock in socks:
            sock.close()


CASES = [
    Case("GET of 1 GiB", "mib_per_s", _get_large, once=True),
    Case("upload of 1 GiB", "mib_per_s", _upload_one, once=True),
    Case("upload of 32 x 64 MiB at once", "mib_per_s", _upload_many, once=True),
    Case("50 slow readers of 64 MiB", "grown_mib", _slow_readers, once=True),
]
