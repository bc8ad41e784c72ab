"""Reads that need not wait for the disk: from memory, or from the page cache. A part of a store, on its loop.

All bytes are verified: small bodies (`HotCache`) and chunks of larger ones (`SealedChunks`) before they are
kept, all others when they are read. A kept blob is used only while the index shows it, and dropped after that
to free the memory.
"""

from __future__ import annotations

from concurrent.futures import Executor

from common.checksum import CHUNK_BYTES
from common.chunk_buffers import ChunkBuffers
from common.errors import BlobkeepError
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.read_nowait import open_nowait
from services.engines.local.index.run import NotCached
from services.engines.local.serving.cache import HotCache, share_of
from services.engines.local.serving.expiry import Expiry
from services.engines.local.serving.index import Index, is_same
from services.engines.local.serving.limits import PrefixLimits
from services.engines.local.serving.reading import LocalReading, Reports, SealedReading
from services.engines.local.serving.sealed_chunks import SealedChunks
from services.store import Reading


class HotReads:
    """`hot_bytes`: the option. `reports`: receives what a reading finds."""

    def __init__(
        self,
        data_dir: Layout,
        index: Index,
        expiry: Expiry,
        limits: PrefixLimits,
        hot_bytes: int,
        threads: Executor,
        reports: Reports,
    ) -> None:
        self._data_dir = data_dir
        self._index = index
        self._expiry = expiry
        self._limits = limits
        self._notes_reads = bool(limits.max_bytes)
        self._threads = threads
        self._reports = reports
        self._buffers = ChunkBuffers()
        small_bytes = share_of(hot_bytes)
        self.bodies = HotCache(data_dir, small_bytes, expiry.at_s)
        self.chunks = SealedChunks(hot_bytes - small_bytes, self._shows)
        index.on_change = self._changed

    def peek(self, location: str, *, body: bool = True) -> tuple[Blob, bytes | memoryview] | None:
        """See store.Store."""
        blob = self._index.recent.get(location) or self._index.peek(location)
        if blob is None or (not body and self._expiry.is_over(blob)):
            return None
        data = self.bodies.bytes_of(blob) if body else b""
        if body and self._notes_reads:
            self._limits.read(blob)
        return None if data is None else (blob, data)

    def open_nowait(self, location: str) -> Reading | None:
        """See store.Store. It cannot meet another blob: the index does not change meanwhile."""
        blob = self._index.peek(location)
        if blob is None:
            return None
        sealed = self.chunks.find(blob, 0) if 0 < blob.size <= CHUNK_BYTES else None
        fd = -1 if sealed is not None else open_nowait(self._data_dir.data(blob.id))
        if sealed is None and fd < 0:
            return None
        if self._notes_reads:
            self._limits.read(blob)
        return self.reading(blob, fd, self._reports) if sealed is None else SealedReading(blob, sealed)

    def reading(self, blob: Blob, fd: int, reports: Reports) -> LocalReading:
        """A reading of `blob`, whose data.raw is open; the reading owns the descriptor from now on."""
        return LocalReading(blob, fd, self._threads, self._buffers, reports, self.chunks)

    def _shows(self, blob: Blob) -> bool:
        try:
            return is_same(self._index.get_nowait(blob.location), blob)
        except (NotCached, BlobkeepError):
            return False

    def _changed(self, location: str) -> None:
        # Most writes are of what nobody reads.
        if location in self.bodies.kept:
            self.bodies.drop(location)
        if location in self.chunks.kept:
            self.chunks.drop(location)
