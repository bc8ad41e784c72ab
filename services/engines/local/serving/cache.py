"""The cache of small blobs, and reads of small blobs that do not wait for the disk.

What is in memory was verified when it was read. It is sent only while the index shows the same blob at its
location, so a replaced or deleted blob is never sent.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from common import checksum
from common.second_reads import SecondReads
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.read_nowait import read_file_nowait
from services.engines.local.serving.index import is_same

# Blobs up to this size are kept at the first read while there is room, since many fit. See SecondReads.
_CHEAP_BYTES = 16 << 10
# Up to here a read on the event loop costs less than handing it to a thread (49 µs): 64 KiB take 12.
MAX_BYTES = 64 << 10
# When the cache is full. With one in 16, of 5,120 blobs of 64 KiB that were read in turn none was found: each
# was displaced before it was read again. With one in 64, two thirds of those for which there is room.
_ONE_IN = 64
_SHARE = 4
_ENTRY_BYTES = 200  # what an entry costs beside its body


def share_of(hot_bytes: int) -> int:
    """The part of the option `hot_bytes` that is for small bodies: a quarter."""
    return hot_bytes // _SHARE


class HotCache:
    """At most `max_bytes` of bodies, the most recently used ones.

    `expires_at_s`: the Unix time at which a blob expires. It never changes, so it is computed once for each.
    """

    def __init__(
        self,
        data_dir: Layout,
        max_bytes: int,
        expires_at_s: Callable[[Blob], float | None] = lambda blob: None,
    ) -> None:
        self._data_dir = data_dir
        self._left_bytes = max_bytes
        self._expires_at_s = expires_at_s
        self._second_reads = SecondReads(_ONE_IN)
        self.kept: OrderedDict[str, tuple[Blob, bytes, float | None]] = OrderedDict()

    def bytes_of(self, blob: Blob) -> bytes | memoryview | None:
        """All bytes of `blob`, which the index shows now; None if the caller must open it, or it has expired.

        What is not kept is no copy: the next call may write other bytes there. Wrong bytes also give None:
        whoever opens the blob then finds the damage.
        """
        kept: tuple[Blob, bytes | memoryview, float | None] | None = self.kept.get(blob.location)
        if kept is not None and (kept[0] is blob or is_same(kept[0], blob)):
            self.kept.move_to_end(blob.location)
        else:
            if kept is not None:
                self.drop(blob.location)
            kept = self._read(blob)
            if kept is None:
                return None
        _, data, over_at_s = kept
        return None if over_at_s is not None and over_at_s <= time.time() else data

    def _read(self, blob: Blob) -> tuple[Blob, bytes | memoryview, float | None] | None:
        """Read and verify `blob`, and keep its bytes from now on if it is small, or read again."""
        size = blob.size
        if size > MAX_BYTES:
            return None
        data = read_file_nowait(self._data_dir.data(blob.id), size) if size else b""
        if data is None or (size and checksum.crc(data) != blob.crc(0)):
            return None
        over_at_s = self._expires_at_s(blob)
        is_full = self._left_bytes < size + _ENTRY_BYTES
        # `packed` has the blob's number, which no other has, and need not be unpacked.
        if (size <= _CHEAP_BYTES and not is_full) or self._second_reads.lets_in(blob.packed, is_full=is_full):
            self.kept[blob.location] = made = blob, bytes(data), over_at_s
            self._left_bytes -= size + _ENTRY_BYTES
            while self._left_bytes < 0:
                self.drop(next(iter(self.kept)))
            return made
        return blob, data, over_at_s

    def drop(self, location: str) -> None:
        """Drop the blob, since the index shows another one, or room is needed."""
        kept = self.kept.pop(location, None)
        if kept is not None:
            self._left_bytes += len(kept[1]) + _ENTRY_BYTES
