"""Ranges, slow readers, and readers that outlive an update."""

from __future__ import annotations

import asyncio
import os

import pytest

from common.errors import NotFound
from services.store import Content
from tests.engines.makers import INLINE_BYTES, PART_BYTES, Maker, Under, anything, only_there, run

MIB = 1 << 20


class Drops:
    """A sink that takes a few bytes at a time, and lets other tasks run in between."""

    def __init__(self, most: int) -> None:
        self.taken = bytearray()
        self._most = most

    def take(self, data: memoryview) -> int:
        self.taken += data[: self._most]
        return min(len(data), self._most)

    def take_file(self, fd: int, at: int, count: int) -> int:
        return self.take(memoryview(os.pread(fd, count, at)))

    async def ready(self) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("size", [100, INLINE_BYTES, 3 * MIB + 5])
def test_any_range(engine: Maker, size: int) -> None:
    async def test(under: Under) -> None:
        body = os.urandom(size)
        await under.put("a", body)
        middle = min(MIB, size // 2)
        ranges = [
            (0, 0),
            (0, size - 1),
            (size - 1, size - 1),
            (middle - 1, middle),
            (middle, size - 1),
            (3, 7),
        ]
        for first, last in ranges:
            reading = await under.store.open("a")
            assert b"".join([bytes(p) async for p in reading.chunks(first, last)]) == body[first : last + 1]
            sink = Drops(70_000)
            await reading.pour(first, last, sink)
            assert bytes(sink.taken) == body[first : last + 1]
            reading.close()
            reading.close()
        for most in (size, 70_000):
            reading, sink = await under.store.open("a"), Drops(most)
            sent_bytes = reading.pour_now(sink)
            assert sent_bytes == len(sink.taken) <= most
            await reading.pour(sent_bytes, size - 1, sink)
            assert bytes(sink.taken) == body
            reading.close()

    run(engine, test)


@pytest.mark.parametrize("size", [100, INLINE_BYTES + 1, 3 * MIB + 5])
def test_a_reader_outlives_an_update_and_a_delete(engine: Maker, size: int) -> None:
    async def test(under: Under) -> None:
        body = os.urandom(size)
        await under.put("a", body)
        first = await under.store.open("a")
        chunks = first.chunks(0, size - 1)
        got = [bytes(await anext(chunks))]
        await under.put("a", os.urandom(size + 1))
        second = await under.store.open("a")
        await under.store.delete("a", only_there)
        got += [bytes(piece) async for piece in chunks]
        assert b"".join(got) == body
        assert sum([len(piece) async for piece in second.chunks(0, size)]) == size + 1
        first.close()
        second.close()
        with pytest.raises(NotFound):
            await under.store.open("a")

    run(engine, test)


def test_many_slow_readers_of_a_large_blob(engine: Maker) -> None:
    async def test(under: Under) -> None:
        body = os.urandom(3 * PART_BYTES + 1)
        await under.put("a", body)

        async def read(number: int) -> None:
            reading = await under.store.open("a")
            sink = Drops(50_000 + number)
            await reading.pour(number, len(body) - 1, sink)
            reading.close()
            assert bytes(sink.taken) == body[number:]

        await asyncio.gather(*(read(number) for number in range(40)))

    run(engine, test)


def test_readers_and_writers_at_once_see_whole_blobs(engine: Maker) -> None:
    async def test(under: Under) -> None:
        size = INLINE_BYTES + 1
        await under.put("a", b"0" * size)
        writing = True

        async def read() -> None:
            while writing:
                body = await under.get("a")
                assert body is not None
                assert body == body[:1] * size

        async def write() -> None:
            nonlocal writing
            for number in range(1, 10):
                await under.put("a", b"%d" % number * size)
            writing = False

        await asyncio.gather(write(), *(read() for _ in range(4)))
        assert await under.get("a") == b"9" * size

    run(engine, test)


def test_peek_gives_what_is_there_or_nothing(engine: Maker) -> None:
    async def test(under: Under) -> None:
        assert under.store.peek("a") is None
        await under.store.write_whole("a", anything, Content(), b"body")
        found = under.store.peek("a")
        assert found is None or found[1] == b"body"
        without = under.store.peek("a", body=False)
        assert without is None or without[1] == b""

    run(engine, test)
