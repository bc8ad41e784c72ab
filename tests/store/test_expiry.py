"""Expired blobs disappear for all clients at once. The server ends them soon after, and does not keep
them.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from common.errors import AlreadyExists
from common.states import MSG_EXPIRED
from services.engine import Events
from services.engines.local.disk.blob import Blob
from services.engines.local.serving.by_id import LocalAdmin
from services.engines.local.serving.expiry import end_expired
from services.rules.dates import format_http_date
from services.store import Blob as AnyBlob
from services.store import Content
from tests.engines.makers import ToldSteps
from tests.support.rules import DataDirectory
from tests.support.stores import Opened, opened, until

HOUR_S = 3600
PAST, FUTURE = (format_http_date(int(time.time()) + n * HOUR_S) for n in (-1, 1))
OPTIONS: dict[str, Any] = {"expire_s": (("cache/", 1e-9), ("cache/long/", 1e6)), "keep_deleted_s": 1e6}


def only_new(blob: AnyBlob | None, damaged: bool) -> None:
    if blob is not None:
        raise AlreadyExists("it is there")


async def put(store: Opened, location: str, expires: str = "", body: bytes = b"x") -> bool:
    """Create it as POST does. Gives whether it replaced anything."""
    content = Content("text/plain", "", {"blob-expires": expires} if expires else {})
    return (await store.store.write_whole(location, only_new, content, body))[1]


async def names(store: Opened) -> list[str]:
    return [blob.location for blob in (await store.store.list("", "", "", 100)).blobs]


@pytest.mark.parametrize("sync", ["journal", "index"])
def test_what_has_expired_is_not_there_for_anybody(data: DataDirectory, sync: str) -> None:
    async def test() -> None:
        async with opened(data.root, sync, **OPTIONS) as store:
            for location, expires in (("past", PAST), ("future", FUTURE), ("none", ""), ("cache/a", "")):
                await put(store, location, expires)
            await put(store, "cache/own", FUTURE)  # its own time wins
            await put(store, "cache/long/a")  # the longest prefix counts
            there = ["cache/long/a", "cache/own", "future", "none"]
            assert await names(store) == there
            for location in ("past", "cache/a"):
                assert await store.store.stat(location) is None
                assert store.store.peek(location) is None
                assert store.store.peek(location, body=False) is None
                assert store.store.open_nowait(location) is None
                assert await store.read(location) is None
            for location in there:
                assert await store.read(location) == b"x"
        async with opened(data.root, sync, **OPTIONS) as store:  # after a restart
            assert await names(store) == there

    asyncio.run(test())


def test_a_location_whose_blob_has_expired_is_free(data: DataDirectory) -> None:
    async def test() -> None:
        async with opened(data.root) as store:
            await put(store, "a", PAST)
            assert not await put(store, "a", "", b"new")  # nothing that a client could see was replaced
            assert await store.read("a") == b"new"

    asyncio.run(test())


def test_the_server_ends_what_has_expired_and_keeps_none_of_it(data: DataDirectory) -> None:
    async def test() -> None:
        events, told = Events(), ToldSteps()
        events.subscribe(told)
        async with opened(data.root, events=events, **OPTIONS) as store:
            for number in range(5):
                await put(store, f"past/{number}", PAST)
            await put(store, "cache/a")
            await put(store, "stays", FUTURE)
            walk = asyncio.ensure_future(end_expired(store.store, pause_s=0.001))
            await until(lambda: len(store.store.index.blobs.ids) == 1, "the end of what has expired")
            walk.cancel()
            ended = sorted(location for location, message in told.steps if message == MSG_EXPIRED)
            assert ended == ["cache/a", *(f"past/{number}" for number in range(5))]
            failures = await LocalAdmin(store.data_dir, store.store).list_by_id("Failure", None, 100)
            assert [one.kept_until for one in failures] == [None] * 6
            assert await store.read("stays") == b"x"

    asyncio.run(test())


def test_what_was_written_anew_meanwhile_is_not_ended(data: DataDirectory) -> None:
    async def test() -> None:
        async with opened(data.root) as store:
            await put(store, "a", PAST)
            old = store.store.index.get("a")
            assert isinstance(old, Blob)
            await put(store, "a", "", b"new")
            await store.store.end(old, MSG_EXPIRED)
            assert await store.read("a") == b"new"

    asyncio.run(test())


def test_what_expired_comes_back_without_its_time(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with opened(data.root, keep_deleted_s=1e6) as store:
            soon = format_http_date(int(time.time()) + HOUR_S)
            await put(store, "a", soon)
            await put(store, "b", soon)
            await store.delete("a")
            await store.delete("b")
            admin = LocalAdmin(store.data_dir, store.store)
            ids = {one.location: one.id for one in await admin.list_by_id("Failure", None, 10)}
            await admin.undelete(str(ids["a"]), "a", only_new)
            blob = await store.store.stat("a")
            assert blob is not None
            assert blob.metadata == {"blob-expires": soon}  # which is still to come
            then = time.time() + 2 * HOUR_S
            with monkeypatch.context() as later:
                later.setattr(time, "time", lambda: then)
                await admin.undelete(str(ids["b"]), "b", only_new)
                blob = await store.store.stat("b")
            assert blob is not None
            assert blob.metadata == {}

    asyncio.run(test())


def test_a_time_that_is_none_is_never(data: DataDirectory) -> None:
    async def test() -> None:
        async with opened(data.root) as store:
            await put(store, "a", "tomorrow")  # by another front end, or by hand
            assert await store.read("a") == b"x"

    asyncio.run(test())
