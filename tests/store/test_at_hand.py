"""Small blobs from memory or the page cache: never another blob's bytes, nor rotten ones; bounded memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common import at_once, checksum
from common.at_once import read_at_once
from common.blob import Blob
from common.layout import Layout
from services.local.at_hand import MAX_BYTES, AtHand


@pytest.fixture
def where(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path), 16)


def stored(where: Layout, blob_id: int, body: bytes, location: str = "a") -> Blob:
    """A blob whose data.raw is there."""
    os.makedirs(where.folder(blob_id), exist_ok=True)
    Path(where.data(blob_id)).write_bytes(body)
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
def test_small_blobs_are_at_hand(where: Layout, size: int) -> None:
    at_hand = AtHand(where, 1 << 20)
    blob = stored(where, 1, b"x" * size)
    assert [at_hand.bytes_of(blob) for _ in range(3)] == [b"x" * size] * 3


def test_larger_ones_are_not(where: Layout) -> None:
    assert AtHand(where, 1 << 30).bytes_of(stored(where, 1, bytes(MAX_BYTES + 1))) is None


def test_what_was_read_is_remembered_for_that_blob_alone(where: Layout) -> None:
    at_hand = AtHand(where, 1 << 20)
    one = stored(where, 1, b"one")
    assert at_hand.bytes_of(one) == b"one"
    os.unlink(where.data(1))
    assert at_hand.bytes_of(one) == b"one"
    two = stored(where, 1, b"two")  # the id, and the location, come again
    assert at_hand.bytes_of(two) == b"two"


@pytest.mark.parametrize("found", [b"bad", b"", b"goodbye", None], ids=repr)
def test_a_file_that_is_not_what_it_should_be_is_for_the_long_way(where: Layout, found: bytes | None) -> None:
    at_hand = AtHand(where, 1 << 20)
    blob = stored(where, 1, b"good")
    if found is None:
        os.unlink(where.data(1))
    else:
        Path(where.data(1)).write_bytes(found)
    assert at_hand.bytes_of(blob) is None
    Path(where.data(1)).unlink(missing_ok=True)
    assert at_hand.bytes_of(stored(where, 1, b"good")) == b"good"


def test_symlinks_and_pipes_are_not_followed(where: Layout, tmp_path: Path) -> None:
    at_hand = AtHand(where, 1 << 20)
    blob = stored(where, 1, b"good")
    elsewhere = tmp_path / "elsewhere"
    os.rename(where.data(1), elsewhere)
    os.symlink(elsewhere, where.data(1))
    assert at_hand.bytes_of(blob) is None
    os.unlink(where.data(1))
    os.mkfifo(where.data(1))
    assert at_hand.bytes_of(blob) is None


def test_memory_is_bounded_and_the_least_used_goes_first(where: Layout) -> None:
    at_hand = AtHand(where, 10 * 1200)
    blobs = [stored(where, n, b"%d" % n * 1000, f"b{n}") for n in range(1, 10)]
    for blob in blobs:
        assert at_hand.bytes_of(blob) is not None
        assert at_hand.bytes_of(blobs[0]) is not None
    for blob in blobs:
        os.unlink(where.data(blob.id))
    there = [blob.id for blob in blobs if at_hand.bytes_of(blob) is not None]
    assert there == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    big = [stored(where, n, bytes(3000), f"c{n}") for n in range(10, 13)]
    for blob in big:
        assert at_hand.bytes_of(blob) is not None
    there = [blob.id for blob in blobs if at_hand.bytes_of(blob) is not None]
    assert there == [8, 9]
    assert AtHand(where, 0).bytes_of(big[0]) is not None


def test_no_descriptor_is_left(where: Layout) -> None:
    blob = stored(where, 1, b"x")
    at_hand = AtHand(where, 0)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        assert at_hand.bytes_of(blob) == b"x"
        assert read_at_once(where.data(1), 2) is None
        assert read_at_once(where.data(2), 1) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_system_without_openat2_reads_as_well(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once, "_open", at_once._open_plainly)
    stored(where, 1, b"good")
    assert read_at_once(where.data(1), 4) == b"good"
    assert read_at_once(where.data(2), 4) is None
