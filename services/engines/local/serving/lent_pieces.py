"""Memory that uploads lend to whoever receives their bytes, so that these are not copied on their way.

A piece is received into such memory, written from it and hashed from it. It begins at a page, so that it can
also be written past the page cache.
"""

from __future__ import annotations

import asyncio
import mmap
from typing import Protocol

from common.checksum import Bytes

PIECE_BYTES = 1 << 20
# So much more may be received at a time. Where the framing of a body is taken out of what came, a piece would
# else want some bytes to be full, and the next read would be for these alone.
SPARE_BYTES = mmap.PAGESIZE
# 8 MiB for the uploads that come first: two pieces each, of which one comes in while the other is written.
# All others receive their bytes in the usual way, in smaller pieces.
_MOST_UPLOADS = 4
# New memory costs a page fault for each 4 KiB: where four parts of an upload come at a time, these took a
# fifteenth of its processor time. So it is kept for so long after an upload.
_KEPT_S = 10.0
_KEPT_PAIRS = 1  # after that


class PieceMemory:
    """The pieces of one store, given out in pairs. On the event loop.

    Few are kept where nobody has uploaded for a while.
    """

    def __init__(self) -> None:
        self._left = _MOST_UPLOADS
        self._kept: list[list[memoryview]] = []
        self._release: asyncio.TimerHandle | None = None

    def lend(self) -> list[memoryview] | None:
        """Two pieces; None where all are lent, or the system has no memory for them."""
        if not self._left:
            return None
        pieces = self._kept.pop() if self._kept else _new_pair()
        self._left -= pieces is not None
        return pieces

    def give_back(self, pieces: list[memoryview]) -> None:
        """Nobody uses them any more."""
        self._left += 1
        self._kept.append(pieces)
        if self._release is not None:
            self._release.cancel()
        self._release = asyncio.get_running_loop().call_later(_KEPT_S, self._keep_few)

    def _keep_few(self) -> None:
        self._release = None
        del self._kept[_KEPT_PAIRS:]


def _new_pair() -> list[memoryview] | None:
    try:
        return [memoryview(mmap.mmap(-1, PIECE_BYTES + SPARE_BYTES)) for _ in range(2)]
    except (OSError, MemoryError):
        return None


class PieceWriter(Protocol):
    """The upload that lends."""

    def write_soon(self, piece: memoryview) -> bool:
        """Write it behind what comes. False: call `write_next`, since the one before it is not written."""

    async def write_next(self) -> None:
        """Wait until the one before is written. Raises what kept it from that."""


class LentPieces:
    """The two pieces of one upload. See transfer.LentRoom."""

    def __init__(self, memory: PieceMemory, pieces: list[memoryview], writer: PieceWriter) -> None:
        self._memory = memory
        self._pieces = pieces  # first the one that is being filled
        self._writer = writer
        self._filled_bytes = 0  # of it
        self._beyond: Bytes = b""  # what came behind the end of the other one
        self._is_over = False

    def room(self) -> memoryview | None:
        """See transfer.LentRoom."""
        if self._is_over:
            return None
        piece, beyond = self._pieces[0], self._beyond
        if beyond:  # nobody writes from the piece by now, so it gets what came before
            piece[: len(beyond)] = beyond
            self._filled_bytes, self._beyond = len(beyond), b""
        return piece[self._filled_bytes :]

    def filled(self, count: int) -> bool:
        """See transfer.LentRoom."""
        self._filled_bytes += count
        return self._filled_bytes < PIECE_BYTES or self._writer.write_soon(self.take())

    async def more(self) -> None:
        """See transfer.LentRoom."""
        await self._writer.write_next()

    def take(self) -> memoryview:
        """What came into the piece that is being filled. The other piece is filled next."""
        if self._beyond:
            self.room()  # the body ended just behind the other piece
        came = self._pieces[0][: self._filled_bytes]
        self._beyond = came[PIECE_BYTES:]
        self._pieces.reverse()
        self._filled_bytes = 0
        return came[:PIECE_BYTES]

    def end(self) -> None:
        """The upload is over, and nothing is being written."""
        if not self._is_over:
            self._is_over = True
            self._memory.give_back(self._pieces)
