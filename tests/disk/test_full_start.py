"""A full start with the index: the result of `reconcile`, in memory that does not grow with the blobs."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from common import durable
from services.engines.local.disk import directory
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.index import run_writer, spills, table_entries
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.manifest import IndexFiles, Stamp
from services.engines.local.index.run import Run
from services.engines.local.index.spills import Spills
from services.engines.local.index.writer import IndexWriter
from services.engines.local.recovery import full_start
from services.engines.local.recovery.full_start import read_all
from services.engines.local.recovery.reconcile import reconcile
from services.engines.local.recovery.reconciled import Reconciled
from tests.disk.test_index_runs import SALT, answers, some
from tests.disk.test_reconcile import put
from tests.disk.test_scan_pool import copy_of, fill, outcome

HELD, OF_EACH_ROW, ROWS = 16, 9, 20


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Many rows. Each location of `rival-` has blobs in several of them, the newest in any."""
    monkeypatch.setattr(full_start, "HELD_BLOBS", HELD)
    monkeypatch.setattr(spills, "_FILES", 3)
    monkeypatch.setattr(spills, "_PART_BLOBS", 4)
    monkeypatch.setattr(table_entries, "_PART_PAGES", 1)
    monkeypatch.setattr(table_entries, "_HELD_BYTES", 100)
    made = directory.open_directory(str(tmp_path / "data"), 32, owner=True)
    fill(made)
    for row in range(1, ROWS):
        for number in range(OF_EACH_ROW):
            blob_id = (row << 16) + number
            at = f"rival-{row % 7}" if number == 0 else f"alone-{blob_id}"
            put(made, blob_id, at, b"x" * number, seq=1000 + (row * 37 + number * 1000) % 10_007)
    return made


def started(data_dir: Layout) -> Reconciled:
    files = IndexFiles(data_dir)
    writer = IndexWriter(files, 32, Stamp(0, 0, 0), None, lambda: Stamp(0, 0, 0))
    return read_all(data_dir, files, writer, None)


def outcome_of(data_dir: Layout, found: Reconciled) -> dict[str, object]:
    """The same as of a directory without an index."""
    found.live = dict(found.live.items())
    paths = [path for path in Path(data_dir.root).rglob("*") if ".index" not in path.parts]
    return outcome(data_dir, found) | {
        "paths": sorted(str(path.relative_to(data_dir.root)) for path in paths)
    }


def test_it_finds_and_does_what_reconcile_does(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = copy_of(data_dir)
    expected = outcome(copy, reconcile(copy))
    sizes: list[int] = []
    add = Spills.add

    def noted(self: Spills, blobs: Iterable[Blob]) -> None:
        held = list(blobs)
        sizes.append(len(held))
        add(self, held)

    monkeypatch.setattr(Spills, "add", noted)
    found = started(data_dir)
    assert isinstance(found.live, Catalogue)
    assert found.superseded >= ROWS - 7
    assert len(sizes) > 2 * spills._FILES  # so some were merged, too
    assert sorted(sizes)[-2] <= 2 * HELD  # one row has more, all of it in one folder
    assert [name for name in os.listdir(f"{data_dir.root}/.index") if not name.endswith(".run")] == []
    for location, blob in found.live.items():
        assert (found.live.get(location), found.live.by_id(blob.id)) == (blob, blob)
    assert (len(found.live), found.live.bytes) == (
        len(list(found.live.values())),
        sum(blob.size for blob in found.live.values()),
    )
    assert outcome_of(data_dir, found) == expected


def test_what_is_read_is_what_was_written_or_all_is_read_again(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = Spills.rivals

    def flipped(self: Spills, more: Iterable[Blob]) -> object:
        (byte,) = os.pread(self._files[0], 1, 20)
        os.pwrite(self._files[0], bytes([byte ^ 1]), 20)
        return rivals(self, more)

    monkeypatch.setattr(Spills, "rivals", flipped)
    copy = copy_of(data_dir)
    found = started(data_dir)
    assert not isinstance(found.live, Catalogue)
    assert found.live == reconcile(copy).live


@pytest.mark.parametrize("after", [0, 2])
def test_without_room_for_it_all_is_read_into_memory(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    scratch_file, calls = durable.scratch_file, [0]

    def full(path: str) -> int:
        calls[0] += 1
        if calls[0] > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return scratch_file(path)

    monkeypatch.setattr(durable, "scratch_file", full)
    copy = copy_of(data_dir)
    found = started(data_dir)
    assert not isinstance(found.live, Catalogue)
    assert found.live == reconcile(copy).live


def test_a_table_in_many_parts_has_every_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_entries, "_PART_PAGES", 3)
    monkeypatch.setattr(table_entries, "_HELD_BYTES", 200)
    spilled: list[int] = []
    spill = table_entries.TableEntries._spill

    def noted(self: table_entries.TableEntries, part: int) -> None:
        spilled.append(part)
        spill(self, part)

    monkeypatch.setattr(table_entries.TableEntries, "_spill", noted)
    items = some(2000)
    path = str(tmp_path / "run")
    answers(Run(path, run_writer.write_run(path, items, len(items), SALT)), items)
    assert len(set(spilled)) > 5
    assert os.listdir(tmp_path) == ["run"]
