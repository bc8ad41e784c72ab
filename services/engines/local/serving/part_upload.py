"""One part of an upload in parts on its way to disk: to its place in data.raw, or into a file of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Protocol

from common import durable
from common.checksum import Bytes, Crcs
from common.errors import BlobkeepError, TooLarge, UnknownUpload
from services.engines.local.disk import multipart_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.multipart_folder import Placed
from services.engines.local.serving.data_writer import DataWriter
from services.engines.local.serving.disk_step import disk_step
from services.engines.local.serving.hash_turns import HashTurn
from services.engines.local.serving.lent_pieces import LentPieces
from services.engines.local.serving.outgoing import Outgoing, OutgoingOwner
from services.store import NO_ATTRIBUTES, Part

# After so many bytes the disk is told to begin: a part is small, and its sync is waited for.
_WRITE_BACK_BYTES = 2 << 20
# A part of so many bytes goes past the page cache, if it comes into lent memory, stands in its place and is
# the next in order: another one will be read again.
PAST_CACHE_BYTES = 8 << 20
OVER = "The specified upload does not exist: it may have been completed or aborted."


class PartUploadOwner(OutgoingOwner, Protocol):
    """What a part needs of the store."""

    data_dir: Layout


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

    `turn`: to be hashed for the whole, which `remember` gets back. `declared_bytes`: 0 if its length is not
    known. `beside`: threads for one of two hashes, if more than one processor may work.
    """

    def __init__(
        self,
        owner: PartUploadOwner,
        place: PartPlace,
        remember: Callable[[Placed, HashTurn], Awaitable[None]],
        ended: Callable[[LocalPart], None],
        turn: HashTurn,
        declared_bytes: int,
        *,
        with_sha256: bool,
        beside: Executor | None = None,
    ) -> None:
        self._beside = beside
        self.place = place
        self._turn = turn
        self._outgoing = Outgoing(owner, self, gate=turn, declared_bytes=declared_bytes)
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._remember = remember
        self._tell_ended = ended
        self._path = f"{multipart_folder.folder(owner.data_dir, place.upload_id)}/{place.file}"
        self._crcs = Crcs()
        # Nothing stands before the first part, so its hash and that of the whole are the same.
        own = turn.sha256 if turn.sha256 is not None and place.number == 1 else hashlib.sha256()
        self._own = own if with_sha256 else None
        self._fd = -1
        self._ended = False
        self._committing = False
        self._quiet = asyncio.Event()  # nothing is written any more

    def takes(self, data: Bytes) -> bool:
        """See store.PartUpload."""
        outgoing = self._outgoing
        if self._ended or self._is_too_long(outgoing.size + len(data)):
            return False
        return outgoing.holds(data, outgoing.spare_bytes())

    async def write(self, data: Bytes) -> None:
        """See store.PartUpload."""
        if self.takes(data):
            return
        self._must_go_on()
        if self._is_too_long(self._outgoing.size + len(data)):
            raise TooLarge("The part is longer than it was declared.")
        self._outgoing.hold(data)
        await self._outgoing.write_enough()

    def _is_too_long(self, size: int) -> bool:
        return 0 < self.place.slot_bytes < size

    def lend(self) -> LentPieces | None:
        """See store.PartUpload."""
        return self._outgoing.lend()

    async def sha256(self) -> bytes:
        """See store.PartUpload."""
        self._must_go_on()
        self._outgoing.take_lent()
        # A step less than to sync it after this was compared. Nobody is told of the part before that.
        await self._outgoing.write(sync=self._outgoing.is_whole)
        self._must_go_on()  # else it was given up meanwhile, and some bytes are not hashed
        assert self._own is not None  # it was to be asked for
        return self._own.digest()

    async def commit(self, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> Part:
        """See store.PartUpload."""
        self._must_go_on()
        self._committing = True
        self._outgoing.take_lent()
        place = self.place
        try:
            try:
                await self._outgoing.write(sync=True)
            finally:
                self._quiet.set()
            placed = Placed(
                number=place.number,
                id=place.part_id,
                size=self._outgoing.size,
                sha256="" if self._own is None else self._own.digest().hex(),
                crcs=self._crcs.crcs().hex(),
                modified_ns=time.time_ns(),
                attributes=dict(attributes),
                file=place.file,
                offset=place.offset,
                slot_bytes=place.slot_bytes,
            )
            await self._remember(placed, self._turn)
        except BaseException:
            await self._give_up()
            raise
        self._ended = True
        self._outgoing.end()
        self._outgoing.give_back()
        self._tell_ended(self)
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
        self._turn.end()
        self._outgoing.end()
        await self._outgoing.stopped()
        try:
            with contextlib.suppress(BlobkeepError):  # its bytes are nobody's, whatever becomes of them
                await disk_step(self._owner, self._forget)
        finally:  # also without memory: who completes or aborts the upload waits for this
            self._quiet.set()
            self._tell_ended(self)

    def _must_go_on(self) -> None:
        if self._ended:
            raise UnknownUpload(OVER)

    def opened(self) -> None:
        """See Destination."""

    # --- in threads, one at a time ---

    def open(self, whole: bool = False) -> DataWriter:
        """See Destination."""
        in_place = self.place.slot_bytes > 0
        joined = self._turn.sha256
        is_next = in_place and joined is not None
        hashes = dict.fromkeys(one for one in (self._own, joined) if one is not None)
        fd = durable.open_in_place(self._path) if in_place else durable.create_file(self._path)
        try:
            writer = DataWriter(
                fd,
                [self._crcs, *hashes],
                self.place.offset,
                past_cache_bytes=self._outgoing.past_cache_bytes(PAST_CACHE_BYTES) if is_next else 0,
                write_back_bytes=_WRITE_BACK_BYTES,
                beside=self._beside if len(hashes) > 1 else None,
            )
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return writer

    def sync(self) -> None:
        """See Destination."""
        self._loop.call_soon_threadsafe(self._turn.hashed)
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
