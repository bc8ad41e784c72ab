"""Removes files under temporary names that a dead process left in the folders of live blobs.

Such files are harmless, so the start does not wait for this: to look into a folder costs 10 µs. Call it with
the state lock held, while nothing is being prepared in those folders.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from common import durable
from services.engines.local.disk import layout
from services.engines.local.disk.layout import Layout

# The note is from an interrupted quarantine: the next read of the blob finds the damage again.
_LEFTOVERS = frozenset(
    {layout.STATE_TEMP_NAME, layout.DATA_TEMP_NAME, layout.NOTE_NAME, layout.NOTE_NAME + ".tmp"}
)


def remove_leftovers(data_dir: Layout, blob_ids: Iterable[int]) -> int:
    """Remove leftovers from the folders of these live blobs; returns how many. Raises OSError."""
    removed = 0
    for blob_id in blob_ids:
        folder = data_dir.folder(blob_id)
        with contextlib.suppress(FileNotFoundError):  # collected meanwhile
            for name in _LEFTOVERS.intersection(os.listdir(folder)):
                durable.remove_file(f"{folder}/{name}")
                removed += 1
    return removed
