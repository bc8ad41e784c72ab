"""Bodies that show their write: any 31 bytes of one show of which write they are, and their place in it.

A body is a row of cells of 16 bytes: the write's number (8 hex digits), the cell's (6), a line end. Pure.
"""

from __future__ import annotations

import threading

CELL_BYTES = 16
ENOUGH_BYTES = 2 * CELL_BYTES - 1  # contain a whole cell, wherever they begin


class Bodies:
    """Makes bodies, and recognizes them. Any thread may call it."""

    def __init__(self) -> None:
        self._sizes: list[int] = [0]  # by number, from 1
        self._lock = threading.Lock()

    def make(self, size_bytes: int) -> tuple[int, bytes]:
        """(the number of a new write, its body)."""
        assert size_bytes >= CELL_BYTES
        with self._lock:
            self._sizes.append(size_bytes)
            number = len(self._sizes) - 1
        return number, _body(number, 0, size_bytes)

    def size(self, number: int) -> int:
        """The length of the body of that write."""
        return self._sizes[number]

    def whose(self, part: bytes, first: int = 0, whole_size: int | None = None) -> int:
        """The write of which `part` is, beginning at byte `first`. Raises ValueError if any byte is not of
        it. `whole_size`: the declared length of the whole; by default `part` is the whole.
        """
        at = -first % CELL_BYTES
        number = int(part[at : at + 8], 16)
        if not 0 < number < len(self._sizes):
            raise ValueError(f"there was no write {number}")
        size = len(part) if whole_size is None else whole_size
        if size != self._sizes[number]:
            raise ValueError(f"write {number} has {self._sizes[number]} bytes, not {size}")
        if part != _body(number, first, first + len(part)):
            raise ValueError(f"bytes {first} to {first + len(part)} are not all of write {number}")
        return number


def _body(number: int, first: int, end: int) -> bytes:
    cells = range(first // CELL_BYTES, -(-end // CELL_BYTES))
    text = b"".join(b"%08x%06x\r\n" % (number, cell) for cell in cells)
    skip = first % CELL_BYTES
    return text[skip : skip + end - first]
