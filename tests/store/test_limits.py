"""A prefix with a limit on its size: the least recently read blobs are deleted first."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from common.states import MSG_EVICTED
from services.engine import Events
from services.engines.local.disk.blob import Blob, pack
from services.engines.local.disk.layout import Layout
from services.engines.local.serving import limits as module
from services.engines.local.serving.limits import PrefixLimits, keep_within_limits
from services.store import Page
from tests.engines.makers import ToldSteps
from tests.support.rules import DataDirectory
from tests.support.stores import Opened, opened, until

LIMIT: dict[str, Any] = {"max_bytes": (("cache/", 3000.0),), "keep_deleted_s": 1e6}


class Clock:
    """The minutes that the server sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.minute = int(time.time()) // 60 + 10
        monkeypatch.setattr(module, "_minute", lambda: self.minute)


async def fill(store: Opened, clock: Clock) -> None:
    """Five blobs of 1,000 bytes, of which number 0 and 1 are read last."""
    for number in range(5):
        await store.put(f"cache/{number}", b"x" * 1000)
    await store.put("other/0", b"x" * 9000)
    for number in (2, 3, 4, 1, 0):
        clock.minute += 1
        assert await store.read(f"cache/{number}") is not None


async def names(store: Opened) -> list[str]:
    return [blob.location for blob in (await store.store.list("", "", "", 100)).blobs]


async def walk_until(store: Opened, wanted: list[str]) -> None:
    walking = asyncio.ensure_future(keep_within_limits(store.store, pause_s=0.001))
    count = len(wanted)
    await until(lambda: len(store.store.index.blobs.ids) == count, "the end of what is too much")
    for _ in range(20):
        await asyncio.sleep(0.002)  # nothing more goes
    walking.cancel()
    await asyncio.wait([walking])
    assert await names(store) == wanted


@pytest.mark.parametrize("sync", ["journal", "index"])
def test_what_was_read_least_recently_goes_first(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, sync: str
) -> None:
    async def test() -> None:
        clock, told, events = Clock(monkeypatch), ToldSteps(), Events()
        events.subscribe(told)
        async with opened(data.root, sync, events=events, **LIMIT) as store:
            await fill(store, clock)
            await walk_until(store, ["cache/0", "cache/1", "cache/4", "other/0"])
            gone = [location for location, message in told.steps if message == MSG_EVICTED]
            assert gone == ["cache/2", "cache/3"]

    asyncio.run(test())


def test_reads_of_small_hot_blobs_count_too(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        clock = Clock(monkeypatch)
        async with opened(data.root, **LIMIT) as store:
            await fill(store, clock)
            clock.minute += 1
            assert store.store.peek("cache/2") is not None
            await walk_until(store, ["cache/0", "cache/1", "cache/2", "other/0"])

    asyncio.run(test())


@pytest.mark.parametrize("damage", [None, b"", b"\x93garbage"])
def test_a_restart_knows_what_was_read_and_none_is_stopped_by_it(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    async def test() -> None:
        clock = Clock(monkeypatch)
        async with opened(data.root, **LIMIT) as store:
            await fill(store, clock)
            store.store.limits.save()
        path = data.path / ".read-times"
        if damage is not None:
            write(path, damage)
        async with opened(data.root, **LIMIT) as store:
            if damage is None:
                await walk_until(store, ["cache/0", "cache/1", "cache/4", "other/0"])
            else:  # by the time of their writes
                await walk_until(store, ["cache/2", "cache/3", "cache/4", "other/0"])

    asyncio.run(test())


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def test_what_is_read_between_the_look_and_the_end_stays(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        clock = Clock(monkeypatch)
        async with opened(data.root, **LIMIT) as store:
            await fill(store, clock)
            end = store.store.end

            async def read_the_next(blob: Any, why: str) -> None:
                clock.minute += 1
                await store.read("cache/3")  # the second to go
                await end(blob, why)

            monkeypatch.setattr(store.store, "end", read_the_next)
            await module._walk(store.store, "cache/", 3000, 0.0)
            assert await names(store) == ["cache/0", "cache/1", "cache/3", "other/0"]

    asyncio.run(test())


class Many:
    """A store with so many blobs under one prefix, which makes them page by page."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.index = self
        self.limits = PrefixLimits(Layout("/nowhere", 32), ())

    async def listing(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        first = int(after or 0)
        end = min(self.count, first + limit)
        blobs = [
            Blob(f"{prefix}{number}", number, 1, "", "", pack(number, number) + bytes(36))
            for number in range(first, end)
        ]
        return Page(blobs, (), str(end) if end < self.count else None)


def test_a_walk_holds_only_the_blobs_that_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_AT_ONCE", 100)
    peaks = []
    for count in (10_000, 50_000):
        tracemalloc.start()
        try:
            store: Any = Many(count)
            asyncio.run(module._walk(store, "cache/", 1e9, 0.0))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 40_000 < 20  # with their ids in a set it was 80
