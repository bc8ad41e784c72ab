"""A start with the index: the index is compared with the names of the folders, and only the rest is read.

The result is that of a full start (`reconcile`), since the rest is read in the same way:
- ids that the journal covers: the index forgets them, and their folders are read after the replay;
- folders with ids that the index does not have: interrupted uploads, Failures, folders put there by hand;
- ids whose folder is gone are not served.
An index that lacks a blob only costs time. One with a blob too many would be wrong. So the index is used only
if it is of this directory, nobody else has held the lock since, and the journal has all later writes.

Of rows in which no name was added or removed (`index/row_stamps.py`) the names are compared in the background
(`serving/names_comparison.py`). So are the states and sizes of all blobs of the index, which the start does
not read (`serving/comparison.py`). No byte is sent without its checksum anyway.
"""

from __future__ import annotations

import logging
import os

from common.errors import SyncFailed
from services.engine import OnProgress
from services.engines.local.disk import directory
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.locks import FileLock
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.format import IndexDamaged
from services.engines.local.index.manifest import IndexFiles, Manifest, Stamp
from services.engines.local.index.row_stamps import RowStamp, row_stamps, unchanged
from services.engines.local.index.stretches import NetsOfChanges
from services.engines.local.index.writer import IndexWriter
from services.engines.local.journal import format as journal
from services.engines.local.journal.replay import Replayed, replay
from services.engines.local.recovery.full_start import read_all
from services.engines.local.recovery.reconcile import Reconciliation, reconcile
from services.engines.local.recovery.reconciled import Reconciled

log = logging.getLogger(__name__)


def recover(
    data_dir: Layout,
    lock: FileLock,
    progress: OnProgress | None = None,
    *,
    keeps_index: bool,
    reads_all: bool = False,
) -> tuple[Reconciled, IndexWriter | None]:
    """For every holder of `lock`: `restart` where the server keeps an index, else `without_index`.

    So whoever recovers a directory, the next start has an index, and memory does not grow with the blobs.
    """
    if data_dir.read_only:
        return reconcile(data_dir, progress=progress), None
    if keeps_index:
        return restart(data_dir, lock, progress, reads_all=reads_all)
    return without_index(data_dir, progress), None


def restart(
    data_dir: Layout, lock: FileLock, progress: OnProgress | None = None, *, reads_all: bool = False
) -> tuple[Reconciled, IndexWriter | None]:
    """As `reconcile`, with the index, which is made if there is no valid one. Returns its writer, too.

    The result's `live` is a Catalogue, and the index on disk agrees with it. If the index could not be
    written there is no writer, and `live` is in memory. `lock`: held. `reads_all`: whatever the index knows,
    every folder is read, and the index is made anew. Raises as `reconcile` does.
    """
    files = IndexFiles(data_dir)
    lock.make_durable()  # a manifest may not survive a power cut that the stamp in it does not
    replayed = Replayed(0, 0)
    manifest = files.load()
    why = "all was asked for" if reads_all else why_not(data_dir, manifest, stamp_of(data_dir, lock.found))
    if manifest is not None and not why:
        replayed = replay(data_dir)
        try:
            if not replayed.is_whole:
                raise IndexDamaged("a part of the journal was lost")
            return _with_index(data_dir, files, manifest, replayed, lock)
        except IndexDamaged as err:
            why = str(err)
    log.info("no index to start with (%s): every folder is read", why)
    files.forget()
    stamps = row_stamps(data_dir, directory.row_numbers(data_dir))
    writer = writer_of(data_dir, files, None, lock)
    found = read_all(data_dir, files, writer, progress)
    found.max_seq = max(found.max_seq, replayed.max_seq)
    if not isinstance(found.live, Catalogue):
        return found, None
    _sealed(data_dir, writer, found.live, found.max_seq, stamps if found.is_settled else {})
    return found, writer


def without_index(data_dir: Layout, progress: OnProgress | None = None) -> Reconciled:
    """For a start without an index: remove an existing one, which would become stale."""
    IndexFiles(data_dir).forget()
    return reconcile(data_dir, progress=progress)


def stamp_of(data_dir: Layout, lock_file: os.stat_result | None) -> Stamp:
    """The stamp of this directory, with the lock file as in `lock_file`."""
    if lock_file is None:
        return Stamp(0, 0, 0)
    return Stamp(os.stat(data_dir.root).st_ino, lock_file.st_ino, lock_file.st_ctime_ns)


