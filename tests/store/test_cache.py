"""Small blobs from memory or the page cache: never another blob's bytes or corrupt ones, and in bounded
memory.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from common import checksum
from services.engines.local.disk import read_nowait
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.read_nowait import read_file_nowait
from services.engines.local.serving import cache as cache_module
from services.engines.local.serving.cache import MAX_BYTES, HotCache


@pytest.fixture
def data_dir(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path), 16)


def stored(data_dir: Layout, blob_id: int, body: bytes, location: str = "a") -> Blob:
    """A blob whose data.raw is there."""
    os.makedirs(data_dir.folder(blob_id), exist_ok=True)
    Path(data_dir.data(blob_id)).write_bytes(body)
    sha256, crcs = checksum.sums_of(body)
    return Blob.make(
        location=location,
        id=blob_id,
        seq=blob_id,
        size=len(body),
        sha256=sha256,
        crcs=crcs,
        type="",
        encoding="",
        modified_ns=0,
    )


@pytest.mark.parametrize("size", [0, 1, 1024, 16 << 10, (16 << 10) + 1, MAX_BYTES])
def test_small_blobs_are_at_hand(data_dir: Layout, size: int) -> None:
    cache = HotCache(data_dir, 1 << 20)
    blob = stored(data_dir, 1, b"x" * size)
    assert [cache.bytes_of(blob) for _ in range(3)] == [b"x" * size] * 3


def test_larger_ones_are_not(data_dir: Layout) -> None:
    assert HotCache(data_dir, 1 << 30).bytes_of(stored(data_dir, 1, bytes(MAX_BYTES + 1))) is None


def test_what_was_read_is_remembered_for_that_blob_alone(data_dir: Layout) -> None:
    cache = HotCache(data_dir, 1 << 20)
    one = stored(data_dir, 1, b"one")
    assert cache.bytes_of(one) == b"one"
    os.unlink(data_dir.data(1))
    assert cache.bytes_of(one) == b"one"
    two = stored(data_dir, 1, b"two")  # the id and the location are used again
    assert cache.bytes_of(two) == b"two"


@pytest.mark.parametrize("found", [b"bad", b"", b"goodbye", None], ids=repr)
def test_a_file_that_is_not_what_it_should_be_is_for_the_long_way(
    data_dir: Layout, found: bytes | None
) -> None:
    cache = HotCache(data_dir, 1 << 20)
    blob = stored(data_dir, 1, b"good")
    if found is None:
        os.unlink(data_dir.data(1))
    else:
        Path(data_dir.data(1)).write_bytes(found)
    assert cache.bytes_of(blob) is None
    Path(data_dir.data(1)).unlink(missing_ok=True)
    assert cache.bytes_of(stored(data_dir, 1, b"good")) == b"good"


def test_symlinks_and_pipes_are_not_followed(data_dir: Layout, tmp_path: Path) -> None:
    cache = HotCache(data_dir, 1 << 20)
    blob = stored(data_dir, 1, b"good")
    elsewhere = tmp_path / "elsewhere"
    os.rename(data_dir.data(1), elsewhere)
    os.symlink(elsewhere, data_dir.data(1))
    assert cache.bytes_of(blob) is None
    os.unlink(data_dir.data(1))
    os.mkfifo(data_dir.data(1))
    assert cache.bytes_of(blob) is None


def test_memory_is_bounded_and_the_least_used_goes_first(data_dir: Layout) -> None:
    cache = HotCache(data_dir, 10 * 1200)
    blobs = [stored(data_dir, n, b"%d" % n * 1000, f"b{n}") for n in range(1, 10)]
    for blob in blobs:
        assert cache.bytes_of(blob) is not None
        assert cache.bytes_of(blobs[0]) is not None
    for blob in blobs:
        os.unlink(data_dir.data(blob.id))
    there = [blob.id for blob in blobs if cache.bytes_of(blob) is not None]
    assert there == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    big = [stored(data_dir, n, bytes(3000), f"c{n}") for n in range(10, 13)]
    for _ in range(200):  # where it is full, one in 64 second reads is let in
        for blob in big:
            assert cache.bytes_of(blob) is not None
    there = [blob.id for blob in blobs if cache.bytes_of(blob) is not None]
    assert there == [8, 9]
    assert HotCache(data_dir, 0).bytes_of(big[0]) is not None


def test_a_set_larger_than_the_cache_finds_a_part_of_itself(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one in 16 each blob was displaced before it was read again: none was found."""
    cache = HotCache(data_dir, 20 * 1200)
    blobs = [stored(data_dir, n, bytes(1000), f"b{n}") for n in range(400)]
    from_disk: list[int] = []

    def read(path: str, size: int) -> bytes:
        from_disk.append(size)
        return Path(path).read_bytes()  # also what a busy system has dropped from its page cache meanwhile

    monkeypatch.setattr(cache_module, "read_file_nowait", read)
    for blob in blobs * 20:
        assert cache.bytes_of(blob) is not None
    assert len(from_disk) < 20 * 400 - 100


def test_only_what_is_kept_is_copied(data_dir: Layout) -> None:
    """A copy of 64 KiB takes 2 us, of some 40 for the whole request. Kept bytes must not change later."""
    size = MAX_BYTES - 1
    cache = HotCache(data_dir, 4 * MAX_BYTES)
    blobs = [stored(data_dir, n, b"%d" % n * size, f"b{n}") for n in (1, 2, 3)]
    for blob in blobs:
        first = cache.bytes_of(blob)
        assert isinstance(first, memoryview)
        assert first == b"%d" % blob.id * size
    for blob in blobs:
        assert cache.bytes_of(blob) == b"%d" % blob.id * size
    for blob in blobs:
        kept = cache.bytes_of(blob)
        assert isinstance(kept, bytes)
        assert kept == b"%d" % blob.id * size


def test_no_descriptor_is_left(data_dir: Layout) -> None:
    blob = stored(data_dir, 1, b"x")
    cache = HotCache(data_dir, 0)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        assert cache.bytes_of(blob) == b"x"
        assert read_file_nowait(data_dir.data(1), 2) is None
        assert read_file_nowait(data_dir.data(2), 1) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_system_without_openat2_reads_as_well(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_nowait, "_open", read_nowait._open_plainly)
    stored(data_dir, 1, b"good")
    view = read_file_nowait(data_dir.data(1), 4)
    assert view is not None
    assert bytes(view) == b"good"
    assert read_file_nowait(data_dir.data(2), 4) is None


def test_what_expires_while_it_is_kept_is_served_no_more(data_dir: Layout) -> None:
    blob = stored(data_dir, 1, b"good")
    over_at_s = time.time() + 0.2
    cache = HotCache(data_dir, 1 << 20, lambda of: over_at_s if of is blob else None)
    assert cache.bytes_of(blob) == b"good"
    while time.time() < over_at_s:
        time.sleep(0.01)
    assert cache.bytes_of(blob) is None
