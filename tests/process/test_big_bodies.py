"""Uploads and downloads larger than the server's memory, with a length and chunked."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator

import psutil
import pytest

from tests.conftest import StartServer

PIECE = bytes(range(256)) * 4096  # 1 MiB
MIB = 1 << 20
MAX_RSS_BYTES = 90 * MIB


def pieces(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield number.to_bytes(8, "big") + PIECE[8:]


class Watch:
    """The largest RSS of a process, by samples."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.peak_bytes = 0

    def look(self) -> None:
        self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)


@pytest.mark.parametrize("http_option", ["blobkeep", "tornado"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("mib", [110, pytest.param(2048, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_body_goes_up_and_down_in_bounded_memory(
    start_server: StartServer, http_option: str, chunked: bool, mib: int
) -> None:
    server = start_server("--http", http_option)
    watch = Watch(server.pid)
    sent, received = hashlib.sha256(), hashlib.sha256()

    def body() -> Iterator[bytes]:
        for piece in pieces(mib):
            sent.update(piece)
            watch.look()
            yield piece

    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers = {} if chunked else {"Content-Length": str(mib * MIB)}
    client.request("POST", "/store/big", body(), headers, encode_chunked=chunked)
    answer = client.getresponse()
    assert (answer.status, answer.read()) == (201, b"")
    client.request("GET", "/store/big")
    answer = client.getresponse()
    assert answer.getheader("Content-Length") == str(mib * MIB)
    while part := answer.read(MIB):
        received.update(part)
        watch.look()
    client.close()
    assert received.digest() == sent.digest()
    assert watch.peak_bytes < MAX_RSS_BYTES
