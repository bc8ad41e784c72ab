"""A start that reads every folder and makes the index, in memory that does not grow with the blobs.

Names are read some rows at a time, and what was read of their blobs is written away, in order. Blobs that
compete for one location are settled where both are at hand, else when all are put in order. The result is
that of `reconcile`.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator

from common.errors import SyncFailed
from services.engine import OnProgress
from services.engines.local.disk import directory
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import rank
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.format import IndexDamaged
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.manifest import IndexFiles
from services.engines.local.index.spills import Spills
from services.engines.local.index.writer import IndexWriter
from services.engines.local.journal.replay import replay
from services.engines.local.recovery.reconcile import Reconciliation, reconcile
from services.engines.local.recovery.reconciled import Reconciled

log = logging.getLogger(__name__)

# Blobs that are in memory at a time, and folders that are read at a time: twice as many at the most.
HELD_BLOBS = 1 << 16


class _NoIndexError(Exception):
    """No index can be made, for this reason."""


def read_all(
    data_dir: Layout, files: IndexFiles, writer: IndexWriter, progress: OnProgress | None
) -> Reconciled:
    """As `reconcile`. Its `live` is a Catalogue of the writer's first run; in memory, if there can be none.

    Raises as `reconcile` does.
    """
    live: dict[str, Blob] = {}
    run = Reconciliation(data_dir, False, live)
    run.saw(replay(data_dir).max_seq)
    has_all = False  # `live`, of what was read
    with Spills(lambda: _free_path(files)) as spills:
        try:
            _look_at_all(data_dir, run, live, spills, progress)
            has_all = not spills.count
            run.result.live = _in_a_run(files, writer, run, live, spills)
            has_all = False
            return run.end()
        except (_NoIndexError, IndexDamaged) as err:
            log.warning("no index can be kept: %s", err)
            files.forget()
    if has_all:
        return run.end()
    return reconcile(data_dir, progress=progress)  # what was written away cannot be relied on


def _look_at_all(
    data_dir: Layout, run: Reconciliation, live: dict[str, Blob], spills: Spills, progress: OnProgress | None
) -> None:
    about = directory.links_of_rows(data_dir)

    def tell(done: int, _: int) -> None:
        if progress is not None:
            progress(done, max(done, about))

    for ids in _some_rows(data_dir, run.result.foreign):
        run.look_at_all(ids, tell)
        if len(live) >= HELD_BLOBS:
            try:
                spills.add(live.values())
            except OSError as err:
                raise _NoIndexError(str(err)) from err
            live.clear()


def _some_rows(data_dir: Layout, foreign: list[str]) -> Iterator[list[int]]:
    """The ids of all folders, some rows at a time; `foreign` gets the names that are not ours."""
    ids: list[int] = []
    for _, of_row, strange in directory.rows_in(data_dir):
        ids += of_row
        foreign += strange
        if len(ids) >= HELD_BLOBS:
            yield ids
            ids = []
    yield ids


def _in_a_run(
    files: IndexFiles, writer: IndexWriter, run: Reconciliation, live: dict[str, Blob], spills: Spills
) -> Catalogue:
    ids, size_bytes = IdSet(), 0

    def served() -> Iterator[tuple[str, Blob]]:
        nonlocal size_bytes
        last = list(live.values())
        for rivals in spills.rivals(last):
            newest = max(rivals, key=rank)
            for rival in rivals:
                if rival is not newest:
                    run.settle_rivals(newest, rival)
            ids.add(newest.id)
            size_bytes += newest.size
            yield newest.location, newest

    try:
        _make_home(files)
        files.sweep(set())
        written = writer.begin(served(), spills.count + len(live))
    except SyncFailed:
        raise
    except (OSError, OverflowError) as err:
        raise _NoIndexError(str(err)) from err
    return Catalogue([] if written is None else [written], writer.manifest.salt, ids, size_bytes)


def _free_path(files: IndexFiles) -> str:
    _make_home(files)
    return files.path(f"{os.urandom(8).hex()}.tmp")


def _make_home(files: IndexFiles) -> None:
    if not files.make_home():
        raise NotADirectoryError(errno.ENOTDIR, "something else stands in its place")
