"""One part of an upload in parts on its way to disk: to its place in data.raw, or into a file of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from common import durable
from common.checksum import Bytes, Crcs
from common.errors import BlobkeepError, TooLarge, UnknownUpload
from services.engines.local.disk import multipart_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.multipart_folder import Placed
from services.engines.local.serving.disk_step import Stepping, broken_by, disk_step
from services.engines.local.serving.free_space import FreeSpace
from services.engines.local.serving.joined_hash import RunningSha256
from services.engines.local.serving.lent_pieces import PIECE_BYTES, LentPieces, PieceMemory
from services.engines.local.serving.upload import FEW_UPLOADS, MOST_PIECES, piece_bytes
from services.store import NO_ATTRIBUTES, Part

# After so many bytes the disk is told to begin: a part is small, and its sync is waited for.
_WRITE_BACK_BYTES = 2 << 20
OVER = "The specified upload does not exist: it may have been completed or aborted."


class PartUploadOwner(Stepping, Protocol):
    """What a part needs of the store."""

    data_dir: Layout
    space: FreeSpace
    piece_memory: PieceMemory

    def uploads(self) -> int: ...


class PartPlace:
    """Where the bytes of a part go: from `offset` in `file`, a name in the upload's folder.

    `slot_bytes`: see multipart_folder.Placed; if it is not 0, no more bytes may come.
    """

    def __init__(self, upload_id: str, number: int, part_id: str, file: str, slot_bytes: int) -> None:
        self.upload_id = upload_id
        self.number = number
        self.part_id = part_id
        self.file = file
        self.slot_bytes = slot_bytes
        self.offset = (number - 1) * slot_bytes


class LocalPart:
    """See store.PartUpload. `remember` adds a part whose bytes are durable to the upload. `ended` is called
    once, when nothing is written any more. Bytes that are not remembered belong to no part.

    `ahead`: see JoinedHash. This one goes on from it, and `remember` gets what it became. `declared_bytes`: 0
    if its length is not known.
    """

    def __init__(
        self,
        owner: PartUploadOwner,
        place: PartPlace,
        remember: Callable[[Placed, RunningSha256 | None], Awaitable[None]],
        ended: Callable[[LocalPart], None],
        ahead: RunningSha256 | None,
        declared_bytes: int,
        *,
        with_sha256: bool,
    ) -> None:
        self.place = place
        self._declared_bytes = declared_bytes
        self._lent: LentPieces | None = None  # the memory of all pieces, if they are received into it
        self._owner = owner
        self._remember = remember
        self._tell_ended = ended
        self._path = f"{multipart_folder.folder(owner.data_dir, place.upload_id)}/{place.file}"
        self._pieces: list[Bytes] = []
        self._held_bytes = 0
        self._size = 0
        self._crcs = Crcs()
        self._joined = ahead
        # Nothing stands before the first part, so its hash and that of the whole are the same.
        own = ahead if ahead is not None and place.number == 1 else hashlib.sha256()
        self._own = own if with_sha256 else None
        self._hashes = {one for one in (self._own, self._joined) if one is not None}
        self._behind: asyncio.Task[None] | None = None  # writes the last piece
        self._broken: Exception | None = None  # bytes were lost on the way to the disk: it cannot go on
        self._begun_bytes = 0  # that the disk was told to begin with
        self._fd = -1
        self._ended = False
        self._committing = False
        self._turn = asyncio.Lock()
        self._quiet = asyncio.Event()  # nothing is written any more

    def takes(self, data: Bytes) -> bool:
        """See store.PartUpload."""
        slot_bytes, size = self.place.slot_bytes, self._size + len(data)
        held_bytes = self._held_bytes + len(data)
        if self._ended or (slot_bytes and size > slot_bytes) or len(self._pieces) + 1 >= MOST_PIECES:
            return False
        if held_bytes >= piece_bytes(self._owner.uploads()):
            return False
        self._pieces.append(bytes(data))  # of bytes no copy
        self._size, self._held_bytes = size, held_bytes
        return True

    async def write(self, data: Bytes) -> None:
        """See store.PartUpload."""
        if self.takes(data):
            return
        self._must_go_on()
        self._size += len(data)
        if self.place.slot_bytes and self._size > self.place.slot_bytes:
            raise TooLarge("The part is longer than it was declared.")
        self._pieces.append(bytes(data))
        self._held_bytes += len(data)
        if len(self._pieces) == MOST_PIECES:
            self._pieces = [b"".join(self._pieces)]
        uploads = self._owner.uploads()
        if self._held_bytes < piece_bytes(uploads):
            return
        behind, self._behind = self._behind, None
        if behind is not None:
            await behind
        if uploads > FEW_UPLOADS:
            await self._flush()
        else:
            self._begin_flush()

    def _begin_flush(self) -> None:
        """Write what has come, while the next piece comes in."""
        self._behind = asyncio.get_running_loop().create_task(self._flush())
        # Where nobody waits for it any more, the commit meets the same error.
        self._behind.add_done_callback(lambda task: task.cancelled() or task.exception())

    def lend(self) -> LentPieces | None:
        """See store.PartUpload."""
        if self._declared_bytes > PIECE_BYTES and not self._size and not self._ended:
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
        behind, self._behind = self._behind, None
        if behind is not None:
            await behind
        self._begin_flush()

    def _take(self, piece: Bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        self._held_bytes += len(piece)

    def _take_lent(self) -> None:
        """What is in the lent memory of a piece that is not full."""
        if self._lent is not None:
            self._take(self._lent.take())

    def _end_lending(self) -> None:
        """Nothing is being written any more."""
        self._pieces = []
        if self._lent is not None:
            self._lent.end()

    async def sha256(self) -> bytes:
        """See store.PartUpload."""
        self._take_lent()
        await self._flush()
        assert self._own is not None  # it was to be asked for
        return self._own.digest()

    async def commit(self, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> Part:
        """See store.PartUpload."""
        self._must_go_on()
        self._committing = True
        self._take_lent()
        place = self.place
        try:
            try:
                await self._flush(sync=True)
            finally:
                self._quiet.set()
            placed = Placed(
                number=place.number,
                id=place.part_id,
                size=self._size,
                sha256="" if self._own is None else self._own.digest().hex(),
                crcs=self._crcs.crcs().hex(),
                modified_ns=time.time_ns(),
                attributes=dict(attributes),
                file=place.file,
                offset=place.offset,
                slot_bytes=place.slot_bytes,
            )
            await self._remember(placed, self._joined)
        except BaseException:
            await self._give_up()
            raise
        self._end()
        self._end_lending()
        return placed.part

    async def abort(self, reason: str) -> None:
        """See store.PartUpload."""
        if not self._committing:
            await self._give_up()

    async def stop(self, reason: str) -> None:
        """As `abort`; returns when nothing is written any more, even where `commit` has begun."""
        await self.abort(reason)
        await self._quiet.wait()

    async def _give_up(self) -> None:
        if self._ended:
            return
        self._ended = True
        async with self._turn:  # after what is being written
            self._end_lending()
            with contextlib.suppress(BlobkeepError):  # its bytes are nobody's, whatever becomes of them
                await disk_step(self._owner, self._forget)
        self._quiet.set()
        self._tell_ended(self)

    def _end(self) -> None:
        self._ended = True
        self._tell_ended(self)

    def _must_go_on(self) -> None:
        if self._ended:
            raise UnknownUpload(OVER)

    async def _flush(self, *, sync: bool = False) -> None:
        async with self._turn:
            if (self._pieces or sync) and not self._ended:
                self._owner.space.check_more(self._held_bytes)
                if self._broken is not None:
                    raise self._broken
                pieces, self._pieces, self._held_bytes = self._pieces, [], 0
                try:
                    await disk_step(self._owner, lambda: self._put(pieces, sync))
                except BaseException as err:  # MemoryError, say
                    self._broken = broken_by(err)
                    raise

    # --- in threads, one at a time ---

    def _open(self) -> None:
        if self._fd < 0:
            in_place = self.place.slot_bytes > 0
            self._fd = durable.open_in_place(self._path) if in_place else durable.create_file(self._path)

    def _put(self, pieces: list[Bytes], sync: bool) -> None:
        self._append(pieces)
        if sync:
            self._sync()

    def _append(self, pieces: list[Bytes]) -> None:
        self._open()
        for piece in pieces:
            durable.write_at(self._fd, piece, self.place.offset + self._crcs.size)
            self._crcs.update(piece)
            for one in self._hashes:
                one.update(piece)
        pieces.clear()  # before the caller wakes: more come in then
        new_bytes = self._crcs.size - self._begun_bytes
        if new_bytes >= _WRITE_BACK_BYTES:
            durable.begin_write_back(self._fd, self.place.offset + self._begun_bytes, new_bytes)
            self._begun_bytes += new_bytes

    def _sync(self) -> None:
        self._open()
        fd, self._fd = self._fd, -1
        try:
            durable.sync_file(fd)
        finally:
            os.close(fd)
        if not self.place.slot_bytes:
            durable.sync_folder(os.path.dirname(self._path))

    def _forget(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        if not self.place.slot_bytes:
            with contextlib.suppress(FileNotFoundError):
                durable.remove_file(self._path)
