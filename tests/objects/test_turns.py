"""A page of many pointers makes nobody wait: one turn of the event loop has a bound, counted in calls."""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from common.checksum import Bytes
from common.errors import Unavailable
from services.engines.objects.bucket import Absent, Got, Listed, ListPage, Refused, Unchanged, When
from services.engines.objects.store import ObjectsStore
from services.frontends.s3.parts_in_blobs import parts_of
from services.store import Content
from tests.engines.makers import objects_store
from tests.support.turns import CountingLoop

MOST_CALLS = 5_000  # as for requests: see tests/s3/test_turns.py
MANY = 1_300  # more than a page
_LIST_PAGE = 1000


class Memory:
    """A bucket in memory, whose every request takes one turn of the loop. `broken`: GETs fail."""

    def __init__(self) -> None:
        self.gets = 0
        self.broken = False
        self._data: dict[str, Got] = {}
        self._listed: list[Listed] = []
        self._etags = map(str, itertools.count())

    async def get(self, key: str, first: int = 0, limit: int | None = None) -> Got | None:
        self.gets += 1
        await asyncio.sleep(0)
        if self.broken:
            raise Unavailable("It is broken.")
        got = self._data.get(key)
        return got and got._replace(data=bytes(got.data)[first:][:limit])

    async def get_changed(self, key: str, etag: str) -> Got | Unchanged | None:
        return await self.get(key)

    async def put(self, key: str, data: Bytes, when: When) -> str:
        await asyncio.sleep(0)
        old = self._data.get(key)
        if (isinstance(when, Absent) and old) or (isinstance(when, str) and (not old or old.etag != when)):
            raise Refused
        etag = next(self._etags)
        self._data[key] = Got(bytes(data), etag, len(data))
        at = bisect.bisect_left(self._listed, (key,))
        self._listed[at : at + bool(old)] = [Listed(key, len(data), etag, 0)]
        return etag

    async def delete(self, keys: Sequence[str]) -> None:
        raise NotImplementedError

    async def list(self, folder: str, after: str) -> ListPage:
        await asyncio.sleep(0)
        at = bisect.bisect_left(self._listed, (max(folder, after + "\0"),))
        found = self._listed[at : at + _LIST_PAGE]
        end = bisect.bisect_left(found, (folder[:-1] + "0",))  # "0" is behind "/"
        return ListPage(found[:end], end == _LIST_PAGE)


def on(bucket: Any) -> ObjectsStore:
    """A server that has seen nothing of the bucket yet."""
    return objects_store(bucket)


def longest(ask: Callable[[CountingLoop], Awaitable[None]]) -> int:
    """The calls of the longest turn of `ask`, since it last set them to 0."""
    loop = CountingLoop()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(ask(loop))
        return loop.longest.calls
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@pytest.mark.parametrize("new", [True, False], ids=["never seen", "seen"])
def test_a_list_of_many_parts(new: bool) -> None:
    """3,000 parts were listed in turns of 27,000 calls."""

    async def ask(loop: CountingLoop) -> None:
        bucket = Memory()
        parts = parts_of(on(bucket))
        upload = await parts.create_multipart("bkt/a", Content())
        for number in range(1, MANY + 1):
            part = await parts.begin_part("bkt/a", upload.id, number, 1)
            await part.write(b"x")
            await part.commit()
        if new:
            parts = parts_of(on(bucket))
        await asyncio.sleep(0)
        loop.longest.calls = 0
        there = await parts.list_parts("bkt/a", upload.id)
        assert [part.number for part in there] == [*range(1, MANY + 1)]

    assert longest(ask) < MOST_CALLS


@pytest.mark.parametrize("stem", ["a-", "long" * 300 + "-"], ids=["short", "sorted in memory"])
def test_a_page_of_many_blobs(stem: str) -> None:
    names = [f"{stem}{number:05}"[-1024:] for number in range(_LIST_PAGE)]

    async def ask(loop: CountingLoop) -> None:
        bucket = Memory()
        store = on(bucket)
        for name in names:
            await store.write_whole(name, lambda blob, damaged: None, Content(), b"x")
        await asyncio.sleep(0)
        loop.longest.calls = 0
        page = await on(bucket).list("", "", "", _LIST_PAGE)
        assert [blob.location for blob in page.blobs] == sorted(names)

    assert longest(ask) < MOST_CALLS


def test_after_an_error_no_more_pointers_are_read() -> None:
    async def go() -> None:
        bucket = Memory()
        store = on(bucket)
        for number in range(200):
            await store.write_whole(f"a{number:03}", lambda blob, damaged: None, Content(), b"x")
        bucket.broken, bucket.gets = True, 0
        with pytest.raises(Unavailable):
            await on(bucket).list("", "", "", _LIST_PAGE)
        for _ in range(20):
            await asyncio.sleep(0)
        assert bucket.gets <= 32

    asyncio.run(go())
