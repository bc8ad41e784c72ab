"""Chunks that are read often, in sealed memory: verified bytes of the blob that the index shows, in
bounded memory.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from common.checksum import Bytes
from common.errors import Damaged
from common.sealed import Sealed, memory_bytes
from common.second_reads import SecondReads
from services.engines.local.disk.blob import Blob
from services.engines.local.serving import sealed_chunks
from services.engines.local.serving.sealed_chunks import SealedChunks
from tests.support.stores import Opened, opened

MIB = 1 << 20
BODY, OTHER = os.urandom(2 * MIB + 5), os.urandom(2 * MIB + 5)
Test = Callable[[Opened], Awaitable[None]]


class Everything:
    """A sink that takes everything, and notes what came from a file."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.from_file = 0

    def take(self, data: memoryview) -> int:
        self.taken += data
        return len(data)

    def take_file(self, fd: int, at: int, count: int) -> int:
        self.from_file += count
        return self.take(memoryview(os.pread(fd, count, at)))

    async def ready(self) -> None:
        raise AssertionError("it took all")


async def poured(store: Opened, location: str = "a") -> Everything:
    sink = Everything()
    reading = await store.store.open(location)
    try:
        await reading.pour(0, reading.blob.size - 1, sink)
    finally:
        reading.close()
    return sink


def spoil(store: Opened, blob: Blob) -> None:
    Path(store.data_dir.data(blob.id)).write_bytes(bytes(blob.size))


def run(root: Path, test: Test) -> None:
    async def whole() -> None:
        async with opened(str(root)) as store:
            await store.put("a", BODY)
            for _ in range(2):
                assert (await poured(store)).taken == BODY
            await test(store)

    asyncio.run(whole())


