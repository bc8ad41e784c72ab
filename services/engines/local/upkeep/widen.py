"""`widen`: a directory of 16-bit ids becomes one of 32 bits, in place: `DIR/<id>` moves to `DIR/0/<id>`.

It only renames, so no byte is copied (but by overlayfs, of a lower layer), and 65,536 blobs take seconds. If
it is killed, or the power fails, it can be run again; until it is done no server starts on the directory.
The steps, each durable before the next:

    the journal replayed, the index removed > DIR/.widening made > the format says "being widened"
    > every id folder renamed into DIR/.widening > that renamed to DIR/0 > the format says 32 bits
"""

from __future__ import annotations

import os
from collections.abc import Callable

from common import durable
from common.errors import ConfigError, LockHeld
from services.engines.local.disk import blob_folder, directory, layout, locks
from services.engines.local.disk.directory import FORMAT, WIDENING, Format
from services.engines.local.disk.layout import Layout
from services.engines.local.journal.replay import replay

_FIRST_ROW = "0"  # ids below 65,536 are in it: see Layout


def widen(root: str, wait_s: float, progress: Callable[[int, int], None]) -> int:
    """Widen the directory, or finish what an earlier run began; returns how many blobs moved now.

    Raises ConfigError if it is no data directory, or has 32 bits; LockHeld if a process uses it; OSError,
    SyncFailed.
    """
    root = os.path.abspath(root)
    if not directory.is_blobkeep(root):
        raise ConfigError(f"{root} is no Blobkeep directory: give the one that the server uses, --dir.")
    with locks.StateLock(root, "widen") as lock:
        lock.acquire(wait_s)
        before = directory.read_format(root) or Format(FORMAT, 16)
        if before.format not in (FORMAT, WIDENING):
            raise ConfigError(f"{root} is of format {before.format}: use a newer program.")
        if before.format == FORMAT and before.id_bits == 32:
            raise ConfigError(f"{root} has ids of 32 bits already: set id_bits = 32.")
        data_dir = Layout(root, 16)
        with _lock(data_dir, layout.GC_LOCK_NAME), _lock(data_dir, layout.GC_HOLD_NAME):
            return _widen(data_dir, before, progress)


def _lock(data_dir: Layout, name: str) -> locks.FileLock:
    """Keep the gc and exports away: they must not see half a move."""
    lock = locks.FileLock(data_dir.ours(name), "widen")
    if not lock.try_acquire():
        raise LockHeld(f"{data_dir.root} is in use by process {lock.holder()}: stop that one first.")
    return lock


def _widen(data_dir: Layout, before: Format, progress: Callable[[int, int], None]) -> int:
    root, staging = data_dir.root, data_dir.ours(layout.WIDENING_NAME)
    row = f"{root}/{_FIRST_ROW}"
    if before.format == FORMAT:
        for path in (row, staging):
            if os.path.lexists(path) and not blob_folder.is_folder(path):
                raise ConfigError(f"{path} is no folder, and in the way: move it elsewhere.")
        replay(data_dir)
        durable.remove_tree(data_dir.ours(layout.INDEX_NAME), under=root)  # a cache: the next start makes it
        durable.make_folder_durably(staging)
        directory.write_format(root, Format(WIDENING, 16, journal=before.journal))
    moved = 0
    if blob_folder.is_folder(staging):  # else it has its name already
        ids = directory.ids_in(data_dir)
        for blob_id in ids:
            progress(moved, len(ids))
            durable.move_folder(data_dir.folder(blob_id), f"{staging}/{blob_id}")
            moved += 1
        durable.sync_folder(staging)
        durable.sync_folder(root)
        durable.rename(staging, row)
        durable.sync_folder(root)
    directory.write_format(root, Format(FORMAT, 32, journal=before.journal))
    return moved
