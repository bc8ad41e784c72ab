"""Rounds over all folders: each id once, with one row of names in memory, also in the gc and in the scrub."""

from __future__ import annotations

import contextlib
import errno
import os

import pytest

from services.engines.local.disk import directory
from services.engines.local.disk.layout import Layout
from services.engines.local.upkeep.collector import Collector
from services.engines.local.upkeep.folder_round import FolderRound, count_folders
from services.engines.local.upkeep.verifier import Verifier
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


def test_a_row_that_cannot_be_read_has_its_turn_again(wide: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = FolderRound(wide)
    names_of_row = directory.names_of_row

    def refuse(data_dir: Layout, row: int) -> tuple[list[int], list[str]]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(directory, "names_of_row", refuse)
    with pytest.raises(OSError, match="error"):
        folders.next_id()
    monkeypatch.setattr(directory, "names_of_row", names_of_row)
    assert sorted(iter(folders.next_id, None)) == IDS


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
