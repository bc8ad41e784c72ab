"""As many parts as S3 allows, through the real path: memory, pages of the list, a restart, the completion."""

from __future__ import annotations

import gc
import hashlib
import http.client
import re
import tracemalloc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado.netutil import bind_sockets

from common.config import Config
from services.access.decisions import Access
from services.frontends.s3 import completing
from services.frontends.s3.app import S3FrontEnd
from services.listening import make_server
from services.watch.request_log import RequestLog
from tests.support.beside import beside
from tests.support.rules import DataDirectory
from tests.support.stores import opened

_CLIENTS = 4
_PART_BYTES = 2048  # in memory, of each part: 918 were measured, beside what a start takes


@asynccontextmanager
async def _listening(root: str) -> AsyncIterator[int]:
    """The port on which S3 serves the local store in `root`, without keys."""
    config, requests = Config(), RequestLog()
    async with opened(root) as made:
        store: Any = made.store
        fast_path = S3FrontEnd(store, config, Access(), requests).fast_path
        server, drain = make_server(fast_path, config, requests, None, fast_path.quick_answer)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        yield sockets[0].getsockname()[1]
        await drain(5)
        await server.close_all_connections()


class _Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, target: str, body: bytes = b"") -> tuple[bytes, str]:
        """Body and ETag of the answer, which is 200."""
        self._connection.request(method, target, body)
        answer = self._connection.getresponse()
        said = answer.read()
        assert answer.status == 200, said
        return said, answer.headers.get("ETag", "")

    def close(self) -> None:
        self._connection.close()


def _send(port: int, target: str, numbers: range) -> dict[int, str]:
    client = _Client(port)
    tags = {n: client.ask("PUT", f"{target}&partNumber={n}", b"%d," % n)[1] for n in numbers}
    client.close()
    return tags


@pytest.mark.parametrize(
    "count", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_parts_are_listed_in_pages_and_completed_after_a_restart(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(completing, "MIN_PART_BYTES", 1)
    tags: dict[int, str] = {}
    with beside(_listening(data.root)) as port:
        client = _Client(port)
        client.ask("PUT", "/bucket")
        begun = client.ask("POST", "/bucket/key?uploads")[0]
        upload = begun.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
        client.close()
        target = f"/bucket/key?uploadId={upload}"
        with ThreadPoolExecutor(_CLIENTS) as clients:
            tracemalloc.start()
            for sent in clients.map(
                lambda first: _send(port, target, range(first, count + 1, _CLIENTS)), range(1, _CLIENTS + 1)
            ):
                tags |= sent
            gc.collect()  # requests that are over
            held_bytes, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert held_bytes < (1 << 20) + _PART_BYTES * count
    with beside(_listening(data.root)) as port:
        client = _Client(port)
        most, marker, listed = max(100, count // 10), 0, []
        for _ in range(-(-count // most)):
            page = client.ask("GET", f"{target}&max-parts={most}&part-number-marker={marker}")[0].decode()
            numbers = [int(number) for number in re.findall("<PartNumber>([0-9]+)<", page)]
            assert len(numbers) <= most
            listed += numbers
            marker = int(page.partition("<NextPartNumberMarker>")[2].partition("<")[0])
        assert listed == list(range(1, count + 1))
        assert "<IsTruncated>false<" in page
        named = "".join(
            f"<Part><PartNumber>{n}</PartNumber><ETag>{tags[n]}</ETag></Part>" for n in sorted(tags)
        )
        document = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
        done = client.ask("POST", target, document)[0].decode()
        said, tag = client.ask("GET", "/bucket/key")
        assert said == b"".join(b"%d," % n for n in range(1, count + 1))
        raw = b"".join(hashlib.sha256(b"%d," % n).digest()[:16] for n in range(1, count + 1))
        assert tag == f'"{hashlib.md5(raw).hexdigest()}-{count}"'
        assert tag.strip('"') in done
        assert client.ask("POST", target, document)[0].decode() == done  # the answer was lost
        client.close()
