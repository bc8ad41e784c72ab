"""Choosing the id of a new blob: at random, taken by an exclusive mkdir (design rule 3)."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Sized
from typing import Protocol

from common import blobdir
from common.errors import NoIdLeft
from common.layout import Layout, parse_id

_ROW_IDS = 1 << 16
# With 32 bits, a further first-level folder comes into use when the others are half full on average: few
# folders to list, and a random id in them is free at the first or second try.
_ROW_FILL = _ROW_IDS // 2
_TRIES = 24  # with half of all ids taken, 24 tries in vain happen once in 16 million


class Sequence:
    """The sequence numbers of a directory: they only grow, over restarts and when the clock goes back.

    A number is the time in microseconds where that is greater than the last: so it is comparable with the
    log times that stand in for the numbers of the original server's blobs.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self._lock = threading.Lock()

    def next(self) -> int:
        """The next number. Any thread may call it."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last


class UsedIds(Sized, Protocol):
    """The ids of live blobs: a hint, to choose well; the mkdir decides."""

    def __contains__(self, blob_id: object, /) -> bool: ...


class Ids:
    """Takes free ids. Any thread may call it."""

    def __init__(self, where: Layout, used: UsedIds) -> None:
        self._where = where
        self._used = used

    @property
    def capacity(self) -> int:
        """How many ids there are."""
        return 1 << self._where.id_bits

    def check(self) -> None:
        """Raise NoIdLeft where every id has a live blob: nothing that the gc removes would help."""
        if len(self._used) >= self.capacity:
            raise self._none_left()

    def take(self) -> int:
        """Take an id; its empty folder is there once this returns. Raises NoIdLeft, OSError."""
        rows = 1 if self._where.id_bits == 16 else min(_ROW_IDS, 1 + len(self._used) // _ROW_FILL)
        for _ in range(_TRIES):
            blob_id = random.randrange(rows * _ROW_IDS)
            if blob_id not in self._used and blobdir.take(self._where, blob_id):
                return blob_id
        return self._take_by_looking(random.randrange(rows) * _ROW_IDS)

    def _take_by_looking(self, base: int) -> int:
        """Nearly all ids are taken: list which are free, rather than guess on."""
        taken = {parse_id(name) for name in os.listdir(self._where.parent(base))}
        free = [number for number in range(_ROW_IDS) if number not in taken]
        random.shuffle(free)
        for number in free:
            # An id that is still in use was just given up: the maps are about to hear of it.
            if base + number not in self._used and blobdir.take(self._where, base + number):
                return base + number
        raise self._none_left()

    def _none_left(self) -> NoIdLeft:
        # Folders without a live blob are garbage: the gc frees their ids within seconds.
        reclaiming = len(self._used) < self.capacity
        return NoIdLeft(
            "All ids are taken: deleted blobs free theirs in a few seconds; for more than 65,536 blobs, "
            "start a new directory with id_bits = 32.",
            reclaiming=reclaiming,
        )
