"""A round over the ids of all folders, each once, with no more than one row of 65,536 ids in memory."""

from __future__ import annotations

import contextlib
import random

from services.engines.local.disk import directory
from services.engines.local.disk.layout import Layout


class FolderRound:
    """Ids in the order of the directory; `shuffled`: rows in any order, and the ids of each row, too.

    The names of a row are read when its turn comes. `next_id` raises OSError if they cannot be read; called
    again, it goes on with the next row.
    """

    def __init__(self, data_dir: Layout, *, shuffled: bool = False) -> None:
        self._data_dir = data_dir
        self._shuffled = shuffled
        self.done = 0  # ids so far
        self.missed = False  # whether the names of a row could not be read
        self._rows: list[int] = []  # whose turn has not come
        self._ids: list[int] = []
        if data_dir.id_bits == 16:
            self._begin_row(directory.ids_in(data_dir))
        else:
            self._rows = directory.row_numbers(data_dir)
            if shuffled:
                random.shuffle(self._rows)

    @property
    def is_over(self) -> bool:
        """True if nothing is left for sure."""
        return not (self._ids or self._rows)

    def next_id(self) -> int | None:
        """The next id; None if the round is over."""
        while not self._ids and self._rows:
            row = self._rows.pop()
            try:
                self._begin_row(directory.names_of_row(self._data_dir, row)[0])
            except OSError:
                self.missed = True
                raise
        if not self._ids:
            return None
        self.done += 1
        return self._ids.pop()

    def _begin_row(self, ids: list[int]) -> None:
        self._ids = ids
        if self._shuffled:
            random.shuffle(ids)


def count_folders(data_dir: Layout) -> int:
    """How many ids have a folder, but for rows that cannot be read. Reads all names, a row at a time."""
    if data_dir.id_bits == 16:
        return len(directory.ids_in(data_dir))
    count = 0
    for row in directory.row_numbers(data_dir):
        with contextlib.suppress(OSError):
            count += len(directory.names_of_row(data_dir, row)[0])
    return count
