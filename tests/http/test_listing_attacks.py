"""Clients that ask for long listings and read nothing cost little memory, and delay nobody."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from common.errors import Busy
from services.engines.local.disk import directory
from services.engines.local.disk.layout import Layout
from services.engines.local.serving.by_id import LocalAdmin
from services.frontends.native.blobs_by_id import MAX_PAGES, MAX_PAGES_OF_CLIENT, Pages
from tests.http.conftest import shared_server
from tests.support.processes import Server, wait_for
from tests.support.raw import RawConnection, connected
from tests.support.stores import STAGED_BYTES, opened

MIB = 1 << 20
NAMES = 1500
READERS = 12
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def quoted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with 1,500 names of 1,024 characters, each of which HTML writes as six."""
    for server in shared_server(tmp_path_factory, "blobkeep"):
        with connected(server.port) as connection:
            for number in range(NAMES):
                name = "%22" * 1019 + f"{number:05}"
                assert connection.ask("POST", f"/store/{name}", None, b"").status == 201
        yield server


def test_readers_that_take_nothing_of_a_listing_cost_little_memory(quoted: Server) -> None:
    """Before, each listing was 14 MB of HTML in memory."""
    for _ in range(3):
        assert len(quoted.ask("GET", "/store/", None, HTML).body) > 4 * MIB  # what is made once is made now
    process = psutil.Process(quoted.pid)
    before: int = process.memory_info().rss
    readers = [RawConnection(quoted.port) for _ in range(READERS)]
    try:
        for reader in readers:
            reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.request("GET", "/store/", HTML)
        for reader in readers:
            assert reader.sock.recv(1)  # its answer has begun
        wait_for(lambda: quoted.ask("GET", "/healthz").status == 200, what="an answer beside them")
        assert process.memory_info().rss - before < READERS * MIB + 4 * MIB
    finally:
        for reader in readers:
            reader.close()


def test_a_head_of_a_long_page_has_no_length(quoted: Server) -> None:
    answer = quoted.ask("HEAD", "/store/", None, HTML)
    assert (answer.status, answer.body) == (200, b"")
    assert "content-length" not in answer.headers
    with connected(quoted.port) as connection:  # and the connection can be used afterwards
        assert connection.ask("HEAD", "/store/", HTML).status == 200
        assert connection.ask("GET", "/healthz").body == b'"Ok!"\n'


def test_pages_by_id_do_not_hold_up_readers_and_uploads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listings shared the threads that open blobs. A GET took 732 ms while eight clients read such pages."""
    may_go = threading.Event()
    ids_after = directory.ids_after

    def stuck(data_dir: Layout, after: int) -> Iterator[int]:
        may_go.wait(120)
        return iter(ids_after(data_dir, after))

    async def run() -> None:
        async with opened(str(tmp_path)) as held:
            await held.put("small", b"x")
            admin = LocalAdmin(held.data_dir, held.store)
            monkeypatch.setattr(directory, "ids_after", stuck)
            pages = [asyncio.ensure_future(admin.list_by_id(None, None, 10)) for _ in range(MAX_PAGES)]
            try:
                assert await held.read("small") == b"x"
                await held.put("staged", bytes(STAGED_BYTES), pieces=5)
                assert len(await held.read("staged") or b"") == STAGED_BYTES
                assert not any(page.done() for page in pages)
            finally:
                may_go.set()
            assert [len(page) for page in await asyncio.gather(*pages)] == [2] * MAX_PAGES

    asyncio.run(run())


def test_one_client_leaves_pages_by_id_to_others() -> None:
    pages = Pages()
    mine = [pages.one("mine") for _ in range(MAX_PAGES_OF_CLIENT)]
    for page in mine:
        page.__enter__()
    with pytest.raises(Busy), pages.one("mine"):
        pass
    with pages.one("another's"):
        pass
    mine[0].__exit__(None, None, None)
    with pages.one("mine"):
        pass
    others = [pages.one(f"client {number}") for number in range(MAX_PAGES - len(mine) + 1)]
    for page in others:
        page.__enter__()
    with pytest.raises(Busy), pages.one("the last"):
        pass


def test_a_page_by_id_has_a_smaller_limit(quoted: Server) -> None:
    assert quoted.ask("GET", "/blobs/?limit=250").status == 200
    assert quoted.ask("GET", "/blobs/?limit=251").status == 400
