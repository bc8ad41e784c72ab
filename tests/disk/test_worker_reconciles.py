"""The recovery worker reconciles a directory itself where no server does: as a start, in as little memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from common import checksum
from common.config import Config
from common.states import MSG_CREATED
from services.engines.local import engine
from services.engines.local.disk import directory, quarantine, record
from services.engines.local.disk.blob import served
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.locks import StateLock
from services.engines.local.index import run, run_writer, spills, table_entries
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.journal.writer import open_journal
from services.engines.local.recovery import full_start
from services.engines.local.recovery.reconcile import reconcile
from services.engines.local.recovery.reconciled import Reconciled
from services.engines.local.recovery.restart import restart
from services.engines.local.upkeep import snapshot
from services.engines.local.upkeep.check import check
from services.engines.local.upkeep.verifier import Verifier
from tests.disk import test_full_start
from tests.disk.test_full_start import outcome_of
from tests.disk.test_reconcile import put
from tests.disk.test_scan_pool import copy_of, outcome

full_directory = test_full_start.data_dir

OF_EACH_ROW = 1000


@pytest.fixture
def data_dir(full_directory: Layout) -> Layout:
    """One that a server has had before."""
    with StateLock(full_directory.root, "server") as lock:
        lock.acquire(0.0)
        journal = open_journal(full_directory, "journal")
        assert journal is not None
        journal.close(clean=True)
    return full_directory


def by_the_worker(where: Layout) -> Reconciled:
    found = Verifier(where, 5.0, 1e9, keeps_index=True).reconcile_if_free()
    assert found is not None
    return found


def by_a_check(where: Layout) -> Reconciled:
    found = check(where, dry_run=False, keeps_index=True).reconciled
    assert found is not None
    return found


def by_an_export(where: Layout) -> Reconciled:
    with snapshot.take(where, keeps_index=True) as taken:
        return Reconciled(live={held.location: served(taken.record_of(held)) for held in taken.blobs})


BOTH = pytest.mark.parametrize("recover", [by_the_worker, by_a_check])


@BOTH
def test_it_finds_and_does_what_reconcile_does(
    data_dir: Layout, recover: Callable[[Layout], Reconciled]
) -> None:
    copy = copy_of(data_dir)
    expected = outcome(copy, reconcile(copy))
    found = recover(data_dir)
    assert isinstance(found.live, Catalogue)
    assert outcome_of(data_dir, found) == expected


@pytest.mark.parametrize("recover", [by_the_worker, by_a_check, by_an_export])
def test_a_server_starts_with_the_index_that_it_made(
    data_dir: Layout, recover: Callable[[Layout], Reconciled]
) -> None:
    live = dict(recover(data_dir).live.items())
    lock = StateLock(data_dir.root, "server")
    with lock:
        lock.acquire(0.0)
        found, _ = restart(data_dir, lock)
    assert found.by_index
    assert dict(found.live.items()) == live


def test_a_check_reads_what_the_index_knows(data_dir: Layout) -> None:
    """The worker takes the index's word, as a start does, and comes to each blob in its rounds."""
    blob_id = next(iter(by_the_worker(data_dir).live.values())).id
    Path(data_dir.state(blob_id)).write_bytes(b"rot")
    again = by_the_worker(data_dir)
    assert (again.by_index, again.quarantined) == (True, [])
    found = by_a_check(data_dir)
    assert (found.by_index, [one for one, _ in found.quarantined]) == (False, [blob_id])


def test_a_check_beside_a_server_says_what_was_written_since_the_damage(
    tmp_path: Path, data_dir: Layout
) -> None:
    made = directory.open_directory(str(tmp_path / "other"), 32, owner=True)
    for number, at in enumerate("abc"):
        put(made, number << 16, at)
        quarantine.move_in(made, number << 16, at, 1, "rot")
    put(made, 9, "a", seq=2)
    put(made, 10, "d")
    lock = StateLock(made.root, "server")
    with lock:
        lock.acquire(0.0)
        report = check(made, dry_run=False)
    assert (report.counted.live, report.counted.pending, report.counted.failure) == (2, 0, 0)
    assert sorted(one.note.location or "" for one in report.waiting if one.note is not None) == ["b", "c"]


def fill(where: Layout, rows: range) -> None:
    """Blobs in these rows, without syncs."""
    sums = checksum.sums_of(b"x")
    for row in rows:
        os.mkdir(f"{where.root}/{row}")
        for number in range(OF_EACH_ROW):
            blob_id = (row << 16) + number
            named = (blob_id, f"{number:03}/{row}", 1 + blob_id, MSG_CREATED, 1, "text/plain", "")
            os.mkdir(where.folder(blob_id))
            Path(where.data(blob_id)).write_bytes(b"x")
            Path(where.state(blob_id)).write_bytes(record.dump(record.whole(*named, 1, *sums)))


@BOTH
def test_its_memory_does_not_grow_with_the_blobs(
    base: Path, monkeypatch: pytest.MonkeyPatch, recover: Callable[[Layout], Reconciled]
) -> None:
    limits = (
        *(
            (full_start, "HELD_BLOBS", OF_EACH_ROW),
            (spills, "_PART_BLOBS", 4),
            (spills, "_WRITE_BYTES", 1000),
        ),
        *((run_writer, "_WRITE_BYTES", 1000), (run, "_KEPT_TABLE_PAGES", 0), (run, "_KEPT_ROWS", 1)),
        *((table_entries, "_PART_PAGES", 1), (table_entries, "_HELD_BYTES", 1000)),
    )
    for module, name, limit in limits:  # of what does not grow, in proportion to so few blobs
        monkeypatch.setattr(module, name, limit)
    where = directory.open_directory(str(base / "many"), 32, owner=True)
    peaks: list[int] = []
    fill(where, range(1, 3))
    recover(where)  # loads what it uses
    for rows in (range(0), range(3, 6)):
        fill(where, rows)
        (Path(where.root) / ".index" / "manifest").unlink()
        tracemalloc.start()
        try:
            found = recover(where)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(found.live) == found.seen == OF_EACH_ROW * (2 + len(rows))
        del found
    grown = (peaks[1] - peaks[0]) / (OF_EACH_ROW * 3)
    # A bit for each id of a row, five times where the manifest is written: 41 bytes with so few in a row.
    assert grown < 100, f"{grown:.0f} bytes a blob: in maps they are 270"


def test_the_option_tells_them_to_keep_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_PATIENCE_S", 0.0)
    config = Config(dir=str(tmp_path / "data"), index=True)
    put(directory.open_directory(config.dir, 16, owner=True), 7, "a")
    manifest = tmp_path / "data" / ".index" / "manifest"
    worker = engine.LocalEngine(config).verifier()
    worker.run_once()
    assert manifest.exists()
    manifest.unlink()
    assert engine.LocalEngine(config).check(dry_run=True) == 0
    assert not manifest.exists()
    assert engine.LocalEngine(config).check(dry_run=False) == 0
    assert manifest.exists()
