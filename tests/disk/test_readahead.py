"""Reading ahead happens only if the disk has to be read, and foreign things in a blob's place do no harm."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from common import durable
from services.engines.local.disk import directory
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery import readahead, reconcile
from services.engines.local.recovery.readahead import Readahead
from services.engines.local.recovery.scan_slices import SLICE_BLOBS


@pytest.fixture
def data_dir(tmp_path: Path) -> Layout:
    return directory.open_directory(str(tmp_path / "data"), 16, owner=True)


@contextmanager
def disk_reads(monkeypatch: pytest.MonkeyPatch, sectors_a_slice: int) -> Iterator[None]:
    """Pretend that each slice made the disk read so many sectors."""
    sums = iter(range(0, 1 << 40, max(1, sectors_a_slice))) if sectors_a_slice else iter([0] * 1000)
    monkeypatch.setattr(readahead, "_sectors_read", lambda: next(sums))
    yield


def walk(data_dir: Layout, ids: list[int]) -> int:
    with closing(Readahead(data_dir)) as ahead:
        for done in range(0, len(ids), SLICE_BLOBS):
            ahead.before(ids[done : done + SLICE_BLOBS])
        return ahead.slices


def test_a_warm_cache_is_left_alone(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with disk_reads(monkeypatch, 0):
        assert walk(data_dir, list(range(3 * SLICE_BLOBS))) == 0


def test_a_cold_one_is_read_ahead_slice_by_slice(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[int] = []
    monkeypatch.setattr(Readahead, "_touch", lambda self, blob_id: touched.append(blob_id))
    with disk_reads(monkeypatch, SLICE_BLOBS * 8):
        assert walk(data_dir, list(range(2 * SLICE_BLOBS + 5))) == 3
    assert sorted(touched) == list(range(2 * SLICE_BLOBS + 5))


def test_what_stands_in_a_blobs_place_is_passed_over(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder; a folder without a state; and a pipe, a symlink and a folder in place of the state."""
    for blob_id in range(1, 5):
        os.mkdir(data_dir.folder(blob_id))
    os.mkfifo(data_dir.state(2))
    os.symlink("nowhere", data_dir.state(3))
    os.mkdir(data_dir.state(4))
    with disk_reads(monkeypatch, SLICE_BLOBS * 8):
        assert walk(data_dir, list(range(5))) == 1


def test_states_that_are_not_in_the_page_cache_are_read_ahead_when_settling(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 3 * SLICE_BLOBS
    for blob_id in range(count):
        os.mkdir(data_dir.folder(blob_id))
        durable.write_file(data_dir.state(blob_id), b"x" * 3000, synced=False)
    root = durable.open_folder(data_dir.root)
    durable.sync_file_system(root)
    os.close(root)
    for blob_id in range(count):
        fd = os.open(data_dir.state(blob_id), os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    made: list[Readahead] = []
    real = Readahead.__init__

    def remember(self: Readahead, data_dir: Layout) -> None:
        real(self, data_dir)
        made.append(self)

    monkeypatch.setattr(Readahead, "__init__", remember)
    before = readahead._sectors_read()
    found = reconcile.reconcile(data_dir, dry_run=True)
    assert (found.seen, len(found.quarantined)) == (count, count)
    if readahead._sectors_read() - before < count * 8 // 2:
        pytest.skip("this file system reads from no disk, or does not say so")
    assert made[0].slices >= 1
