"""The handlers on a store in memory, so their answers do not depend on a disk."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.simple_httpclient import HTTPStreamClosedError
from tornado.web import Application

from common.config import Config
from common.errors import Damaged, NoSpace, SyncFailed
from services.access.decisions import Access
from services.frontends.native.app import make_app
from services.http1 import HTTPServer, RequestContext
from services.http1.connection import Connection
from services.watch.monitor import Monitor
from services.watch.request_log import RequestLog
from tests.http1.test_cuts import Transport, come_to_rest
from tests.support.memory_engine import MemoryEngine
from tests.support.memory_store import MemoryReading, MemoryStore, MemoryUpload


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def requests() -> RequestLog:
    return RequestLog()


@pytest.fixture
def app(store: MemoryStore, requests: RequestLog, tmp_path: Path) -> Application:
    """What pytest-tornado serves."""
    config = Config(dir=str(tmp_path), http="tornado")
    engine = MemoryEngine(str(tmp_path))
    engine.store = store
    monitor = Monitor(engine, store, requests)
    return make_app(store, engine.admin(), config, monitor, Access(None))


class Client:
    """Sends requests to the application of the test. An error status raises nothing."""

    def __init__(self, client: AsyncHTTPClient, base_url: str) -> None:
        self._client = client
        self._base_url = base_url

    async def __call__(
        self, method: str, target: str, body: bytes | None = None, **headers: str
    ) -> HTTPResponse:
        options: dict[str, Any] = {"raise_error": False, "allow_nonstandard_methods": True}
        return await self._client.fetch(
            self._base_url + target, method=method, body=body, headers=headers, **options
        )


@pytest.fixture
def ask(http_client: AsyncHTTPClient, base_url: str) -> Client:
    return Client(http_client, base_url)


@pytest.mark.gen_test
async def test_a_blob_is_created_read_updated_and_deleted(ask: Client, store: MemoryStore) -> None:
    assert (await ask("PUT", "/store/a", b"early")).code == 404
    created = await ask("POST", "/store/a", b"one")
    assert (created.code, created.headers["Location"], created.body) == (201, "/store/a", b"")
    assert (await ask("POST", "/store/a", b"again")).code == 409
    updated = await ask("PUT", "/store/a", b"two")
    assert updated.code == 200
    read = await ask("GET", "/store/a")
    assert (read.code, read.body, read.headers["ETag"]) == (200, b"two", updated.headers["ETag"])
    assert (await ask("DELETE", "/store/a")).code == 200
    assert (await ask("GET", "/store/a")).code == 404
    assert store.blobs == {}


@pytest.mark.gen_test
async def test_an_error_is_json_with_a_sentence(ask: Client, store: MemoryStore) -> None:
    store.damaged.add("rotten")
    store.room_bytes = 3
    for method, target, body, code in [
        ("GET", "/store/missing", None, 404),
        ("GET", "/store/rotten", None, 500),
        ("POST", "/store/a", b"four", 507),
        ("POST", "/store/a/../b", b"", 400),
        ("GET", "/nowhere", None, 404),
        ("FOO", "/nowhere", None, 404),
        ("PATCH", "/nowhere", b"", 404),
        ("PATCH", "/store/a", b"", 405),
        ("FOO", "/store/a", None, 405),
        ("FOO", "/blobs/1", None, 405),
    ]:
        answer = await ask(method, target, body)
        assert answer.code == code, (method, target)
        said = json.loads(answer.body)
        assert said["code"] == code
        assert said["text"].endswith(".")


@pytest.mark.gen_test
async def test_an_upload_that_finds_no_room_on_its_way_is_aborted(ask: Client, store: MemoryStore) -> None:
    async def pieces(write: Any) -> None:
        for _ in range(10):
            await write(bytes(1000))

    store.room_bytes = 5000
    answer = await ask._client.fetch(
        ask._base_url + "/store/a", method="POST", body_producer=pieces, raise_error=False
    )
    assert answer.code == 507
    assert store.aborted
    assert store.blobs == {}


@pytest.mark.gen_test
async def test_a_failed_sync_is_a_5xx(
    ask: Client, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> None:
        raise SyncFailed("The disk failed to keep what was written: the server stops.")

    await ask("POST", "/store/a", b"one")
    monkeypatch.setattr(store, "delete", fail)
    answer = await ask("DELETE", "/store/a")
    assert answer.code == 500
    assert b"the server stops" in answer.body


@pytest.mark.gen_test
async def test_damage_found_while_a_blob_is_sent_cuts_the_answer_short(
    ask: Client, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rotten(self: MemoryReading, first: int, last: int) -> AsyncIterator[bytes]:
        yield b"go"
        raise Damaged("This blob is damaged.")

    await ask("POST", "/store/a", b"good")
    monkeypatch.setattr(MemoryReading, "chunks", rotten)
    with pytest.raises(HTTPStreamClosedError):
        await ask("GET", "/store/a")


@pytest.mark.gen_test
async def test_an_upload_whose_digest_cannot_be_made_is_ended(
    ask: Client, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload that nobody ended would keep its place in max_uploads for ever."""

    async def fails(upload: MemoryUpload) -> bytes:
        raise NoSpace("The disk became full.")

    monkeypatch.setattr(MemoryUpload, "sha256", fails)
    digest = {"Repr-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}
    assert (await ask("POST", "/store/a", b"a", **digest)).code == 507
    assert store.aborted == ["The disk became full."]


class LeavesAtOnce(Transport):
    """Its client leaves when it has the answer, which the handler may not know to be whole yet."""

    connection: Connection

    def write(self, data: Any) -> None:
        super().write(data)
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)


@pytest.mark.gen_test
async def test_who_leaves_after_an_early_answer_is_counted_once(
    app: Application, requests: RequestLog
) -> None:
    server = HTTPServer(app)
    server._the_loop()
    connection = Connection(server, RequestContext(socket.AF_INET, ("127.0.0.1", 1), "http", None))
    transport = LeavesAtOnce()
    transport.connection = connection
    connection.connection_made(transport)
    connection.data_received(b"PUT /store/a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
    await come_to_rest(transport)
    assert transport.sent.startswith(b"HTTP/1.1 404 ")
    assert requests.tallies["PUT"].statuses == {404: 1}
