"""While a long recovery runs, clients get 503 with the progress. Then the real server takes the sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tornado.netutil import bind_sockets

from common.config import Config
from common.errors import BlobkeepError, SyncFailed
from services.recovering import open_answering
from services.watch.request_log import RequestLog
from tests.support.memory_engine import MemoryEngine


class Recovery:
    """A recovery that has looked at 7 of 9 folders, and waits until it is told to end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.end = threading.Event()
        self.error = error

    def __call__(self, progress: Callable[[int, int], None]) -> None:
        progress(7, 9)
        assert self.end.wait(120)
        if self.error is not None:
            raise self.error


def _no_sync_fails(err: BlobkeepError) -> None:
    raise AssertionError(err)


def _ask(port: int, method: str, target: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("which", ["blobkeep", "tornado"])
def test_a_long_recovery_answers_503_with_its_progress(tmp_path: Path, which: str) -> None:
    async def run() -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        port = sockets[0].getsockname()[1]
        work, requests = Recovery(), RequestLog()
        running = asyncio.ensure_future(
            open_answering(
                MemoryEngine(str(tmp_path), work),
                sockets,
                Config(http=which),
                requests,
                None,
                _no_sync_fails,
                patience_s=0.0,
            )
        )
        for method, target in (("GET", "/healthz"), ("GET", "/store/a"), ("DELETE", "/store/a")):
            status, headers, body = await asyncio.to_thread(_ask, port, method, target)
            assert (status, headers["Retry-After"], headers["Connection"]) == (503, "1", "close")
            assert "7 of 9" in json.loads(body)["text"]
            assert (headers["Server"], headers["X-Content-Type-Options"]) == ("Blobkeep", "nosniff")
        assert (await asyncio.to_thread(_ask, port, "HEAD", "/healthz"))[::2] == (503, b"")
        work.end.set()
        assert await running
        assert requests.tallies["GET"].statuses == {503: 2}
        # The listening sockets are still ours: a client that connects now waits for the real server.
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = await asyncio.to_thread(_accept, sockets[0])
            accepted.close()
            client.close()
        sockets[0].close()

    asyncio.run(run())


def _accept(listening: socket.socket) -> tuple[socket.socket, object]:
    listening.setblocking(True)
    listening.settimeout(120)
    return listening.accept()


def test_a_short_recovery_lets_clients_wait(tmp_path: Path) -> None:
    async def run() -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        work = Recovery()
        work.end.set()
        store = await open_answering(
            MemoryEngine(str(tmp_path), work),
            sockets,
            Config(),
            RequestLog(),
            None,
            _no_sync_fails,
            patience_s=30.0,
        )
        assert await store.stat("a") is None
        sockets[0].close()

    asyncio.run(run())


def test_a_recovery_that_fails_is_told_to_the_caller(tmp_path: Path) -> None:
    async def run() -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        work = Recovery(SyncFailed("no"))
        running = asyncio.ensure_future(
            open_answering(
                MemoryEngine(str(tmp_path), work),
                sockets,
                Config(),
                RequestLog(),
                None,
                _no_sync_fails,
                patience_s=0.0,
            )
        )
        assert (await asyncio.to_thread(_ask, sockets[0].getsockname()[1], "GET", "/"))[0] == 503
        work.end.set()
        with pytest.raises(SyncFailed):
            await running
        sockets[0].close()

    asyncio.run(run())
