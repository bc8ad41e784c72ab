"""One page of a listing: walks the sorted locations, and folds those of one folder into its prefix.

A page costs what it holds: each folder that is folded costs one search. Where the index on disk is not in the
page cache the walk stops, and goes on from there once the bytes are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from services.engines.local.disk.blob import Blob
from services.engines.local.index.run import NotCached
from services.store import Page

# Locations that begin with NUL are records of front ends, and sort before all others.
_AFTER_RECORDS = "\x01"


class Locations(Protocol):
    """Blobs by location, in order."""

    def irange(self, start: str, inclusive: tuple[bool, bool] = ...) -> Iterator[str]: ...

    def firsts(self) -> Callable[[str], str | None]: ...

    def __getitem__(self, location: str) -> Blob: ...


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
        first = prefix or _AFTER_RECORDS
        self._start, self._inclusive = (first, True) if first > after else (after, False)
        if delimiter and len(after) > len(prefix) and after.startswith(prefix) and after.endswith(delimiter):
            self._start, self._inclusive = _past(after), True  # `after` was a common prefix: skip all of it

    def take(self) -> Page:
        """The page. Raises NotCached: fetch, then call it again, to go on. Nothing may change in one call."""
        try:
            return self._walk()
        except NotCached:
            if self._prefixes and self._last == self._prefixes[-1]:
                self._start, self._inclusive = _past(self._last), True
            elif self._last:
                self._start, self._inclusive = self._last, False
            raise

    def _walk(self) -> Page:
        locations, prefix, delimiter, limit = self._locations, self._prefix, self._delimiter, self._limit
        blobs, prefixes = self._blobs, self._prefixes
        first_from = locations.firsts() if delimiter else None
        start, inclusive = self._start, self._inclusive
        while True:
            following: str | None = None
            for key in locations.irange(start, inclusive=(inclusive, True)):
                if not key.startswith(prefix):
                    return Page(blobs, prefixes, None)
                if len(blobs) + len(prefixes) == limit:
                    return Page(blobs, prefixes, self._last)
                if first_from is not None and key.find(delimiter, len(prefix)) >= 0:
                    following = self._fold(key, first_from)
                    break
                blobs.append(locations[key])
                self._last = key
            if following is None:
                return Page(blobs, prefixes, None)
            start, inclusive = following, True

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
