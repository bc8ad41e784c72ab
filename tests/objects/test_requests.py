"""The number of requests to the object store for each operation is that in docs/objects.md."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from common.errors import AlreadyExists, NotFound
from services.engines.objects.client import BucketClient, SystemClock
from services.engines.objects.collect import Collecting
from services.engines.objects.commit import Tools
from services.engines.objects.meter import Meter
from services.engines.objects.pointers import Pointers
from services.engines.objects.store import ObjectsStore
from services.store import Content
from tests.engines.makers import INLINE_BYTES, PART_BYTES, Under, objects_store, only_new, only_there
from tests.support.seaweed import Seaweed

LARGE = b"x" * 2 * PART_BYTES


class Counted:
    """A server's store whose requests are counted."""

    def __init__(self, store: ObjectsStore, meter: Meter) -> None:
        self.under = Under(store, store.events)
        self.store = store
        self._meter = meter

    async def requests(self, operation: Awaitable[object]) -> dict[str, int]:
        """The requests of one operation, by kind."""
        before = {kind: one.seconds.count for kind, one in self._meter.by_kind.items()}
        await operation
        after = {kind: one.seconds.count for kind, one in self._meter.by_kind.items()}
        return {kind: after[kind] - before[kind] for kind in after if after[kind] > before[kind]}


def run(process: Seaweed, test: Callable[[Counted, Counted], Awaitable[None]]) -> None:
    """Run it with two servers on one empty bucket."""

    async def go() -> None:
        settings = process.settings()
        made = []
        for _ in range(2):
            meter = Meter()
            made.append(Counted(objects_store(BucketClient(settings, meter)), meter))
        await test(*made)

    asyncio.run(go())


async def fails(operation: Awaitable[object], error: type[Exception]) -> None:
    with pytest.raises(error):
        await operation


def test_a_small_blob(store_process: Seaweed) -> None:
    async def test(one: Counted, other: Counted) -> None:
        put, delete = one.under.put, one.store.delete
        assert await one.requests(put("a", b"x", only_new, whole=True)) == {"swap": 1}
        assert await one.requests(one.under.get("a")) == {"get": 1}
        assert await one.requests(one.store.stat("a")) == {"get": 1}
        assert await one.requests(put("a", b"y", only_there, whole=True)) == {"swap": 1}
        # A location that this server has not seen for a while costs one more request, to look.
        there = other.under.put("a", b"z", only_there, whole=True)
        assert await other.requests(there) == {"get": 1, "swap": 1}
        assert await other.requests(other.store.delete("a", only_there)) == {"swap": 1}
        # What a server remembers may be old: the store refuses, and the server looks and tries again.
        assert await one.requests(fails(delete("a", only_there), NotFound)) == {"swap": 1, "get": 1}
        assert await one.requests(put("a", b"x", only_new, whole=True)) == {"swap": 1}
        assert await one.requests(fails(put("a", b"x", only_new, whole=True), AlreadyExists)) == {"get": 1}
        unseen = other.under.put("a", b"x", only_new, whole=True)
        assert await other.requests(fails(unseen, AlreadyExists)) == {"swap": 1, "get": 1}

    run(store_process, test)


def test_a_small_blob_in_pieces(store_process: Seaweed) -> None:
    async def test(one: Counted, other: Counted) -> None:
        async def create(location: str, size: int, *, waits: bool) -> None:
            upload = await one.store.begin(location, only_new, Content(), size, waits=waits)
            for _ in range(2):
                await upload.write(b"x" * (size // 2))
            await upload.commit()

        # It looks first only for clients that wait for 100 Continue.
        assert await one.requests(create("a", INLINE_BYTES, waits=True)) == {"get": 1, "swap": 1}
        assert await one.requests(create("b", INLINE_BYTES, waits=False)) == {"swap": 1}
        there = other.store.begin("b", only_new, Content(), INLINE_BYTES, waits=True)
        assert await other.requests(fails(there, AlreadyExists)) == {"get": 1}
        assert await one.requests(fails(create("b", INLINE_BYTES, waits=False), AlreadyExists)) == {"get": 1}
        # The bytes of a large one are stored before its commit, so it is always refused before them.
        large = one.store.begin("b", only_new, Content(), INLINE_BYTES + 2, waits=False)
        assert await one.requests(fails(large, AlreadyExists)) == {"get": 1}

    run(store_process, test)


def test_a_large_blob(store_process: Seaweed) -> None:
    async def test(one: Counted, other: Counted) -> None:
        created = await one.requests(one.under.put("a", LARGE, only_new))
        assert created == {"get": 1, "swap": 2, "put": 2}  # look, state object, two parts, pointer
        assert await one.requests(one.under.get("a")) == {"get": 1 + 2}  # one for each MiB
        assert await one.requests(one.store.delete("a", only_there)) == {"swap": 2}
        (entry,) = (await one.store.tools.bucket.list("gc/", "")).found[1:]
        clock = SystemClock()
        tools = Tools(one.store.tools.bucket, Pointers(one.store.tools.bucket, clock), clock)
        collecting = Collecting(tools, reading_s=0)
        collected = await one.requests(collecting.settle(entry.key.removeprefix("gc/"), silent=False))
        assert collected == {"get": 2, "delete": 2}
        assert not (await one.store.tools.bucket.list("data/", "")).found

    run(store_process, test)


def test_a_listing(store_process: Seaweed) -> None:
    async def test(one: Counted, other: Counted) -> None:
        for number in range(30):
            await one.under.put(f"a/{number:02}", whole=True)
        for number in range(10):
            await one.store.delete(f"a/{number:02}", only_there)
        names = one.under.names("a/")
        assert await one.requests(names) == {"list": 1}  # it remembers them all
        assert await other.requests(other.under.names("a/", "", 1000)) == {"list": 1, "get": 20}
        assert await other.requests(other.under.names("a/", "", 1000)) == {"list": 1}
        assert await other.requests(other.under.names("", "/", 1000)) == {"list": 1}
        page = other.store.list("a/", "", "a/20", 5)
        assert await other.requests(page) == {"list": 1}

    run(store_process, test)
