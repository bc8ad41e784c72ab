"""The table of a run while the run is written: the entries of its pages, in limited memory.

Entries come in the order of locations, and a page has those whose hashes fall on it. So entries of a large
table wait in a file without a name, in parts of neighbouring pages, until their part's turn comes.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator

from crc32c import crc32c

from common import durable
from services.engines.local.index.format import ENTRY, page_of

_PART_PAGES = 4096  # 9 MB
_HELD_BYTES = 64 << 10  # of each part
_PUT = struct.Struct("<I8sQ")  # the page, then as in ENTRY
_TAKE = struct.Struct(f"<I{ENTRY.size}s")


class TableEntries:
    """`path`: a free one. Methods raise OSError."""

    def __init__(self, path: str, pages: int) -> None:
        self._path = path
        self._pages = pages
        self._held = [bytearray() for _ in range(0, pages, _PART_PAGES)]
        self._spilled: list[list[tuple[int, int, int]]] = [[] for _ in self._held]  # (place, length, CRC)
        self._fd = -1
        self._end = 0

    def add(self, key: bytes, place: int) -> None:
        """The data block at `place` has what has this key."""
        page = page_of(key, self._pages)
        part = page // _PART_PAGES
        held = self._held[part]
        held += _PUT.pack(page, key[4:], place)
        if len(held) >= _HELD_BYTES and len(self._held) > 1:
            self._spill(part)

    def pages(self) -> Iterator[bytearray]:
        """The entries of each page, in turn."""
        for part, held in enumerate(self._held):
            first = part * _PART_PAGES
            pages = [bytearray() for _ in range(first, min(self._pages, first + _PART_PAGES))]
            for where in self._spilled[part]:
                _fill(pages, first, self._read(*where))
            _fill(pages, first, held)
            held.clear()
            yield from pages

    def close(self) -> None:
        """Free the disk. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _spill(self, part: int) -> None:
        if self._fd < 0:
            self._fd = durable.scratch_file(self._path)
        held = self._held[part]
        durable.write_all(self._fd, held)
        self._spilled[part].append((self._end, len(held), crc32c(held)))
        self._end += len(held)
        self._held[part] = bytearray()

    def _read(self, at: int, length: int, found: int) -> bytes:
        content = os.pread(self._fd, length, at)
        if len(content) != length or crc32c(content) != found:
            raise OSError(errno.EIO, "what was written for the table is not what is read", self._path)
        return content


def _fill(pages: list[bytearray], first: int, entries: bytes | bytearray) -> None:
    for page, entry in _TAKE.iter_unpack(entries):
        pages[page - first] += entry
