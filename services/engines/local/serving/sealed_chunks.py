"""Chunks of blobs that are read often: verified once, kept in sealed memory, and sent from there uncopied.

A kept chunk was verified, and cannot change after that (`Sealed`). It belongs to one blob, and is dropped
when the index shows another one at the location, or none: after a write, a delete, damage, expiry.
"""

from __future__ import annotations

import resource
from collections import OrderedDict
from collections.abc import Callable

from common.sealed import Sealed, memory_bytes
from common.second_reads import SecondReads
from services.engines.local.disk.blob import Blob
from services.engines.local.serving.index import is_same

_MAX_FILES = 4096
# When it is full. To keep a chunk costs more than three reads of it, so it has to stay for long.
_ONE_IN = 64
_SHARE = 8  # of the descriptors that this process may have


class SealedChunks:
    """The chunks that were read last, in at most `max_bytes` of memory and `max_files` descriptors.

    On the event loop. A chunk is kept at its second read, see `SecondReads`. `is_shown`: whether a blob is
    its location's now, without waiting.
    """

    def __init__(
        self, max_bytes: int, is_shown: Callable[[Blob], bool], max_files: int | None = None
    ) -> None:
        self._is_shown = is_shown
        self._max_bytes = max_bytes
        self._max_files = _file_limit() if max_files is None else max_files
        self.bytes = 0
        self.kept: dict[str, tuple[Blob, dict[int, Sealed]]] = {}
        self._last_read: OrderedDict[tuple[str, int], None] = OrderedDict()  # longest ago first
        self._second_reads = SecondReads(_ONE_IN)

    @property
    def files(self) -> int:
        """How many descriptors it holds."""
        return len(self._last_read)

    def find(self, blob: Blob, chunk: int) -> Sealed | None:
        """Chunk number `chunk` of `blob`, if it is kept."""
        found = self.kept.get(blob.location)
        if found is None or not is_same(found[0], blob):
            return None
        sealed = found[1].get(chunk)
        if sealed is not None:
            self._last_read.move_to_end((blob.location, chunk))
        return sealed

    def offer(self, blob: Blob, chunk: int, data: memoryview) -> None:
        """Keep `data`, this chunk, which was verified, if it is read often enough."""
        if 2 * blob.size > self._max_bytes:
            return  # one blob must not take the place of all others
        over_bytes = self.bytes + memory_bytes(len(data)) - self._max_bytes
        is_full = over_bytes > 0 or self.files >= self._max_files
        if not self._second_reads.lets_in((blob.id, blob.seq, chunk), is_full=is_full):
            return
        if not self._is_shown(blob):
            return
        known = self.kept.get(blob.location)
        if known is not None and not is_same(known[0], blob):
            self.drop(blob.location)
        elif known is not None and chunk in known[1]:
            return  # another reader has offered it meanwhile
        try:
            sealed = Sealed(data)
        except OSError:  # no descriptor or memory is left: then nothing is kept
            return
        self.kept.setdefault(blob.location, (blob, {}))[1][chunk] = sealed
        self._last_read[blob.location, chunk] = None
        self.bytes += memory_bytes(sealed.size)
        while self.bytes > self._max_bytes or self.files > self._max_files:
            self._drop(*next(iter(self._last_read)))

    def drop(self, location: str) -> None:
        """The index shows something else there from now on."""
        found = self.kept.get(location)
        if found is not None:
            for chunk in list(found[1]):
                self._drop(location, chunk)

    def _drop(self, location: str, chunk: int) -> None:
        del self._last_read[location, chunk]
        chunks = self.kept[location][1]
        self.bytes -= memory_bytes(chunks.pop(chunk).size)
        if not chunks:
            del self.kept[location]


def _file_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_FILES if soft == resource.RLIM_INFINITY else min(_MAX_FILES, soft // _SHARE)
