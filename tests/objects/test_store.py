"""Several servers on one real bucket: races, damage, and a store that dies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from common.errors import AlreadyExists, BlobkeepError, Damaged, PreconditionFailed, Unavailable
from services.engines.objects import keys
from services.engines.objects.bucket import Got, pages
from services.engines.objects.client import BucketClient
from services.engines.objects.meter import Meter
from services.store import Blob
from tests.engines.makers import PART_BYTES, Under, objects_store, only_new
from tests.support import seaweed
from tests.support.seaweed import Seaweed


def servers(process: Seaweed, count: int, prefix: str | None = None) -> list[Under]:
    """So many servers' stores on one empty bucket."""
    settings = process.settings(prefix)
    stores = [objects_store(BucketClient(settings, Meter())) for _ in range(count)]
    return [Under(store, store.events) for store in stores]


@pytest.fixture
def mortal_process() -> Iterator[Seaweed]:
    """A SeaweedFS of the test's own, which it may kill."""
    process, folder = seaweed.start()
    with folder:
        yield process
        process.end()


@pytest.mark.parametrize("size", [10, PART_BYTES], ids=["small", "large"])
def test_of_a_hundred_creates_on_three_servers_one_wins(store_process: Seaweed, size: int) -> None:
    async def go() -> None:
        three = servers(store_process, 3)
        bodies = [b"%03d" % number + b"x" * size for number in range(99)]
        done = await asyncio.gather(
            *(three[n % 3].put("a", body, only_new) for n, body in enumerate(bodies)), return_exceptions=True
        )
        won = [n for n, result in enumerate(done) if not isinstance(result, BaseException)]
        assert len(won) == 1
        assert all(isinstance(done[n], AlreadyExists) for n in range(99) if n not in won)
        assert [await one.get("a") for one in three] == [bodies[won[0]]] * 3

    asyncio.run(go())


def test_every_swap_on_three_servers_counts(store_process: Seaweed) -> None:
    async def go() -> None:
        three = servers(store_process, 3)
        await three[0].put("n", b"0")

        async def add(number: int) -> None:
            one = three[number % 3]
            while True:
                reading = await one.store.open("n")
                version = reading.blob.version
                count = int(
                    b"".join([bytes(piece) async for piece in reading.chunks(0, reading.blob.size - 1)])
                )
                reading.close()

                def is_same(blob: Blob | None, damaged: bool, version: str = version) -> None:
                    if blob is None or blob.version != version:
                        raise PreconditionFailed("It is another one.")

                try:
                    await one.put("n", b"%d" % (count + 1), is_same, whole=True)
                except PreconditionFailed:
                    continue
                return

        await asyncio.gather(*(add(number) for number in range(30)))
        assert [await one.get("n") for one in three] == [b"30"] * 3

    asyncio.run(go())


@pytest.mark.parametrize("way", ["rotten", "empty", "empty, by obstore"])
def test_a_pointer_that_cannot_be_read_is_kept_when_it_is_replaced(store_process: Seaweed, way: str) -> None:
    async def go() -> None:
        (one,) = servers(store_process, 1)
        await one.put("a", b"the body", whole=True)
        bucket = one.store.tools.bucket  # type: ignore[attr-defined]
        got = await bucket.get(keys.pointer_key("a"))
        rotten = got.data.replace(b'"location"', b'"lXcation"') if way == "rotten" else b""
        if way == "empty, by obstore":
            bucket._direct = None
        await bucket.put(keys.pointer_key("a"), rotten, None)
        with pytest.raises(Damaged):
            await one.store.stat("a")
        with pytest.raises(Damaged):
            await one.store.open("a")
        assert await one.names() == []
        await one.put("a", b"new", whole=True)
        assert await one.get("a") == b"new"
        kept = [listed.key async for page in pages(bucket, keys.DAMAGED) for listed in page]
        assert [(await bucket.get(key)).data for key in kept] == [rotten]

    asyncio.run(go())


@pytest.mark.parametrize("way", ["ours", "obstore"])
def test_what_an_object_does_not_have_is_no_error_of_the_store(store_process: Seaweed, way: str) -> None:
    """A part that has lost its end is damage; an error of the store would be tried again for ever."""

    async def go() -> None:
        client = BucketClient(store_process.settings(), Meter())
        if way == "obstore":
            client._direct = None
        for data in (b"abc", b""):
            etag = await client.put("data/k", data, None)
            found = [await client.get("data/k", first, 3) for first in (0, 2, 5)]
            assert found == [Got(data[first : first + 3], etag, len(data)) for first in (0, 2, 5)]

    asyncio.run(go())


def test_a_store_that_dies_loses_nothing_and_is_said_to_be_away(mortal_process: Seaweed) -> None:
    async def go() -> None:
        settings = mortal_process.settings()._replace(patience_s=1.0)
        store = objects_store(BucketClient(settings, Meter()))
        one = Under(store, store.events)
        acknowledged: dict[str, bytes] = {}
        refused: list[BaseException] = []
        enough = asyncio.Event()

        async def write(client: int) -> None:
            for number in range(1000):
                if refused:
                    return
                name, body = f"{client}/{number}", b"%d-%d" % (client, number)
                try:
                    await one.put(name, body, only_new, whole=True)
                except BlobkeepError as err:
                    refused.append(err)
                    enough.set()  # so a refusal before the kill hangs nothing
                else:
                    acknowledged[name] = body
                    if len(acknowledged) == 100:
                        enough.set()

        async def kill() -> None:
            await enough.wait()
            await asyncio.to_thread(mortal_process.kill)

        await asyncio.gather(kill(), *(write(client) for client in range(8)))
        assert refused
        assert all(isinstance(err, Unavailable) for err in refused)
        with pytest.raises(Unavailable):
            await one.store.stat("0/0")
        await asyncio.to_thread(mortal_process.start)
        after = Under(
            objects_store(BucketClient(mortal_process.settings(settings.prefix), Meter())), store.events
        )
        for name, body in acknowledged.items():
            assert await after.get(name) == body
        assert set(acknowledged) <= set(await after.names())

    asyncio.run(go())
