"""Removes a blob's folder, in steps: a crash between two does no harm. Only the gc may (design rule 3)."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator

from common import durable
from services.engines.local.disk import blob_folder, layout
from services.engines.local.disk.layout import Layout


def take_out(data_dir: Layout, blob_id: int, seq: int) -> str:
    """Move the folder of a blob in Failure into DIR/.gone; its name there.

    One rename moves it, so no reader can see a half-deleted blob, and its id is free. Raises OSError: EXDEV
    if the file system cannot rename the folder, such as overlayfs one of a lower layer.
    """
    gone = data_dir.ours(layout.GONE_NAME)
    name = f"{blob_id}-{seq}"
    with contextlib.suppress(FileExistsError):
        durable.make_folder(gone)
    if not blob_folder.is_folder(gone):
        raise NotADirectoryError(errno.ENOTDIR, "it is no folder", gone)
    try:
        durable.rename(data_dir.folder(blob_id), f"{gone}/{name}")
    except OSError as err:
        if err.errno == errno.EXDEV:
            raise
        # A leftover of that very name: finish it, then try once more.
        durable.remove_tree(f"{gone}/{name}", under=data_dir.root)
        durable.rename(data_dir.folder(blob_id), f"{gone}/{name}")
    return name


def remove_in_place(data_dir: Layout, blob_id: int) -> int:
    """Remove the folder of a blob in Failure in place, if it cannot be renamed; the bytes freed.

    The state is removed last, when the removal of all else is durable. So a restart or another pass finds
    Failure as long as anything is left, and no power cut leaves data without a state.
    """
    folder = data_dir.folder(blob_id)
    freed_bytes = 0
    for name in sorted(os.listdir(folder), key=layout.STATE_NAME.__eq__):
        path = f"{folder}/{name}"
        if name == layout.STATE_NAME:
            durable.sync_folder(folder)
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            freed_bytes += durable.remove_tree(path, under=data_dir.root)
        else:
            durable.remove_file(path)
            freed_bytes += found.st_blocks * 512
    durable.remove_tree(folder, under=data_dir.root)  # empty by now
    durable.sync_folder(data_dir.parent(blob_id))
    return freed_bytes


def remove_gone(data_dir: Layout, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Remove folders in DIR/.gone; yields each name with the bytes freed. Raises SyncFailed, OSError.

    Their move out of DIR is made durable first: else a power cut could bring a folder back with missing
    files.
    """
    ids = {name: name.partition("-")[0] for name in names}
    for parent in {data_dir.parent(int(number)) for number in ids.values() if number.isdecimal()}:
        with contextlib.suppress(FileNotFoundError):
            durable.sync_folder(parent)
    for name in ids:
        path = f"{data_dir.ours(layout.GONE_NAME)}/{name}"
        yield name, durable.remove_tree(path, under=data_dir.root)