def test_what_is_sealed_cannot_be_changed_and_goes_with_its_object() -> None:
    before = set(os.listdir("/proc/self/fd"))
    sealed = Sealed(BODY)
    assert sealed.read(MIB, 10) == BODY[MIB : MIB + 10]
    with pytest.raises(PermissionError):
        os.pwrite(sealed.fd, b"x", 0)
    for size in (1, len(BODY) + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(sealed.fd, size)
    assert sealed.read(0, len(BODY)) == BODY
    del sealed
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_second_read_keeps_and_the_third_reads_nothing_anew(tmp_path: Path) -> None:
    async def test(store: Opened) -> None:
        chunks = store.store.hot.chunks
        assert chunks.files == 3
        assert chunks.bytes == sum(memory_bytes(size) for size in (MIB, MIB, 5))
        blob = store.store.index.get("a")
        assert blob is not None
        spoil(store, blob)
        sink = await poured(store)
        assert (bytes(sink.taken), sink.from_file) == (BODY, len(BODY))

    run(tmp_path, test)


def test_bytes_that_fail_their_checksum_are_not_kept(tmp_path: Path) -> None:
    async def test(store: Opened) -> None:
        blob = await store.put("b", OTHER)
        await poured(store, "b")
        kept = store.store.hot.chunks.files
        spoil(store, blob)
        with pytest.raises(Damaged):
            await poured(store, "b")
        assert store.store.hot.chunks.files == kept
        assert store.store.open_nowait("b") is None

    run(tmp_path, test)


def test_what_is_replaced_is_dropped_and_who_opened_it_reads_it_to_the_end(tmp_path: Path) -> None:
    async def test(store: Opened) -> None:
        old = await store.store.open("a")
        await store.put("a", OTHER)
        assert store.store.hot.chunks.files == 0
        for _ in range(3):
            assert (await poured(store)).taken == OTHER
        sink = Everything()
        await old.pour(0, len(BODY) - 1, sink)
        assert (bytes(sink.taken), sink.from_file) == (BODY, 0)
        old.close()
        assert (await poured(store)).taken == OTHER

    run(tmp_path, test)


@pytest.mark.parametrize("how", ["deleted", "damaged"])
def test_what_is_not_shown_any_more_is_dropped(tmp_path: Path, how: str) -> None:
    async def test(store: Opened) -> None:
        blob = store.store.index.get("a")
        assert blob is not None
        old = await store.store.open("a")
        if how == "deleted":
            await store.delete("a")
        else:
            store.store.report_damage(blob, "as the recovery worker says")
        assert (store.store.hot.chunks.files, store.store.hot.chunks.bytes) == (0, 0)
        assert store.store.open_nowait("a") is None
        for _ in range(3):  # a client that reads it to the end does not put it back into memory
            await old.pour(0, len(BODY) - 1, Everything())
        assert store.store.hot.chunks.files == 0
        old.close()

    run(tmp_path, test)


def a_blob(number: int, size: int) -> Blob:
    return Blob.make(
        location=f"b{number}",
        id=number,
        seq=number,
        size=size,
        sha256=bytes(32),
        crcs=bytes(4),
        type="",
        encoding="",
        modified_ns=0,
    )


def test_a_set_larger_than_the_cache_is_seldom_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """To keep a chunk costs more than three reads of it: most of what is kept is read more often."""
    copies = 0

    class Counted(Sealed):
        def __init__(self, data: Bytes) -> None:
            nonlocal copies
            copies += 1
            super().__init__(data)

    monkeypatch.setattr(sealed_chunks, "Sealed", Counted)
    chunks = SealedChunks(48 * 4096, lambda blob: True, max_files=1000)
    blobs = [a_blob(number, 4096) for number in range(320)]
    hits = 0
    for _ in range(20):
        for blob in blobs:
            hits += chunks.find(blob, 0) is not None
            chunks.offer(blob, 0, memoryview(bytes(4096)))
    assert copies < 150
    assert hits > 5 * copies


def test_memory_and_descriptors_are_bounded_and_most_of_what_is_kept_stays() -> None:
    chunks = SealedChunks(10 * 4096, lambda blob: True, max_files=5)
    blobs = [a_blob(number, 4096) for number in range(50)]
    hits = 0
    for _ in range(20):  # round and round over ten times what fits
        for blob in blobs:
            hits += chunks.find(blob, 0) is not None
            chunks.offer(blob, 0, memoryview(bytes(4096)))
            assert chunks.files <= 5
    assert chunks.files == 5
    assert hits > 40  # if each displaced the next, there would be no hits
    large = a_blob(99, 6 * 4096)
    for _ in range(50):
        chunks.offer(large, 0, memoryview(bytes(4096)))
    assert chunks.find(large, 0) is None
    for blob in blobs:
        chunks.drop(blob.location)
    assert (chunks.files, chunks.bytes) == (0, 0)


def test_where_no_descriptor_is_left_nothing_is_kept() -> None:
    chunks = SealedChunks(MIB, lambda blob: True)
    blob = a_blob(1, 4096)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        for _ in range(3):
            chunks.offer(blob, 0, memoryview(bytes(4096)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert chunks.files == 0
    chunks.offer(blob, 0, memoryview(bytes(4096)))
    assert chunks.files == 1


def test_what_is_read_once_is_not_let_in() -> None:
    reads = SecondReads()
    assert not any(reads.lets_in(number, is_full=False) for number in range(20_000))
    assert reads.lets_in(19_999, is_full=False)
    assert not reads.lets_in(0, is_full=False)  # forgotten, since what is remembered is bounded


def test_a_chunk_that_many_offer_at_once_is_counted_once() -> None:
    kept = SealedChunks(4 * MIB, lambda blob: True)
    blob = a_blob(1, 1000)
    for _ in range(6):
        kept.offer(blob, 0, memoryview(bytes(1000)))
    assert (kept.bytes, kept.files) == (memory_bytes(1000), 1)
    kept.drop(blob.location)
    assert (kept.bytes, kept.files) == (0, 0)
