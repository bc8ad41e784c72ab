"""Writes one run of the index."""

from __future__ import annotations

import os
from collections.abc import Iterable

from common import durable
from services.engines.local.disk.blob import Blob
from services.engines.local.index.format import (
    BLOCK_BLOBS,
    ENTRY,
    FENCE_BLOCKS,
    PAGE_BYTES,
    PAGE_ENTRIES,
    TAIL,
    TAIL_MAGIC,
    Fence,
    Folders,
    Footer,
    RunInfo,
    checksum,
    encode,
    framed,
    id_key,
    location_key,
    pages_for,
)
from services.engines.local.index.stretches import Nets, Stretches
from services.engines.local.index.table_entries import TableEntries

_WRITE_BYTES = 1 << 20


def write_run(
    path: str, items: Iterable[tuple[str, Blob | None]], most: int, salt: bytes, nets: Nets | None = None
) -> RunInfo:
    """Write a run to `path`; its bytes are durable when this returns, its name is not.

    `items`: locations in order, each once; at most `most` of them. However many, it takes some MiB of memory.
    `nets`: see Stretches.
    Raises OSError, SyncFailed; OverflowError if more hashes fall on a page than it holds, which is very rare.
    """
    writer = _Writer(path, most, salt, nets)
    try:
        return writer.write(items)
    finally:
        writer.close()


class _Writer:
    def __init__(self, path: str, most: int, salt: bytes, nets: Nets | None) -> None:
        self._path = path
        self._salt = salt
        self._nonce = int.from_bytes(os.urandom(4), "little")
        self._pages = pages_for(most)
        self._table = TableEntries(f"{path}.tmp", self._pages)
        self._held = bytearray()
        self._at = 0
        self._fence = Fence([], [])
        self._fences: list[tuple[str, int]] = []  # of each: its first location, and its place
        self._stretches = Stretches(nets, self._end_folders)
        self._folders: list[tuple[str, int]] = []  # of each: its first mark, and its place
        self._fd = durable.rewrite_file(path)

    def write(self, items: Iterable[tuple[str, Blob | None]]) -> RunInfo:
        locations: list[str] = []
        blobs: list[Blob | None] = []
        count = 0
        for location, blob in items:
            locations.append(location)
            blobs.append(blob)
            if len(locations) == BLOCK_BLOBS:
                count += len(locations)
                self._block(locations, blobs)
                locations, blobs = [], []
        if locations:
            count += len(locations)
            self._block(locations, blobs)
        self._finish(count)
        return RunInfo(os.path.basename(self._path), count, self._at, self._nonce)

    def _block(self, locations: list[str], blobs: list[Blob | None]) -> None:
        at = self._framed(encode((locations, blobs)))
        if len(self._fence.blocks) == FENCE_BLOCKS:
            self._end_fence()
        self._fence.firsts.append(locations[0])
        self._fence.blocks.append(at)
        self._stretches.add(locations, blobs)
        for location, blob in zip(locations, blobs, strict=True):
            self._table.add(location_key(self._salt, location), at)
            if blob is not None:
                self._table.add(id_key(self._salt, blob.id), at)

    def _end_fence(self) -> None:
        self._fences.append((self._fence.firsts[0], self._framed(encode(self._fence))))
        self._fence = Fence([], [])

    def _end_folders(self, folders: Folders) -> None:
        self._folders.append((folders.marks[0], self._framed(encode(folders))))

    def _finish(self, count: int) -> None:
        if self._fence.blocks:
            self._end_fence()
        self._stretches.end()
        table_at = self._at
        for page in self._table.pages():
            if len(page) > PAGE_ENTRIES * ENTRY.size:
                raise OverflowError("a page of the index has no room for all that hash to it")
            payload = bytes(page.ljust(PAGE_BYTES - 4, b"\0"))
            self._put(checksum(payload, self._nonce, self._at).to_bytes(4, "little") + payload)
        firsts, fences = [first for first, _ in self._fences], [place for _, place in self._fences]
        marks, folders = [mark for mark, _ in self._folders], [place for _, place in self._folders]
        removes = self._stretches.removes
        footer = Footer(self._salt, count, table_at, self._pages, firsts, fences, marks, folders, removes)
        at = self._framed(encode(footer))
        rest = at.to_bytes(8, "little")
        self._put(TAIL.pack(TAIL_MAGIC, checksum(rest, self._nonce, self._at), at))
        durable.write_all(self._fd, self._held)
        durable.sync_file(self._fd)

    def _framed(self, payload: bytes) -> int:
        at = self._at
        # The checksum is of the payload where the frame begins; see Run.
        self._put(framed(payload, self._nonce, at))
        return at

    def _put(self, content: bytes) -> None:
        self._held += content
        self._at += len(content)
        if len(self._held) >= _WRITE_BYTES:
            durable.write_all(self._fd, self._held)
            self._held = bytearray()

    def close(self) -> None:
        self._table.close()
        os.close(self._fd)
