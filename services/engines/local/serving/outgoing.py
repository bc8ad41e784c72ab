"""The pieces of one upload, or of one part of it, on their way to the disk.

They are held in memory until they are enough for a step of a thread, since to hand one over costs 50 to 100
µs. While few upload, the next piece comes in while the last one is written. A piece that was lost on the way
breaks the upload: nothing after it counts, and nobody can commit.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from common.checksum import Bytes
from services.engines.local.serving.data_writer import DataWriter
from services.engines.local.serving.disk_step import Stepping, broken_by, disk_step
from services.engines.local.serving.free_space import FreeSpace
from services.engines.local.serving.lent_pieces import PIECE_BYTES, LentPieces, PieceMemory

# All uploads together may have so much in memory that waits for the disk; one upload at least and at most
# that. Large pieces, since to hand one to a thread costs 49 µs; few bytes, so that 32 uploads stay under 32
# MiB with what their connections hold.
_HELD_BYTES = 8 << 20
_LEAST_PIECE_BYTES = 64 << 10
_MOST_PIECE_BYTES = 1 << 20
# While so few upload, the next piece comes in while the last one is written, so two are in memory.
_FEW_UPLOADS = 4
_MOST_PIECES = 64  # a body that comes byte by byte is copied together: else each byte would take 40


class OutgoingOwner(Stepping, Protocol):
    """What the pieces need of the store."""

    space: FreeSpace
    piece_memory: PieceMemory

    def uploads(self) -> int: ...


class Destination(Protocol):
    """Where they go. `open` and `sync` run in a thread of the disk's, one at a time."""

    def open(self, whole: bool) -> DataWriter:
        """Before the first piece: make the file. `whole`: no more comes. An error leaves nothing."""

    def opened(self) -> None:
        """On the loop: the file is there."""

    def sync(self) -> None:
        """Make durable what was written. No more comes."""


