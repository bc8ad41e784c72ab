"""Reading ahead: where the disk has to be read, and only there; whatever stands in a blob's place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common import directory, durable, prefetch, settle
from common.layout import Layout
from common.prefetch import Prefetch
from common.slices import SLICE_BLOBS


@pytest.fixture
def where(tmp_path: Path) -> Layout:
    return directory.open_directory(str(tmp_path / "data"), 16, owner=True)


@contextmanager
def disk_reads(monkeypatch: pytest.MonkeyPatch, sectors_a_slice: int) -> Iterator[None]:
    """As if each slice had made the disk read so much."""
    sums = iter(range(0, 1 << 40, max(1, sectors_a_slice))) if sectors_a_slice else iter([0] * 1000)
    monkeypatch.setattr(prefetch, "_sectors_read", lambda: next(sums))
    yield


def walk(where: Layout, ids: list[int]) -> int:
    with Prefetch(where) as ahead:
        for done in range(0, len(ids), SLICE_BLOBS):
            ahead.before(ids[done : done + SLICE_BLOBS])
        return ahead.slices


def test_a_warm_cache_is_left_alone(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with disk_reads(monkeypatch, 0):
        assert walk(where, list(range(3 * SLICE_BLOBS))) == 0


def test_a_cold_one_is_read_ahead_slice_by_slice(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[int] = []
    monkeypatch.setattr(Prefetch, "_touch", lambda self, blob_id: touched.append(blob_id))
    with disk_reads(monkeypatch, SLICE_BLOBS * 8):
        assert walk(where, list(range(2 * SLICE_BLOBS + 5))) == 3
    assert sorted(touched) == list(range(2 * SLICE_BLOBS + 5))


def test_what_stands_in_a_blobs_place_is_passed_over(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, a folder without a state, a pipe, a symlink and a folder as the state."""
    for blob_id in range(1, 5):
        os.mkdir(where.folder(blob_id))
    os.mkfifo(where.state(2))
    os.symlink("nowhere", where.state(3))
    os.mkdir(where.state(4))
    with disk_reads(monkeypatch, SLICE_BLOBS * 8):
        assert walk(where, list(range(5))) == 1


def test_states_that_are_not_in_the_page_cache_are_read_ahead_when_settling(
    where: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 3 * SLICE_BLOBS
    for blob_id in range(count):
        os.mkdir(where.folder(blob_id))
        durable.write_file(where.state(blob_id), b"x" * 3000, synced=False)
    root = durable.open_folder(where.root)
    durable.sync_file_system(root)
    os.close(root)
    for blob_id in range(count):
        fd = os.open(where.state(blob_id), os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    made: list[Prefetch] = []
    real = Prefetch.__init__

    def remember(self: Prefetch, where: Layout) -> None:
        real(self, where)
        made.append(self)

    monkeypatch.setattr(Prefetch, "__init__", remember)
    before = prefetch._sectors_read()
    found = settle.settle(where, dry_run=True)
    assert (found.seen, len(found.quarantined)) == (count, count)
    if prefetch._sectors_read() - before < count * 8 // 2:
        pytest.skip("this file system reads from no disk, or does not say so")
    assert made[0].slices >= 1
