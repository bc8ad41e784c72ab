"""The memory that reads of large blobs share: a few buffers of one chunk, however many readers there are.

A chunk is verified whole, but sent in pieces, as fast as its client takes them. Its buffer is kept for the
rest of the chunk until another reader needs a buffer. Then the slow reader has to read and verify its chunk
once more. So fifty clients that take nothing hold no more chunks than one. Used buffers are also faster than
new ones, whose pages the kernel clears first. Each begins at a page: the kernel's copy into memory that
begins elsewhere takes longer.
"""

from __future__ import annotations

import asyncio
import mmap
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.checksum import CHUNK_BYTES
from common.errors import Busy

# 8 MiB: one for each thread that reads from disk.
MAX_BUFFERS = 8


class Held:
    """A buffer while it is borrowed. `filled`: it holds the chunk still. `more`: keep it, there is a rest."""

    __slots__ = ("data", "filled", "more")

    def __init__(self, data: mmap.mmap, filled: bool) -> None:
        self.data = data
        self.filled = filled
        self.more = False


class ChunkBuffers:
    """Used on the event loop alone. A reader is any object; it keeps at most one chunk."""

    def __init__(self, count: int = MAX_BUFFERS) -> None:
        self._free: list[mmap.mmap] = []
        self._kept: OrderedDict[object, tuple[int, mmap.mmap]] = OrderedDict()  # longest there first
        self._unmade = count
        # Who is inside has a buffer; so where there is room inside, one is free, kept or unmade.
        self._room = asyncio.Semaphore(count)

    @asynccontextmanager
    async def borrow(self, reader: object, chunk: int) -> AsyncIterator[Held]:
        """A buffer of CHUNK_BYTES for a chunk of `reader`. Waits while all of them are borrowed. Raises Busy.

        After an exception the buffer is given up: a thread may still be writing into it.
        """
        async with self._room:
            number, data = self._kept.pop(reader, (-1, None))
            held = Held(self._any() if data is None else data, number == chunk)
            try:
                yield held
            except BaseException:
                self._unmade += 1
                raise
            if held.more:
                self._kept[reader] = chunk, held.data
            else:
                self._free.append(held.data)

    def take_now(self) -> mmap.mmap | None:
        """A buffer of CHUNK_BYTES for a reader that keeps none, without waiting; None while all are borrowed.

        For a moment in which nothing is waited for: then `put_back`. Raises Busy.
        """
        return None if self._room.locked() else self._any()

    def put_back(self, data: mmap.mmap, reader: object, chunk: int | None) -> None:
        """After `take_now`. `chunk`: what `reader` has of the blob in `data`, and keeps; None: nothing."""
        if chunk is None:
            self._free.append(data)
        else:
            self._kept[reader] = chunk, data

    def forget(self, reader: object) -> None:
        """The reader will not come back."""
        kept = self._kept.pop(reader, None)
        if kept is not None:
            self._free.append(kept[1])

    def _any(self) -> mmap.mmap:
        if self._free:
            return self._free.pop()
        if self._unmade:
            try:
                made = mmap.mmap(-1, CHUNK_BYTES)
            except OSError as err:
                raise Busy("The server is out of memory: try again in a moment.") from err
            self._unmade -= 1
            return made
        return self._kept.popitem(last=False)[1][1]