def piece_bytes(uploads: int) -> int:
    """How many bytes each of so many uploads may keep in memory for the disk."""
    return min(_MOST_PIECE_BYTES, max(_LEAST_PIECE_BYTES, _HELD_BYTES // max(1, uploads)))


class Gate(Protocol):
    """What the first step waits for. On the event loop."""

    async def come(self) -> None: ...

    def late(self) -> None:
        """Bytes came faster than they are written and hashed."""


class Outgoing:
    """On the event loop; the work on disk in threads, one step at a time."""

    def __init__(
        self,
        owner: OutgoingOwner,
        destination: Destination,
        writer: DataWriter | None = None,
        gate: Gate | None = None,
        declared_bytes: int = 0,
    ) -> None:
        """`writer`: all bytes are there already. `declared_bytes`: 0 if it is not known how many come."""
        self._gate = gate
        self._declared_bytes = declared_bytes
        self.size = 0  # bytes received
        self.held_bytes = 0  # of them in memory
        self._owner = owner
        self._destination = destination
        self._writer = writer
        self._held: list[Bytes] = []
        self._lent: LentPieces | None = None  # the memory of all pieces, if they are received into it
        self._behind: asyncio.Task[None] | None = None  # writes the last piece
        self._broken: Exception | None = None  # bytes were lost on the way to the disk: it cannot go on
        self._is_over = False
        self._is_synced = False
        self._turn = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the file is there."""
        return self._writer is not None

    @property
    def is_whole(self) -> bool:
        """Whether all came that was declared. Its last piece waits for the step that makes it durable."""
        return self.size == self._declared_bytes > 0

    # --- what comes ---

    def holds(self, data: Bytes, most_bytes: int) -> bool:
        """Hold `data`. False: not so, since more than `most_bytes` would be held, or too many pieces."""
        held_bytes = self.held_bytes + len(data)
        if held_bytes > most_bytes or len(self._held) + 1 >= _MOST_PIECES:
            return False
        self._held.append(bytes(data))  # of bytes no copy
        self.size += len(data)
        self.held_bytes = held_bytes
        return True

    def spare_bytes(self) -> int:
        """How much may be held while nothing need be written."""
        return piece_bytes(self._owner.uploads()) - 1

    def hold(self, data: Bytes) -> None:
        """Hold it, however much that is."""
        self._take(bytes(data))
        if len(self._held) == _MOST_PIECES:
            self._held = [b"".join(self._held)]

    def lend(self) -> LentPieces | None:
        """Memory for all that comes, asked for before the first byte. None where there is none, and for what
        is no more than a piece."""
        if self._declared_bytes <= PIECE_BYTES or self.size or self._is_over:
            return None
        pieces = self._owner.piece_memory.lend()
        self._lent = None if pieces is None else LentPieces(self._owner.piece_memory, pieces, self)
        return self._lent

    def past_cache_bytes(self, least_bytes: int) -> int:
        """How many bytes may go past the page cache: all, if they are at least so many, and come into lent
        memory, in pieces that begin at a page; else 0."""
        is_enough = self._lent is not None and self._declared_bytes >= least_bytes
        return self._declared_bytes if is_enough else 0

    def take_lent(self) -> None:
        """Take what is in the lent memory of a piece that is not full."""
        if self._lent is not None and (piece := self._lent.take()):
            self._take(piece)

    def _take(self, piece: Bytes) -> None:
        self._held.append(piece)
        self.size += len(piece)
        self.held_bytes += len(piece)

    def joined(self) -> bytes:
        """All that came, while nothing is written."""
        return b"".join(self._held)

    # --- how it goes on ---

    def write_soon(self, piece: memoryview) -> bool:
        """See PieceWriter."""
        self._take(piece)
        behind = self._behind
        if behind is not None and (not behind.done() or behind.cancelled() or behind.exception() is not None):
            return False
        if not self.is_whole:
            self._begin()
        return True

    async def write_next(self) -> None:
        """See PieceWriter."""
        await self.written_behind()
        if not self.is_whole:
            self._begin()

    async def write_enough(self) -> None:
        """Write what is held if it is enough for a step, behind what comes while few upload. Raises what kept
        the piece before from being written."""
        uploads = self._owner.uploads()
        if self.is_whole or self.held_bytes < piece_bytes(uploads):
            return
        await self.written_behind()
        if uploads > _FEW_UPLOADS:
            await self.write()
        else:
            self._begin()

    async def written_behind(self) -> None:
        """Wait for the step under way: what it has taken is held by nobody until it is written."""
        behind, self._behind = self._behind, None
        if behind is None:
            return
        if self._gate is not None and not behind.done():
            self._gate.late()
        await behind

    def _begin(self) -> None:
        self._behind = asyncio.get_running_loop().create_task(self.write())
        # Where nobody waits for it any more, the commit meets the same error.
        self._behind.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def write(self, *, sync: bool = False, whole: bool = False) -> None:
        """Write what is held, into a file that is made if there is none; all in one step of a thread. `sync`:
        it is the last, and is made durable, once. `whole`: no more comes."""
        async with self._turn:
            if self._broken is not None:
                raise self._broken
            if self._gate is not None and not self.is_open:
                await self._gate.come()
            was_open = self.is_open
            if self._is_over or (was_open and not self._held and (self._is_synced or not sync)):
                return
            # The declared length fitted when it began; others came since, and some declare none.
            if self._writer is None or not self._writer.has_room:
                self._owner.space.check_more(self.held_bytes)
            pieces, self._held, self.held_bytes = self._held, [], 0
            try:
                await disk_step(self._owner, lambda: self._put(pieces, sync, whole))
            except BaseException as err:  # MemoryError, say
                if self.is_open:
                    self._broken = broken_by(err)  # whoever waits for this step may not see it
                else:  # nothing was lost: it may still be committed from memory
                    self._held = pieces + self._held
                    self.held_bytes = sum(map(len, self._held))
                raise
            finally:
                if self.is_open and not was_open:
                    self._destination.opened()
            self._is_synced = sync

    def _put(self, pieces: list[Bytes], sync: bool, whole: bool) -> None:
        if self._writer is None:
            self._writer = self._destination.open(whole)
        self._writer.append(pieces, last=sync)
        if sync:
            self._destination.sync()

    # --- its end ---

    def end(self) -> None:
        """Nothing more is written. For a commit: nothing is being written either."""
        self._is_over = True

    def give_back(self) -> None:
        """Drop what is held, and give the lent memory back: nobody uses it any more."""
        self._held = []
        if self._lent is not None:
            self._lent.end()

    async def stopped(self) -> None:
        """After `end`: wait until nothing is being written, and give the memory back."""
        async with self._turn:
            self.give_back()
