"""How a blob's folder goes, in steps that a crash may stand between: the gc's right alone (design rule 3)."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator

from common import durable
from services.engines.local.disk import blob_folder, layout
from services.engines.local.disk.layout import Layout


def take_out(data_dir: Layout, blob_id: int, seq: int) -> str:
    """Move the folder of a blob that is in Failure into DIR/.gone (the gc's right alone); its name there.

    It leaves DIR by one rename, so nobody meets half a blob, and its id is free at once.
    """
    gone = data_dir.ours(layout.GONE_NAME)
    name = f"{blob_id}-{seq}"
    with contextlib.suppress(FileExistsError):
        durable.make_folder(gone)
    if not blob_folder.is_folder(gone):
        raise NotADirectoryError(errno.ENOTDIR, "it is no folder", gone)
    try:
        durable.rename(data_dir.folder(blob_id), f"{gone}/{name}")
    except OSError:
        # A leftover of that very name: finish it, then try once more.
        durable.remove_tree(f"{gone}/{name}", under=data_dir.root)
        durable.rename(data_dir.folder(blob_id), f"{gone}/{name}")
    return name


def remove_gone(data_dir: Layout, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Remove folders in DIR/.gone; yields each name with the bytes freed. Raises SyncFailed, OSError.

    That they left DIR is durable first: or a power cut could bring a folder back with only some of its files.
    """
    ids = {name: name.partition("-")[0] for name in names}
    for parent in {data_dir.parent(int(number)) for number in ids.values() if number.isdecimal()}:
        with contextlib.suppress(FileNotFoundError):
            durable.sync_folder(parent)
    for name in ids:
        path = f"{data_dir.ours(layout.GONE_NAME)}/{name}"
        yield name, durable.remove_tree(path, under=data_dir.root)
