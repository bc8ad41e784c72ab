"""Small blobs in memory: which are kept, and that no other one is served for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.engines.objects.bucket import Got, Unchanged
from services.engines.objects.client import BucketClient
from services.engines.objects.held import HeldBlobs, HeldObject
from services.engines.objects.meter import Meter
from services.engines.objects.pointer import Known
from tests.engines.makers import INLINE_BYTES, Under, objects_store
from tests.support.seaweed import Seaweed

BODY = b"x" * (INLINE_BYTES // 2)
OBJECT = b"x" * 10_000


class Heard(BucketClient):
    """Keeps whether bytes came for each object that was asked for again."""

    def __init__(self, client: BucketClient) -> None:
        super().__init__(client.settings, Meter())
        self.came: list[bool] = []

    async def get_changed(self, key: str, etag: str) -> Got | Unchanged | None:
        got = await super().get_changed(key, etag)
        self.came.append(not isinstance(got, Unchanged))
        return got


def run(
    process: Seaweed, test: Callable[[Under, Under, Heard], Awaitable[None]], hot_bytes: int = 8 << 20
) -> None:
    """Run it with two servers on one empty bucket, and the client of the first."""

    async def go() -> None:
        heard = Heard(process.client())
        one = objects_store(heard, hot_bytes=hot_bytes)
        other = objects_store(BucketClient(heard.settings, Meter()))
        await test(Under(one, one.events), Under(other, other.events), heard)
        await one.close()

    asyncio.run(go())


def test_bytes_that_are_held_do_not_come_again(store_process: Seaweed) -> None:
    async def test(one: Under, other: Under, heard: Heard) -> None:
        await one.put("a", BODY)
        before = heard.meter.by_kind["get"].seconds.count
        assert [await one.get("a") for _ in range(4)] == [BODY] * 4
        assert heard.came == [False, False]  # the second read is kept
        assert heard.meter.by_kind["get"].seconds.count == before + 4

    run(store_process, test)


def test_what_another_server_writes_is_seen_at_once(store_process: Seaweed) -> None:
    async def test(one: Under, other: Under, heard: Heard) -> None:
        for number in range(3):
            body = b"%d" % number + BODY
            await other.put("a", body)
            assert [await one.get("a") for _ in range(4)] == [body] * 4
        await other.store.delete("a", lambda blob, damaged: None)
        assert await one.get("a") is None
        await other.put("a", b"z" * (INLINE_BYTES * 3))
        assert await one.get("a") == b"z" * (INLINE_BYTES * 3)
        assert len(heard.came) == 9
        assert heard.came[2:] == [True, False, False] * 2 + [True]

    run(store_process, test)


def test_nothing_is_kept_where_nothing_may_be(store_process: Seaweed) -> None:
    async def test(one: Under, other: Under, heard: Heard) -> None:
        await one.put("a", BODY)
        assert [await one.get("a") for _ in range(4)] == [BODY] * 4
        assert not heard.came

    run(store_process, test, hot_bytes=0)


def read(held: HeldBlobs, name: str) -> bool:
    """Read an object through it. Gives whether it was there."""
    found = held.find(name)
    if found is None:
        held.saw(name, Known(f'"{name}"', None), OBJECT)
        return False
    held.is_current(name, found)
    return True


def test_the_first_read_keeps_nothing_and_the_least_read_gives_way() -> None:
    now_s = 0.0
    held = HeldBlobs(3 * 13_000, lambda: now_s)
    assert [read(held, name) for name in "abc" * 3] == [False] * 6 + [True] * 3
    assert not any(read(held, name) for name in "defghi" * 2)  # all are read often: they stay
    assert all(read(held, name) for name in "abc")
    now_s = 60.0
    assert read(held, "b")
    read(held, "d")
    read(held, "d")
    assert read(held, "d")
    assert held.find("a") is None
    assert read(held, "b")
    assert read(held, "c")


def test_what_was_dropped_meanwhile_does_not_come_back() -> None:
    """Two reads of one location: the store says to one that it has changed, and then to the other that it
    had not."""
    held = HeldBlobs(3 * 13_000)
    read(held, "a")
    read(held, "a")
    mine = held.find("a")
    assert mine is not None
    held.drop("a")
    held.is_current("a", mine)
    assert held.find("a") is None


@pytest.mark.parametrize("etag", [None, ""])
def test_an_object_without_an_etag_is_not_kept(etag: str | None) -> None:
    held = HeldBlobs(1 << 20)
    for _ in range(3):
        held.saw("a", Known(etag, None), OBJECT)
    assert held.find("a") is None


def test_a_view_of_borrowed_memory_is_copied() -> None:
    held = HeldBlobs(1 << 20)
    borrowed = bytearray(OBJECT)
    for _ in range(2):
        held.saw("a", Known('"e"', None), memoryview(borrowed))
    borrowed[:] = b"y" * len(borrowed)
    assert held.find("a") == HeldObject(Known('"e"', None), '"e"', OBJECT)