def writer_of(data_dir: Layout, files: IndexFiles, manifest: Manifest | None, lock: FileLock) -> IndexWriter:
    """The writer of the index of this directory, for the holder of `lock`."""

    def renew() -> Stamp:
        lock.say()
        lock.make_durable()
        return stamp_of(data_dir, lock.now())

    return IndexWriter(files, data_dir.id_bits, stamp_of(data_dir, lock.now()), manifest, renew)


def why_not(data_dir: Layout, manifest: Manifest | None, stamp: Stamp) -> str:
    """Why the index must not be used; empty if it may. Call it before the journal is replayed."""
    if manifest is None:
        return "there is none"
    if manifest.stamp != stamp:
        return "it is of another directory, or somebody else has held the lock since"
    found = journal.epochs(data_dir)
    if None in found:
        return "a file of the journal is missing or damaged"
    if max(one[0] for one in found if one is not None) < manifest.epoch:
        return "the journal is older than it"
    newer = sorted(one for one in found if one is not None and one[0] > manifest.epoch)
    expected = [(manifest.epoch + 1 + number, False) for number in range(len(newer))]
    return "" if newer == expected else "the journal does not have all that was written since"


def _with_index(
    data_dir: Layout, files: IndexFiles, manifest: Manifest, replayed: Replayed, lock: FileLock
) -> tuple[Reconciled, IndexWriter | None]:
    writer = writer_of(data_dir, files, manifest, lock)
    catalogue = writer.open()
    stamps = row_stamps(data_dir, catalogue.ids.row_numbers())
    same = unchanged(manifest.rows, stamps) - {blob_id >> 16 for blob_id in replayed.ids}
    run = Reconciliation(data_dir, False, catalogue)
    run.saw(manifest.max_seq)
    run.saw(replayed.max_seq)
    for blob_id in replayed.ids:
        if (blob := catalogue.by_id(blob_id)) is not None:
            catalogue.show(blob.location, None)
    unknown: list[int] = []
    rows = set(catalogue.ids.row_numbers()) - same
    for row, ids, foreign in directory.rows_in(data_dir, same):
        run.result.foreign += foreign
        if ids:
            rows.discard(row)
            unknown += _compare(catalogue, row, ids)
    for row in rows:
        _compare(catalogue, row, [])
    run.result.seen = len(catalogue)
    run.look_at_all(unknown)
    found = run.end()
    found.by_index, found.unlisted = True, sorted(same)
    log.info("started with the index: %d folders were read, of %d", len(unknown), run.result.seen)
    _sealed(data_dir, writer, catalogue, found.max_seq, stamps if found.is_settled else {})
    files.sweep({info.name for info in writer.manifest.runs})
    return found, writer


def _compare(catalogue: Catalogue, row: int, ids: list[int]) -> list[int]:
    """Those of the folders `ids`, all of a row, that the index lacks; it forgets ids without a folder."""
    unknown, gone = catalogue.ids.differences(row, ids)
    for blob_id in gone:
        if (blob := catalogue.by_id(blob_id)) is not None:
            log.warning("blob %d of %r: its folder is gone: not served", blob_id, blob.location)
            catalogue.show(blob.location, None)
    return unknown


def _sealed(
    data_dir: Layout, writer: IndexWriter, catalogue: Catalogue, max_seq: int, rows: dict[int, RowStamp]
) -> None:
    """Make the index on disk agree with the catalogue, with the stamp of this start."""
    changes = catalogue.freeze()
    nets = NetsOfChanges(changes.nets.items())
    what = (changes.items(), len(changes), nets, catalogue.ids.rows(), catalogue.bytes)
    try:
        run = writer.seal(*what, _epoch(data_dir), max_seq, rows)
    except SyncFailed:
        raise
    except (OSError, OverflowError, IndexDamaged) as err:
        log.warning("the index could not be written, the next start may read every folder: %s", err)
    else:
        catalogue.thaw(run)


def _epoch(data_dir: Layout) -> int:
    """The newest epoch of the journal, which is clean."""
    return max((found[0] for found in journal.epochs(data_dir) if found is not None), default=0)
