"""Choosing the id of a new blob: at random, taken by an exclusive mkdir (design rule 3)."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Iterable, Sized
from typing import Protocol

from common import durable
from common.errors import NoIdLeft
from services.engines.local.disk import blob_folder
from services.engines.local.disk.layout import Layout, parse_id
from services.engines.local.index.id_set import IdSet

_ROW_IDS = 1 << 16
# With 32 bits, another first-level folder is used when the others are half full on average. So there are few
# folders to list, and a random id is free at the first or second try.
_ROW_FILL = _ROW_IDS // 2
_REST = 10  # the time between two listings is so many times that of the last one
_TRIES = 24  # with half of all ids taken, 24 tries in vain happen once in 16 million


class Sequence:
    """The sequence numbers of a directory: they only grow, over restarts and when the clock goes back.

    A number is the time in microseconds if that is greater than the last number. So it can be compared with
    the log times that are used as numbers for the original server's blobs.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self._lock = threading.Lock()

    def next(self) -> int:
        """The next number. Any thread may call it."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last

    @property
    def last(self) -> int:
        """The last number that was given or seen."""
        return self._last

    def saw(self, number: int) -> None:
        """Note a number in use: the next ones will be higher."""
        with self._lock:
            self._last = max(self._last, number)


class UsedIds(Sized, Protocol):
    """The ids of live blobs: a hint, to choose well; the mkdir decides."""

    def __contains__(self, blob_id: object, /) -> bool: ...


class IdAllocator:
    """Takes free ids. Any thread may call it."""

    def __init__(self, data_dir: Layout, used: UsedIds) -> None:
        self._data_dir = data_dir
        self._used = used
        self.capacity = 1 << data_dir.id_bits  # how many ids there are
        self._rows: set[int] = set()  # first-level folders that this process knows to be durable
        self._foreign_rows: set[int] = set()
        self._mutex = threading.Lock()
        self._looking = threading.Lock()
        self._seen_free: list[int] = []  # by the last listing, and not given out since
        self._no_look_before = 0.0  # time.monotonic(); 0: none was needed yet
        self._taking = threading.Lock()
        self._since: IdSet | None = None  # see `note_from_now`

    def check(self) -> None:
        """Raise NoIdLeft if every id has a live blob, or a listing a moment ago found no free one."""
        full = len(self._used) >= self.capacity
        if full or (self._no_look_before and not self._seen_free and time.monotonic() < self._no_look_before):
            raise self._none_left()

    def take(self) -> int:
        """Take an id; its empty folder is there once this returns. Raises NoIdLeft, OSError."""
        all_rows = self.capacity // _ROW_IDS
        rows = min(all_rows, 1 + len(self._used) // _ROW_FILL + len(self._foreign_rows))
        for _ in range(_TRIES):
            blob_id = int(random.random() * (rows * _ROW_IDS))  # `randrange` costs four times as much
            if blob_id not in self._used and self._has_row(blob_id) and self._take(blob_id):
                return blob_id
        with self._looking:
            return self._take_by_looking(random.randrange(rows), all_rows)

    def _take_by_looking(self, first_row: int, all_rows: int) -> int:
        """Nearly all ids are taken: list the free ones instead of guessing, row by row.

        To list 65,536 names takes 40 ms, for which other writes wait. So all free ids of one listing are used
        before the next, and listings take at most a tenth of the time.
        """
        if (taken := self._take_seen()) is not None:
            return taken
        if time.monotonic() < self._no_look_before:
            raise self._none_left()
        for row in range(first_row, first_row + all_rows):
            base = row % all_rows * _ROW_IDS
            if not self._has_row(base):
                continue
            began = time.monotonic()
            names = {parse_id(name) for name in os.listdir(self._data_dir.parent(base))}
            self._seen_free = [base + number for number in reversed(range(_ROW_IDS)) if number not in names]
            random.shuffle(self._seen_free)
            now = time.monotonic()
            self._no_look_before = now + _REST * (now - began)
            if (taken := self._take_seen()) is not None:
                return taken
        raise self._none_left()

    def _take_seen(self) -> int | None:
        while self._seen_free:
            blob_id = self._seen_free.pop()
            # An id that is still in use was just given up: the index is about to hear of it.
            if blob_id not in self._used and self._take(blob_id):
                return blob_id
        return None

    def _take(self, blob_id: int) -> bool:
        if self._since is None:
            return blob_folder.take(self._data_dir, blob_id)
        with self._taking:  # so that `taken_before` knows of every folder that a listing may have met
            took = blob_folder.take(self._data_dir, blob_id)
            if took:
                self._since.add(blob_id)
            return took

    def note_from_now(self, notes: bool) -> None:
        """Whether to note which ids are taken, for `taken_before`. One bit each."""
        self._since = IdSet() if notes else None

    def taken_before(self, ids: Iterable[int]) -> list[int]:
        """Those that were not taken since `note_from_now`. `ids`: of folders that were just listed."""
        with self._taking:
            return [blob_id for blob_id in ids if self._since is None or blob_id not in self._since]

    def _has_row(self, blob_id: int) -> bool:
        """Make sure that the first-level folder of an id of 32 bits is there, and durable in DIR.

        False if it is no folder: recovery would not follow a symlink, so blobs in there would be lost.
        """
        row = blob_id // _ROW_IDS
        if self._data_dir.id_bits == 16 or row in self._rows:
            return True
        with self._mutex:  # who comes second must not go on before it is durable
            if row not in self._rows and row not in self._foreign_rows:
                path = self._data_dir.parent(blob_id)
                with contextlib.suppress(FileExistsError):
                    durable.make_folder(path)
                if blob_folder.is_folder(path):
                    durable.sync_folder(self._data_dir.root)  # also for one that a process left when it died
                    self._rows.add(row)
                else:
                    self._foreign_rows.add(row)
            return row in self._rows

    def _none_left(self) -> NoIdLeft:
        # Folders without a live blob are garbage: the gc frees their ids within seconds.
        reclaiming = len(self._used) < self.capacity
        return NoIdLeft(
            "All ids are taken: deleted blobs free theirs in a few seconds; for more than 65,536 blobs, "
            "stop the server and run `blobkeep widen`.",
            reclaiming=reclaiming,
        )
