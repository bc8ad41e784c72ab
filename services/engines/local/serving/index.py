"""The maps of the server: blobs by location, in order, and by id; and which locations are damaged.

In memory only, rebuilt from disk at every start. Used from the event loop alone (the committer's thread
merely asks whether an id is in use, as a hint).
"""

from __future__ import annotations

import msgspec
from sortedcontainers import SortedDict

from common.errors import Damaged as DamagedError
from common.errors import Unreadable
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.blob_folder import Note
from services.store import Page

# Locations that begin with NUL are records of front ends, and sort before all others.
_AFTER_RECORDS = "\x01"

DAMAGED_TEXT = "This blob is damaged on disk and is not served: write it anew, or delete it."

_UNPLACED_TEXT = (
    "What was last written here is only in the journal, and cannot be put in place while the data directory "
    "is read-only: mount its disk for writing."
)


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
        # See `unread`: by id, why; by location.
        self.unreadable: dict[int, str] = {}
        self.unadopted: dict[str, Blob] = {}
        self.unplaced: frozenset[str] = frozenset()  # see Reconciled

    def find(self, location: str) -> Blob | None:
        """The blob that is served there. Raises Damaged, Unreadable."""
        blob: Blob | None = self.by_location.get(location)
        if blob is None:
            if location in self.damaged:
                raise DamagedError(DAMAGED_TEXT)
            self.must_be_known(location)
        return blob

    def must_be_known(self, location: str) -> None:
        """Raise Unreadable where nobody can tell yet what `location` has."""
        if location in self.unplaced:
            raise Unreadable(_UNPLACED_TEXT)
        if (
            not (self.unreadable or self.unadopted)
            or location in self.by_location
            or location in self.damaged
        ):
            return
        if location in self.unadopted:
            raise Unreadable("The checksums of this blob are being computed: ask again in a moment.")
        if self.unreadable:
            raise Unreadable(
                f"The disk does not give the state of {len(self.unreadable)} blobs, and this may be one of "
                "them: ask again in a moment. The server's log names them."
            )

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
