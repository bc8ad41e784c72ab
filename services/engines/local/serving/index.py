"""The maps of the server: blobs by location, in order, and by id; and which locations are damaged.

In memory only, rebuilt from disk at every start. Used from the event loop alone (the committer's thread
merely asks whether an id is in use, as a hint).
"""

from __future__ import annotations

import msgspec
from sortedcontainers import SortedDict

from common.errors import Damaged as DamagedError
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.blob_folder import Note
from services.store import Page

# Locations that begin with NUL are records of front ends, and sort before all others.
_AFTER_RECORDS = "\x01"

DAMAGED_TEXT = "This blob is damaged on disk and is not served: write it anew, or delete it."


class Damaged(msgspec.Struct, frozen=True):
    """A damaged blob of a known location. `name`: its folder in quarantine, None while on its way."""

    blob_id: int
    seq: int
    reason: str
    name: str | None
    note: Note | None


class Index:
    """See the module docstring."""

    def __init__(self, live: dict[str, Blob], damaged: dict[str, Damaged]) -> None:
        # Sorted by code point, so that a page of a listing costs what the page holds. To make all three from
        # a plain dict costs 0.5 µs a blob; from the sorted one, which looks up each, three times that.
        self.by_location: SortedDict[str, Blob] = SortedDict(live)
        self.by_id: dict[int, Blob] = {blob.id: blob for blob in live.values()}
        self.damaged = damaged
        self.bytes = sum([blob.size for blob in live.values()])

    def find(self, location: str) -> Blob | None:
        """The blob that is served there. Raises Damaged."""
        blob: Blob | None = self.by_location.get(location)
        if blob is None and location in self.damaged:
            raise DamagedError(DAMAGED_TEXT)
        return blob

    def show(self, location: str, blob: Blob | None) -> None:
        """From now on `location` has `blob` (None: nothing), and is not damaged."""
        old: Blob | None = self.by_location.get(location)
        if old is not None:
            del self.by_id[old.id]
            self.bytes -= old.size
        if blob is not None:
            self.by_location[location] = blob
            self.by_id[blob.id] = blob
            self.bytes += blob.size
        elif old is not None:
            del self.by_location[location]
        self.damaged.pop(location, None)

    def page(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """See store.Store. Walks the sorted keys; each folder that is folded costs one more search."""
        locations = self.by_location
        blobs: list[Blob] = []
        prefixes: list[str] = []
        first = prefix or _AFTER_RECORDS
        start, from_start = (first, True) if first > after else (after, False)
        if delimiter and len(after) > len(prefix) and after.startswith(prefix) and after.endswith(delimiter):
            start, from_start = _past(after), True  # `after` was a common prefix: skip all of it
        last = ""
        while True:
            for key in locations.irange(start, inclusive=(from_start, True)):
                if not key.startswith(prefix):
                    return Page(blobs, prefixes, None)
                if len(blobs) + len(prefixes) == limit:
                    return Page(blobs, prefixes, last)
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                if cut >= 0:
                    last = key[: cut + 1]
                    prefixes.append(last)
                    start, from_start = _past(last), True
                    break
                last = key
                blobs.append(locations[key])
            else:
                return Page(blobs, prefixes, None)


def _past(prefix: str) -> str:
    """The least string that is greater than every string that starts with `prefix`, which ends in "/"."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
