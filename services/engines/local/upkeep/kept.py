"""The kept blobs: which blobs in Failure the gc keeps, until when, and which it removes early for room.

Only in memory: a gc that starts learns them by reading every state file in its first round.
"""

from __future__ import annotations

import contextlib
import itertools
import os

from common import durable
from common.ours import read_ours
from services.engines.local.disk import layout, room
from services.engines.local.disk.layout import Layout
from services.engines.local.index.id_set import IdSet
from services.engines.local.upkeep.by_time import ByTime

# Kept blobs are removed early, the oldest first, until so much is free: enough for what is written until the
# next pass, so that no upload is refused because of kept blobs.
IDS = 1 << 16  # how many there are, of 16 bits
IDS_SHARE = 8
ROOM_SHARE = 32
# What a kept blob takes beside its data: a folder and two states.
_BLOB_BYTES = 12 << 10
_BLOB_INODES = 4


class Kept:
    """The kept blobs, in 20 bytes each. `min_free_bytes`: what uploads must leave free."""

    def __init__(self, data_dir: Layout, min_free_bytes: int) -> None:
        self._data_dir = data_dir
        self._min_free_bytes = min_free_bytes
        self._ids = IdSet()
        self._queue = ByTime()  # until when; what `_ids` does not confirm is past
        self.bytes = 0  # of those in the queue

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, blob_id: int) -> bool:
        return blob_id in self._ids

    def keep(self, blob_id: int, until_ns: int, size_bytes: int) -> None:
        """Keep it until then."""
        self._ids.add(blob_id)
        if self._queue.add(until_ns, blob_id, size_bytes):
            self.bytes += size_bytes

    def forget(self, blob_id: int, until_ns: int | None = None) -> None:
        """Forget it: it was removed, or its id has another blob.

        `until_ns`: until when it was kept; if that is not known, it counts in `bytes` until then.
        """
        self._ids.discard(blob_id)
        if until_ns is not None:
            self.bytes -= self._queue.discard(until_ns, blob_id) or 0

    def due(self, now_ns: int) -> list[int]:
        """The ids whose time has come; each is returned once."""
        over = list(itertools.takewhile(lambda entry: entry[0] <= now_ns, self._queue))
        ids = []
        for until_ns, blob_id, size_bytes in over:
            self._queue.discard(until_ns, blob_id)
            self.bytes -= size_bytes
            if blob_id in self._ids:
                self._ids.discard(blob_id)
                ids.append(blob_id)
        return ids

    def given_up(self) -> set[int]:
        """The oldest ids, as many as make enough room; none if there is enough. Raises OSError."""
        given: set[int] = set()
        if not self._ids:
            return given
        ids, size_bytes, inodes = self._missing()
        for _, blob_id, freed_bytes in self._queue:
            if ids <= 0 and size_bytes <= 0 and inodes <= 0:
                break
            if blob_id in self._ids and blob_id not in given:
                given.add(blob_id)
                ids -= 1
                size_bytes -= freed_bytes + _BLOB_BYTES
                inodes -= _BLOB_INODES
        return given

    def _missing(self) -> tuple[int, int, int]:
        """How many ids, bytes and inodes to free."""
        ids = 0
        if self._data_dir.id_bits == 16:  # 32 bits do not run out; to list 65,536 names costs 10 ms
            ids = len(os.listdir(self._data_dir.root)) - (IDS - IDS // IDS_SHARE)
        found = room.look(self._data_dir.root)
        wanted_bytes = self._min_free_bytes + max(found.size_bytes // ROOM_SHARE, self._take_wanted())
        wanted_inodes = found.min_free_inodes * 2 if found.inodes else 0
        return ids, wanted_bytes - found.free_bytes, wanted_inodes - found.free_inodes

    def _take_wanted(self) -> int:
        """The bytes for which the server had no room since the last look."""
        path = self._data_dir.ours(layout.ROOM_WANTED_NAME)
        try:
            text = read_ours(path, 100)
        except OSError:  # it is not there, mostly; anything else is a hint lost
            return 0
        with contextlib.suppress(OSError):
            durable.remove_file(path)
        return int(text) if text.isdigit() and len(text) < 20 else 0
