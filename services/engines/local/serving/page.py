"""One page of a listing: walks the sorted locations, and folds those of one folder into its prefix.

A page costs what it holds: each folder that is folded costs one search. Where the index on disk is not in the
page cache, or much was deleted, the walk stops, and goes on from there once the bytes are read, or others had
their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Protocol

from services.engines.local.disk.blob import Blob
from services.engines.local.index.run import NotCached
from services.rules.locations import AFTER_RECORDS
from services.store import Page


class Locations(Protocol):
    """Blobs by location, in order."""

    def spans(self, start: str, prefix: str) -> Iterator[list[Blob]]: ...

    def firsts(self, prefix: str) -> Callable[[str], str | None]: ...


class PageWalk:
    """One page, see store.Store.list: `take` gives it."""

    def __init__(self, locations: Locations, prefix: str, delimiter: str, after: str, limit: int) -> None:
        self._locations = locations
        self._prefix = prefix
        self._delimiter = delimiter
        self._limit = limit
        self._blobs: list[Blob] = []
        self._prefixes: list[str] = []
        self._last = ""  # of these: the one that was added last
        first = prefix or AFTER_RECORDS
        self._start = max(first, after + "\0")  # nothing sorts between a string and itself with a NUL
        if delimiter and len(after) > len(prefix) and after.startswith(prefix) and after.endswith(delimiter):
            self._start = _past(after)  # `after` was a common prefix: skip all of it

    def take(self) -> Page:
        """The page. Raises NotCached: fetch, then call it again, to go on. Nothing may change in one call."""
        try:
            return Page(self._blobs, self._prefixes, self._last if self._walk() else None)
        except NotCached as missing:
            if self._prefixes and self._last == self._prefixes[-1]:
                self._start = _past(self._last)
            elif self._last:
                self._start = self._last + "\0"
            self._start = max(self._start, missing.reached)
            raise

    def _walk(self) -> bool:
        """Fill the page. True if it is full and there is more."""
        if not self._delimiter:
            return self._add_blobs(self._start) is not None
        first_from = self._locations.firsts(self._prefix)
        location = first_from(self._start)
        while location is not None:
            location = self._fold(location, first_from)
            if location is not None:
                if self._left() == 0 and location.find(self._delimiter, len(self._prefix)) >= 0:
                    return True
                location = self._add_blobs(location)  # none, if it is full: then only whether there is more
                if location is not None and self._left() == 0:
                    return True
        return False

    def _add_blobs(self, start: str) -> str | None:
        """Add blobs from `start` on until the page is full, or a folder begins.

        Returns the location after them; None if it is not below the prefix.
        """
        prefix, delimiter = self._prefix, self._delimiter
        for some in self._locations.spans(start, prefix):
            is_last = not some[-1].location.startswith(prefix)
            if is_last:
                some = list(takewhile(lambda blob: blob.location.startswith(prefix), some))
            most = self._left()
            if delimiter:
                most = min(most, self._before_folder(some))
            if most:
                self._blobs += some[:most]
            if most and some:
                self._last = self._blobs[-1].location
            if most < len(some):
                return some[most].location
            if is_last:
                return None
        return None

    def _before_folder(self, some: list[Blob]) -> int:
        delimiter, skipped = self._delimiter, len(self._prefix)
        for number, blob in enumerate(some):
            if blob.location.find(delimiter, skipped) >= 0:
                return number
        return len(some)

    def _left(self) -> int:
        return self._limit - len(self._blobs) - len(self._prefixes)

    def _fold(self, location: str | None, first_from: Callable[[str], str | None]) -> str | None:
        """Add the folders from that of `location` on until the page is full, or a blob stands between them.

        Returns the location after them; None if it is not below the prefix.
        """
        prefix, delimiter, prefixes = self._prefix, self._delimiter, self._prefixes
        most = self._limit - len(self._blobs)
        while location is not None and location.startswith(prefix):
            cut = location.find(delimiter, len(prefix))
            if cut < 0 or len(prefixes) == most:
                return location
            self._last = location[: cut + 1]
            prefixes.append(self._last)
            location = first_from(_past(self._last))
        return None


def _past(prefix: str) -> str:
    """The least string that is greater than every string that starts with `prefix`, which ends in "/"."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
