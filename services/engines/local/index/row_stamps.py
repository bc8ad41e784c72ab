"""Shows in which first-level folders no name was added or removed since the index was written.

With 32 bits the blobs of a directory are in such rows. A row's change time changes with each name in it, and
no program can choose it. So if its inode and change time are those in the manifest, a start need not list it
before it serves; it is listed in the background (`serving/names_comparison.py`). With 16 bits there are no
rows.

A file system may give two changes that follow each other closely the same time. So a row that was changed in
the last seconds has no stamp.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable

from services.engines.local.disk.layout import Layout

RowStamp = tuple[int, int]  # inode, change time in ns

_QUIET_NS = 2_000_000_000  # the coarsest clock of a file system that is in use


def row_stamps(data_dir: Layout, rows: Iterable[int]) -> dict[int, RowStamp]:
    """The stamps of those `rows` that are folders and were quiet for a while. 2 µs each.

    Take them before what they shall vouch for: then whatever changes meanwhile shows.
    """
    if data_dir.id_bits == 16:
        return {}
    stamps: dict[int, RowStamp] = {}
    quiet_since_ns = time.time_ns() - _QUIET_NS
    for row in rows:
        try:
            found = os.stat(data_dir.parent(row << 16), follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_ctime_ns < quiet_since_ns:
            stamps[row] = (found.st_ino, found.st_ctime_ns)
    return stamps


def unchanged(then: dict[int, RowStamp], now: dict[int, RowStamp]) -> set[int]:
    """The rows that have the same stamp in both."""
    return {row for row, stamp in now.items() if then.get(row) == stamp}
