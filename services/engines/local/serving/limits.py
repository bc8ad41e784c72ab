"""Keeps prefixes within the option `max_bytes`, for caches: deletes the least recently read blobs first.

A read notes the minute in memory, as one number for each blob under such a prefix. The server goes through
the prefix all the time, at a bounded rate. If a prefix has too much, it deletes the least recently read
blobs.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Container, Iterable
from typing import Protocol

import msgspec

from common import durable
from common.errors import BlobkeepError, CorruptRecord
from common.states import MSG_EVICTED
from services.engines.local.disk import blob_folder, layout
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.serving.index import Index

log = logging.getLogger(__name__)

PAGE = 250
PAUSE_S = 0.1  # between two pages: 65,536 blobs are walked over in half a minute
MOST_AT_ONCE = 10_000  # that one walk ends
SAVE_S = 600.0  # what a killed server forgets of the reads
_MAX_FILE_BYTES = 256 << 20


class PrefixLimits:
    """`max_bytes`: (prefix, bytes). Used from the event loop alone."""

    def __init__(self, data_dir: Layout, max_bytes: Iterable[tuple[str, float]]) -> None:
        self.max_bytes = tuple(max_bytes)
        self._prefixes = tuple(prefix for prefix, _ in self.max_bytes)
        self._path = data_dir.ours(layout.READ_TIMES_NAME)
        self._read_at: dict[int, int] = self._load() if self._prefixes else {}  # by id: the minute

    def read(self, blob: Blob) -> None:
        """`blob` is being read. Costs 0.3 µs under such a prefix, 0.05 else."""
        if self._prefixes and blob.location.startswith(self._prefixes):
            self._read_at[blob.id] = _minute()

    def counts(self, location: str) -> bool:
        """Whether reads of a blob there count, so that only the server may answer them."""
        return bool(self._prefixes) and location.startswith(self._prefixes)

    def last_used(self, blob: Blob) -> int:
        """The minute in which it was last read or written. Reads of earlier blobs with its id are ignored."""
        return max(self._read_at.get(blob.id, 0), blob.modified_ns // 60_000_000_000)

    def forget_all_but(self, ids: Container[int]) -> None:
        """Forget all other blobs, which are gone."""
        self._read_at = {blob_id: at for blob_id, at in self._read_at.items() if blob_id in ids}

    def save(self) -> None:
        """Save the reads, unsynced: if they are lost, blobs only seem to be read less recently."""
        try:
            durable.replace(self._path, msgspec.msgpack.encode(self._read_at), synced=False)
        except OSError as err:
            log.warning("which blobs were read last cannot be written down: %s", err)

    def _load(self) -> dict[int, int]:
        try:
            content = blob_folder.read_file(self._path, _MAX_FILE_BYTES)
            return msgspec.msgpack.decode(content, type=dict[int, int])
        except FileNotFoundError:
            return {}
        except (OSError, CorruptRecord, msgspec.DecodeError) as err:
            log.warning("which blobs were read last is not known: %s", err)
            return {}


def _minute() -> int:
    return int(time.time()) // 60


class LimitsOwner(Protocol):
    """What is needed of the store."""

    limits: PrefixLimits
    index: Index

    @property
    def is_stopping(self) -> bool: ...

    async def end(self, blob: Blob, why: str) -> None: ...


async def keep_within_limits(store: LimitsOwner, *, pause_s: float = PAUSE_S) -> None:
    """Until it is cancelled: go through each prefix with a limit, and delete what is too much."""
    limits = store.limits
    if not limits.max_bytes:
        return
    saved_s = time.monotonic()
    try:
        while not store.is_stopping:
            for prefix, max_bytes in limits.max_bytes:
                await _walk(store, prefix, max_bytes, pause_s)
            limits.forget_all_but(store.index.blobs.ids)
            if time.monotonic() - saved_s > SAVE_S:
                limits.save()
                saved_s = time.monotonic()
    finally:
        limits.save()


async def _walk(store: LimitsOwner, prefix: str, max_bytes: float, pause_s: float) -> None:
    """Go through `prefix` once, and delete what is too much."""
    limits = store.limits
    oldest: list[tuple[int, int, Blob]] = []  # a heap, the youngest of these first
    total_bytes, after = 0, ""
    while True:
        await asyncio.sleep(pause_s)
        page = await store.index.listing(prefix, "", after, PAGE)
        for blob in page.blobs:
            assert isinstance(blob, Blob)
            total_bytes += blob.size
            entry = (-limits.last_used(blob), -blob.seq, blob)
            if len(oldest) < MOST_AT_ONCE:
                heapq.heappush(oldest, entry)
            elif entry > oldest[0]:
                heapq.heapreplace(oldest, entry)
        if page.next is None:
            break
        after = page.next
    for ended, (used, _, blob) in enumerate(sorted(oldest, reverse=True)):
        if total_bytes <= max_bytes:
            break
        if ended % PAGE == PAGE - 1:
            await asyncio.sleep(pause_s)
        if limits.last_used(blob) != -used:
            continue  # read meanwhile
        try:
            await store.end(blob, MSG_EVICTED)
        except BlobkeepError as err:  # tried again in the next walk
            log.warning("blob %d of %r is to go, and stays for now: %s", blob.id, blob.location, err)
            break
        total_bytes -= blob.size
