"""Rounds over all folders: each id once, with one row of names in memory, also in the gc and in the scrub."""

from __future__ import annotations

import contextlib
import errno
import os

import pytest

from services.engines.local.disk import directory
from services.engines.local.disk.layout import Layout
from services.engines.local.upkeep import collector
from services.engines.local.upkeep.collector import Collector
from services.engines.local.upkeep.folder_round import FolderRound, count_folders
from services.engines.local.upkeep.verifier import Verifier
from tests.disk.test_gc import fail, ids, put
from tests.support.rules import DataDirectory

ROWS, OF_EACH = 5, 40
IDS = [(row << 16) + number for row in range(ROWS) for number in range(OF_EACH)]


@pytest.fixture
def wide(data: DataDirectory) -> Layout:
    """A directory of 32 bits with folders in several rows, none of them a blob."""
    data_dir = directory.open_directory(data.root, 32, owner=True)
    for blob_id in IDS:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(data_dir.folder(blob_id)), 0o700)
        os.mkdir(data_dir.folder(blob_id), 0o700)
    return data_dir


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows whose names were read."""
    rows: list[int] = []
    names_of_row = directory.names_of_row

    def noted(data_dir: Layout, row: int) -> tuple[list[int], list[str]]:
        rows.append(row)
        return names_of_row(data_dir, row)

    monkeypatch.setattr(directory, "names_of_row", noted)
    return rows


@pytest.mark.parametrize("shuffled", [False, True])
def test_each_id_comes_once_and_one_row_is_read_at_a_time(
    wide: Layout, read: list[int], shuffled: bool
) -> None:
    folders = FolderRound(wide, shuffled=shuffled)
    found = []
    while (blob_id := folders.next_id()) is not None:
        found.append(blob_id)
        assert len(read) == (len(found) + OF_EACH - 1) // OF_EACH
    assert sorted(found) == IDS
    assert (folders.is_over, folders.done, count_folders(wide)) == (True, len(IDS), len(IDS))


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Rows whose names the disk does not give."""
    rows: set[int] = set()
    names_of_row = directory.names_of_row

    def refuse(data_dir: Layout, row: int) -> tuple[list[int], list[str]]:
        if row in rows:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return names_of_row(data_dir, row)

    monkeypatch.setattr(directory, "names_of_row", refuse)
    return rows


def test_a_row_that_cannot_be_read_does_not_keep_others_from_their_turn(
    wide: Layout, unreadable: set[int]
) -> None:
    unreadable |= {1, 3}
    folders, found, refused = FolderRound(wide), [], 0
    while not folders.is_over:
        try:
            blob_id = folders.next_id()
        except OSError:
            refused += 1
        else:
            assert blob_id is not None
            found.append(blob_id)
    assert sorted(found) == [blob_id for blob_id in IDS if blob_id >> 16 not in unreadable]
    assert (refused, folders.missed) == (2, True)
    assert count_folders(wide) == len(found)


def test_the_gc_collects_what_was_in_a_row_that_it_could_not_read(
    wide: Layout, unreadable: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did not come to any other row, and each pass failed."""
    for number, blob_id in enumerate(IDS):
        os.rmdir(wide.folder(blob_id))
        if number % 10 == 0:
            fail(wide, put(wide, blob_id, f"{blob_id}"), hinted=False)
    monkeypatch.setattr(collector, "OVERLAP_NS", 0)
    gc = Collector(wide, 5.0)
    unreadable |= {2}
    said = [gc.run_once() or "" for _ in range(4)]
    assert all("errors=1" in line for line in said), said
    unreadable.clear()
    assert {blob_id >> 16 for blob_id in ids(wide)} == {2}
    gc.run_once()
    gc.run_once()
    assert ids(wide) == set()


def test_a_pass_of_the_gc_reads_the_names_that_it_comes_to(wide: Layout, read: list[int]) -> None:
    gc = Collector(wide, 5.0, slice_folders=OF_EACH)
    for passes in range(1, ROWS + 1):
        gc.run_once()
        assert len(read) == passes


def test_a_scrub_has_the_names_of_one_row_at_a_time(wide: Layout, read: list[int]) -> None:
    worker = Verifier(wide, 1.0, 1e12)
    held: list[int] = []

    def one_more() -> bool:
        assert worker._round is not None
        held.append(len(worker._round._ids))
        return False

    worker.should_stop = one_more  # type: ignore[method-assign]
    worker._is_reconciled = True
    worker._scrub(3600.0)
    counted, of_the_round = read[:ROWS], read[ROWS:]
    assert sorted(counted) == sorted(of_the_round) == list(range(ROWS))
    assert max(held) < OF_EACH
