"""Small uploads without a handler are answered as by the handler, and only to who may send them."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager

import pytest
from tornado.httputil import HTTPMessageDelegate
from tornado.netutil import bind_sockets
from tornado.web import Application

from common.config import Config
from services.access.decisions import Access, Client, Role
from services.access.secret_hash import hash_token
from services.frontends.front_door import FrontDoor
from services.frontends.restic.small_uploads import SmallUploads
from services.http1 import Exchange
from services.listening import make_server
from services.store import Content
from services.watch.request_log import RequestLog
from tests.support.beside import beside
from tests.support.memory_store import MemoryStore
from tests.support.processes import Answer
from tests.support.raw import connected

CLIENTS = [
    Client("alice", Role.READ_WRITE, "restic/alice/", hash_token("a")),
    Client("adder", Role.APPEND_ONLY, "", hash_token("b")),
    Client("reader", Role.READ_ONLY, "", hash_token("c")),
]
BODY = b"a small pack"
NAME = hashlib.sha256(BODY).hexdigest()
FILE = f"/restic/alice/data/{NAME}"


class Restic:
    """A server of a store of its own. `quick`: whether each request was answered without a handler."""

    def __init__(self, clients: list[Client] | None, *, fast: bool) -> None:
        self.store = MemoryStore()
        self.quick: list[bool] = []
        self.access = Access(clients, [])
        config = Config(restic=True, fast_path=fast)
        self._door = FrontDoor(Application(), self.store, config, self.access, RequestLog())
        self._sockets = bind_sockets(0, "127.0.0.1")
        self.port = self._sockets[0].getsockname()[1]
        self._server, self._drain = make_server(self._door, config, RequestLog(), None)
        self._server.add_sockets(self._sockets)

    async def close(self) -> None:
        await self._drain(5)
        await self._server.close_all_connections()
        self.access.close()

    def ask(self, user: str, target: str, body: bytes, headers: dict[str, str]) -> Answer:
        if user:
            headers = {**headers, "Authorization": "Basic " + b64encode(user.encode()).decode()}
        with connected(self.port) as connection:
            connection.request("POST", target, headers, body)
            answer = connection.answer()
        answer.headers.pop("date")
        return answer


class Both:
    """One with the fast path, and one whose handler answers all."""

    def __init__(self, clients: list[Client] | None, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fast, self.handlers = Restic(clients, fast=True), Restic(clients, fast=False)
        self.quick: list[bool] = []
        real = SmallUploads.take

        def take(uploads: SmallUploads, exchange: Exchange) -> HTTPMessageDelegate | None:
            taken = real(uploads, exchange)
            self.quick.append(taken is not None)
            return taken

        monkeypatch.setattr(SmallUploads, "take", take)

    def ask(
        self, target: str, body: bytes, user: str = "", headers: dict[str, str] | None = None
    ) -> tuple[bool, int]:
        """Whether the fast path answered, and the status of both."""
        self.quick.clear()
        said = [one.ask(user, target, body, headers or {}) for one in (self.fast, self.handlers)]
        assert repr(said[0]) == repr(said[1])
        assert {at: body for at, (_, body) in self.fast.store.blobs.items()} == {
            at: body for at, (_, body) in self.handlers.store.blobs.items()
        }
        return self.quick == [True], said[0].status


@asynccontextmanager
async def both_served(clients: list[Client] | None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Both]:
    both = Both(clients, monkeypatch)
    yield both
    await both.fast.close()
    await both.handlers.close()


def served(clients: list[Client] | None, monkeypatch: pytest.MonkeyPatch) -> AbstractContextManager[Both]:
    return beside(both_served(clients, monkeypatch))


def test_the_answers_are_those_of_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(None, monkeypatch) as both:
        assert both.ask(FILE, b"other bytes") == (True, 400)
        assert both.ask(FILE, BODY) == (True, 200)
        assert both.fast.store.told_sha256.hex() == NAME  # so that it is hashed once
        assert both.ask(FILE, BODY) == (True, 200)  # the answer was lost
        assert both.ask(FILE, b"other bytes") == (True, 400)
        for one in (both.fast, both.handlers):
            one.store.damaged.add(FILE.removeprefix("/"))
        assert both.ask(FILE, b"other bytes") == (True, 400)
        assert both.ask(FILE, BODY) == (True, 200)  # its name proves the bytes

        assert both.ask("/restic/alice/config", BODY)[0] is False
        assert both.ask("/restic/alice/?create=true", BODY)[0] is False
        assert both.ask(FILE, BODY, headers={"Expect": "100-continue"})[0] is False
        assert both.ask(FILE, BODY, headers={"Origin": "https://a.example"}) == (False, 403)
        assert both.ask(FILE, BODY, headers={"Sec-Fetch-Site": "cross-site"}) == (False, 403)
        assert both.ask("/restic/a/../data/" + NAME, BODY)[1] == 400
        assert both.ask("/restic/a%2Fb/data/" + NAME, BODY)[0] is False
        assert both.ask("/restic/a/data/" + NAME, BODY * 10_000) == (False, 400)
        both.fast.store.room_bytes = both.handlers.store.room_bytes = 1
        assert both.ask(FILE.replace("/data/", "/index/"), BODY) == (True, 507)


def test_other_bytes_that_were_written_natively_are_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def write(store: MemoryStore) -> None:
        await store.write_whole(FILE.removeprefix("/"), lambda *_: None, Content("a/b"), b"other")

    with served(None, monkeypatch) as both:
        for one in (both.fast, both.handlers):
            asyncio.run(write(one.store))
        assert both.ask(FILE, BODY) == (True, 403)
        assert both.ask(FILE, b"other bytes") == (True, 403)


def test_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = FILE.replace("alice", "bob")
    with served(CLIENTS, monkeypatch) as both:
        for expected in (False, True):  # a client is known from its first request on
            assert both.ask(FILE, BODY, "alice:a") == (expected, 200)
            assert both.ask(elsewhere, BODY, "adder:b") == (expected, 200)
        for user, status in (("", 401), ("alice:wrong", 401), ("alice:a", 403), ("reader:c", 403)):
            for _ in range(2):
                assert both.ask(elsewhere, BODY, user) == (False, status)
