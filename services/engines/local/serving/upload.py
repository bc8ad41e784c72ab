"""One upload into the local directory: small bodies stay in memory, others go to disk under state Pending.

A small body that comes quickly needs no Pending on disk: its commit writes everything together. A body of up
to 1 MiB that comes quickly needs none either, if memory allows: when it is complete, one step writes and
syncs its data under a temporary name. A body that is larger, or still arriving after 50 ms, is staged: its
folder shows Pending while the bytes come in, and Failure if they stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Protocol

from common import durable
from common.checksum import Bytes, Checksums, Hasher
from common.errors import GIVEN_UP, BlobkeepError, Busy, SyncFailed, TooLarge
from services.engines.local.disk import blob_folder
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import NO_METADATA, BlobRecord
from services.engines.local.serving.change import Draft, first_records
from services.engines.local.serving.data_writer import PAST_CACHE_BYTES, DataWriter
from services.engines.local.serving.disk_step import broken_by, disk_step
from services.engines.local.serving.free_space import FreeSpace
from services.engines.local.serving.given_up import GivenUp
from services.engines.local.serving.ids import IdAllocator, Sequence
from services.engines.local.serving.lent_pieces import LentPieces, PieceMemory
from services.engines.local.serving.shared_syncs import SharedSyncs
from services.store import Condition

log = logging.getLogger(__name__)

# All uploads together may have so much in memory that waits for the disk; one upload at least and at most
# that. Large pieces, since to hand one to a thread costs 49 µs; few bytes, so that 32 uploads stay under 32
# MiB with what their connections hold.
_HELD_BYTES = 8 << 20
_LEAST_PIECE_BYTES = 64 << 10
_MOST_PIECE_BYTES = 1 << 20
# A body of up to so many declared bytes is held until it is complete, if all held ones take no more than
# this.
_WHOLE_BYTES = 1 << 20
ALL_WHOLE_BYTES = 16 << 20
# While so few upload, the next piece comes in while the last one is written, so two are in memory.
FEW_UPLOADS = 4
MOST_PIECES = 64  # a body that comes byte by byte is copied together: else each byte would take 40
# An upload that is not complete after this time becomes visible on disk as Pending.
STAGE_AFTER_S = 0.05


class UploadOwner(Protocol):
    """What an upload needs of the store that began it."""

    data_dir: Layout
    ids: IdAllocator
    sequence: Sequence
    space: FreeSpace
    threads: Executor
    small_body_bytes: int
    max_blob_bytes: int
    whole_left_bytes: int  # of ALL_WHOLE_BYTES
    parent_syncs: SharedSyncs
    piece_memory: PieceMemory
    given_up: GivenUp

    async def commit_draft(self, draft: Draft, condition: Condition) -> tuple[Blob, bool]: ...

    def told(self, record: BlobRecord, since: int) -> None: ...

    def stop_for(self, err: SyncFailed) -> None: ...

    def uploads(self) -> int: ...

    def upload_ended(self, upload: LocalUpload) -> None: ...


def piece_bytes(uploads: int) -> int:
    """How many bytes each of so many uploads may keep in memory for the disk."""
    return min(_MOST_PIECE_BYTES, max(_LEAST_PIECE_BYTES, _HELD_BYTES // max(1, uploads)))


class LocalUpload:
    """See store.Upload. Methods run on the event loop; the disk work in threads, one step at a time."""

    _hashed_bytes = 0  # its size when the draft's SHA-256 was computed

    def __init__(
        self, owner: UploadOwner, draft: Draft, condition: Condition, is_update: bool, size: int | None = None
    ) -> None:
        """`size`: as declared."""
        self._owner = owner
        self._declared_bytes = size or 0
        self._draft = draft
        self._condition = condition
        self._is_update = is_update
        self._pieces: list[Bytes] = []  # as they came, for the disk or the journal
        self._lent: LentPieces | None = None  # the memory of all pieces, if they are received into it
        self._held_bytes = 0  # in these
        self._may_hold_bytes = owner.small_body_bytes
        self._reserved_bytes = 0  # of the owner's `whole_left_bytes`
        if size is not None and owner.small_body_bytes < size <= min(_WHOLE_BYTES, owner.whole_left_bytes):
            self._may_hold_bytes = self._reserved_bytes = size
            owner.whole_left_bytes -= size
        self._hasher: Hasher | None = None  # from staging on
        self._sums: Checksums | None = None  # the same, or those of bytes that were there
        self._pending: BlobRecord | None = None
        self._fd = -1
        self._size = 0
        self._ended = self._committing = False
        self._broken: Exception | None = None  # bytes were lost on the way to the disk: it cannot go on
        self._turn = asyncio.Lock()  # the timer's staging and a write must not meet
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(STAGE_AFTER_S, self._stage_soon)
        self._staging: asyncio.Task[None] | None = None
        self._behind: asyncio.Task[None] | None = None  # writes the last piece
        self._writer: DataWriter | None = None  # of data.raw

    @classmethod
    def of_staged(
        cls,
        owner: UploadOwner,
        draft: Draft,
        condition: Condition,
        pending: BlobRecord,
        fd: int,
        sums: Checksums,
    ) -> LocalUpload:
        """An upload whose bytes are all on disk: `pending` and data.raw (`fd`) are in the folder, with their
        `sums`. Only `commit` or `abort` may follow."""
        upload = cls(owner, draft, condition, is_update=False)
        upload._timer.cancel()
        upload._pending, upload._fd, upload._sums, upload._size = pending, fd, sums, sums.size
        return upload

    @property
    def is_staged(self) -> bool:
        """True once it is on disk, in state Pending."""
        return self._pending is not None

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self._size

    def takes(self, data: Bytes) -> bool:
        """See store.Upload."""
        size, held_bytes = self._size + len(data), self._held_bytes + len(data)
        owner = self._owner
        if (owner.max_blob_bytes and size > owner.max_blob_bytes) or len(self._pieces) + 1 >= MOST_PIECES:
            return False
        may_hold_bytes = self._may_hold_bytes
        if self._pending is not None:
            may_hold_bytes = piece_bytes(owner.uploads()) - 1
        if held_bytes > may_hold_bytes:
            return False
        self._pieces.append(bytes(data))  # of bytes no copy
        self._size, self._held_bytes = size, held_bytes
        return True

    async def write(self, data: Bytes) -> None:
        """See store.Upload."""
        if self.takes(data):
            return
        self._size += len(data)
        limit = self._owner.max_blob_bytes
        if limit and self._size > limit:
            raise TooLarge(f"The body is over the limit of {limit} bytes (max_blob_size).")
        self._pieces.append(bytes(data))  # of bytes no copy
        self._held_bytes += len(data)
        if len(self._pieces) == MOST_PIECES:
            self._pieces = [b"".join(self._pieces)]
        if self._pending is not None:
            uploads = self._owner.uploads()
            if self._held_bytes >= piece_bytes(uploads):
                await self._flush_behind(waits=uploads > FEW_UPLOADS)
        elif self._held_bytes > self._may_hold_bytes:
            await self._flush()

    def lend(self) -> LentPieces | None:
        """See store.Upload."""
        if self._declared_bytes > _WHOLE_BYTES and not self._size and not self._ended:
            pieces = self._owner.piece_memory.lend()
            self._lent = None if pieces is None else LentPieces(self._owner.piece_memory, pieces, self)
        return self._lent

    def write_soon(self, piece: memoryview) -> bool:
        """See PieceWriter."""
        self._take(piece)
        behind = self._behind
        if behind is not None and (not behind.done() or behind.cancelled() or behind.exception() is not None):
            return False
        self._begin_flush()
        return True

    async def write_next(self) -> None:
        """See PieceWriter."""
        await self._flush_behind(waits=False)

    def _take(self, piece: Bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        self._held_bytes += len(piece)

    async def sha256(self) -> bytes:
        """See store.Upload."""
        self._take_lent()
        await self._until_written()
        self._must_go_on()
        if self._pending is None and self._held_bytes <= self._owner.small_body_bytes:
            self._draft.sha256 = sha256 = hashlib.sha256(b"".join(self._pieces)).digest()
            self._hashed_bytes = self._size
            return sha256
        await self._flush(whole=True)
        if self._hasher is None:
            raise Busy(GIVEN_UP)  # meanwhile
        return self._hasher.sha256()

    async def commit(
        self,
        attributes: Mapping[str, str] = NO_METADATA,
        afterwards: Callable[[], Awaitable[None]] | None = None,
    ) -> tuple[Blob, bool]:
        """See store.Upload. `afterwards`: see Draft; it may raise SyncFailed alone."""
        self._must_go_on()
        draft = self._draft
        draft.attributes, draft.afterwards = attributes, afterwards
        self._committing = True
        self._take_lent()
        try:
            self._timer.cancel()
            await self._until_written()
            if self._pending is not None or self._held_bytes > self._owner.small_body_bytes:
                await self._flush(sync=True, whole=True)
                sums, draft.staged = self._sums, self._pending
                assert sums is not None
                draft.size, draft.sha256, draft.crcs = sums.size, sums.sha256(), sums.crcs()
            else:
                draft.body = b"".join(self._pieces)
                if self._hashed_bytes != self._size:  # more came since
                    draft.sha256 = b""
            committed = await self._owner.commit_draft(draft, self._condition)
        except SyncFailed:
            self._end()  # only the restart can tell what is true: what is on disk stays as it is for it
            raise
        except BaseException as err:
            await self._give_up(str(err))
            raise
        self._end()
        self._end_lending()
        return committed

    async def abort(self, reason: str) -> None:
        """See store.Upload. A staged one becomes Failure on disk, unsynced: a restart ends Pending, too."""
        if not self._committing:
            await self._give_up(reason)

    async def _give_up(self, reason: str) -> None:
        if self._ended:
            return
        self._end()
        self._timer.cancel()
        async with self._turn:  # nothing is being written
            self._end_lending()
            if self._pending is not None:
                fd, self._fd = self._fd, -1
                is_unnamed = self._draft.is_unnamed
                await self._owner.given_up.end(self._pending, reason, fd, is_unnamed=is_unnamed)

    def _must_go_on(self) -> None:
        """Raise if it was given up: its folder may be another's now, and its bytes were never synced."""
        if self._ended:
            raise Busy(GIVEN_UP)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._give_back()
            self._owner.upload_ended(self)

    def _end_lending(self) -> None:
        self._pieces = []
        if self._lent is not None:
            self._lent.end()

    def _give_back(self) -> None:
        self._owner.whole_left_bytes += self._reserved_bytes
        self._reserved_bytes = 0

    # --- staging ---

    def _stage_soon(self) -> None:
        if not self._ended and self._pending is None:
            self._staging = self._loop.create_task(self._stage_quietly())

    async def _stage_quietly(self) -> None:
        with contextlib.suppress(BlobkeepError):  # the next write, or the commit, meets the same and tells
            await self._flush()

    async def _flush_behind(self, *, waits: bool) -> None:
        """Write what has come after the piece before. `waits`: wait until it is written."""
        behind, self._behind = self._behind, None
        if behind is not None:
            await behind
        if waits:
            await self._flush()
        else:
            self._begin_flush()

    def _begin_flush(self) -> None:
        self._behind = self._loop.create_task(self._flush())
        # Where nobody waits for it any more, the commit meets the same error.
        self._behind.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _until_written(self) -> None:
        """Wait for the steps under way: what they have taken is in no list until it is on disk."""
        for step in (self._staging, self._behind):
            if step is not None:
                await step

    def _take_lent(self) -> None:
        """What is in the lent memory of a piece that is not full."""
        if self._lent is not None:
            self._take(self._lent.take())

    async def _flush(self, *, sync: bool = False, whole: bool = False) -> None:
        """Write what has come, into a folder that is made if there is none; all in one step of a thread,
        since to hand one over costs 50 to 100 µs. `sync`: it is the last piece, and is made durable. `whole`:
        no more comes, so a folder that is made now need not show Pending."""
        async with self._turn:
            if self._broken is not None:
                raise self._broken
            was_staged = self.is_staged
            if self._ended or (was_staged and not self._pieces and not sync):
                return
            # The declared length fitted when it began; others came since, and some declare none.
            self._owner.space.check_more(self._held_bytes)
            pieces, self._pieces, self._held_bytes = self._pieces, [], 0
            try:
                await disk_step(self._owner, lambda: self._put(pieces, sync, whole))
            except BaseException as err:  # MemoryError, say
                if self.is_staged:
                    self._broken = broken_by(err)  # whoever waits for the timer's staging does not see it
                else:  # nothing was lost: it may still be committed from memory
                    self._pieces = pieces + self._pieces
                    self._held_bytes = sum(map(len, self._pieces))
                raise
            finally:
                if self.is_staged:  # else it is still held
                    self._give_back()
                if self._pending is not None and not was_staged and not self._draft.is_unnamed:
                    self._owner.told(self._pending, 0)

    # --- in threads, one at a time ---

    def _put(self, pieces: list[Bytes], sync: bool, whole: bool) -> None:
        if self._pending is None:
            self._make_folder(whole)
        if pieces:  # a linked one has all its bytes already
            assert self._writer is not None
            self._writer.append(pieces)
        if sync:
            self._sync_data()

    def _make_folder(self, whole: bool) -> None:
        owner = self._owner
        blob_id = owner.ids.take()
        try:
            pending = first_records(
                self._draft, blob_id, owner.sequence.next(), time.time_ns(), self._is_update
            )
            if whole:
                self._fd = blob_folder.begin_data(owner.data_dir, blob_id)
            else:
                self._fd = blob_folder.stage(owner.data_dir, pending)
        except BaseException:
            owner.given_up.discard(blob_id)
            raise
        self._draft.is_unnamed = whole
        self._pending = pending
        self._hasher = self._sums = Hasher()
        past_cache = self._lent is not None and self._declared_bytes >= PAST_CACHE_BYTES
        self._writer = DataWriter(self._fd, self._hasher, past_cache=past_cache)

    def _sync_data(self) -> None:
        """Sync the bytes and the names that lead to them: after that only the state is missing."""
        assert self._pending is not None
        data_dir, blob_id = self._owner.data_dir, self._pending.id
        fd, self._fd = self._fd, -1
        try:
            durable.sync_file(fd)
        finally:
            os.close(fd)
        durable.sync_folder(data_dir.folder(blob_id))
        self._owner.parent_syncs.sync(data_dir.parent(blob_id))
