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
from services.engines.local.serving.given_up import GivenUp
from services.engines.local.serving.ids import IdAllocator, Sequence
from services.engines.local.serving.lent_pieces import LentPieces
from services.engines.local.serving.outgoing import Outgoing, OutgoingOwner
from services.engines.local.serving.shared_syncs import SharedSyncs
from services.store import Condition

log = logging.getLogger(__name__)

# A body of up to so many declared bytes is held until it is complete, if all held ones take no more than
# this.
_WHOLE_BYTES = 1 << 20
ALL_WHOLE_BYTES = 16 << 20
# An upload that is not complete after this time becomes visible on disk as Pending.
STAGE_AFTER_S = 0.05


class UploadOwner(OutgoingOwner, Protocol):
    """What an upload needs of the store that began it."""

    data_dir: Layout
    ids: IdAllocator
    sequence: Sequence
    small_body_bytes: int
    max_blob_bytes: int
    whole_left_bytes: int  # of ALL_WHOLE_BYTES
    parent_syncs: SharedSyncs
    given_up: GivenUp

    async def commit_draft(self, draft: Draft, condition: Condition) -> tuple[Blob, bool]: ...

    def told(self, record: BlobRecord, since: int) -> None: ...

    def upload_ended(self, upload: LocalUpload) -> None: ...


class LocalUpload:
    """See store.Upload. Methods run on the event loop; the disk work in threads, one step at a time."""

    _hashed_bytes = 0  # its size when the draft's SHA-256 was computed
    _parent_sync = 0  # the number of the sync that makes its folder's entry durable; 0: of any from then on

    def __init__(
        self, owner: UploadOwner, draft: Draft, condition: Condition, is_update: bool, size: int | None = None
    ) -> None:
        """`size`: as declared."""
        self._owner = owner
        self._draft = draft
        self._condition = condition
        self._is_update = is_update
        self._outgoing = Outgoing(owner, self, declared_bytes=size or 0)
        self._may_hold_bytes = owner.small_body_bytes
        self._reserved_bytes = 0  # of the owner's `whole_left_bytes`
        if size is not None and owner.small_body_bytes < size <= min(_WHOLE_BYTES, owner.whole_left_bytes):
            self._may_hold_bytes = self._reserved_bytes = size
            owner.whole_left_bytes -= size
        self._sums: Checksums | None = None  # of the bytes on disk
        self._pending: BlobRecord | None = None
        self._fd = -1
        self._past_cache_bytes = 0  # room was made for so many
        self._ended = self._committing = False
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(STAGE_AFTER_S, self._stage_soon)
        self._staging: asyncio.Task[None] | None = None

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
        """An upload whose bytes are all on disk: data.raw (`fd`), with these `sums`, is in the folder of
        `pending` under its temporary name. Only `commit` or `abort` may follow."""
        upload = cls(owner, draft, condition, is_update=False)
        upload._timer.cancel()
        upload._pending, upload._fd, upload._sums = pending, fd, sums
        draft.is_unnamed = True
        upload._outgoing = Outgoing(owner, upload, DataWriter(fd, ()))
        return upload

    @property
    def is_staged(self) -> bool:
        """True once it is on disk, in state Pending."""
        return self._pending is not None

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self._outgoing.size

    def takes(self, data: Bytes) -> bool:
        """See store.Upload."""
        outgoing, limit = self._outgoing, self._owner.max_blob_bytes
        if limit and outgoing.size + len(data) > limit:
            return False
        return outgoing.holds(data, self._may_hold_bytes if self._pending is None else outgoing.spare_bytes())

    async def write(self, data: Bytes) -> None:
        """See store.Upload."""
        if self.takes(data):
            return
        outgoing, limit = self._outgoing, self._owner.max_blob_bytes
        if limit and outgoing.size + len(data) > limit:
            raise TooLarge(f"The body is over the limit of {limit} bytes (max_blob_size).")
        outgoing.hold(data)
        if self._pending is not None:
            await outgoing.write_enough()
        elif outgoing.held_bytes > self._may_hold_bytes:
            await outgoing.write()

    def lend(self) -> LentPieces | None:
        """See store.Upload."""
        return self._outgoing.lend()

    async def sha256(self) -> bytes:
        """See store.Upload."""
        outgoing = self._outgoing
        await self._until_written()
        self._must_go_on()
        if self._pending is None and outgoing.held_bytes <= self._owner.small_body_bytes:
            self._draft.sha256 = sha256 = hashlib.sha256(outgoing.joined()).digest()
            self._hashed_bytes = outgoing.size
            return sha256
        await outgoing.write(whole=True)
        if self._sums is None:
            raise Busy(GIVEN_UP)  # meanwhile
        return self._sums.sha256()

    async def commit(
        self,
        attributes: Mapping[str, str] = NO_METADATA,
        afterwards: Callable[[], Awaitable[None]] | None = None,
    ) -> tuple[Blob, bool]:
        """See store.Upload. `afterwards`: see Draft; it may raise SyncFailed alone."""
        self._must_go_on()
        draft, outgoing = self._draft, self._outgoing
        draft.attributes, draft.afterwards = attributes, afterwards
        self._committing = True
        try:
            self._timer.cancel()
            await self._until_written()
            if self._pending is not None or outgoing.held_bytes > self._owner.small_body_bytes:
                await outgoing.write(sync=True, whole=True)
                sums, draft.staged = self._sums, self._pending
                assert sums is not None
                draft.size, draft.sha256, draft.crcs = sums.size, sums.sha256(), sums.crcs()
            else:
                draft.body = outgoing.joined()
                if self._hashed_bytes != outgoing.size:  # more came since
                    draft.sha256 = b""
            committed = await self._owner.commit_draft(draft, self._condition)
        except SyncFailed:
            self._end()  # only the restart can tell what is true: what is on disk stays as it is for it
            raise
        except BaseException as err:
            await self._give_up(str(err))
            raise
        self._end()
        outgoing.give_back()
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
        await self._outgoing.stopped()
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
            self._outgoing.end()
            self._give_back()
            self._owner.upload_ended(self)

    def _give_back(self) -> None:
        self._owner.whole_left_bytes += self._reserved_bytes
        self._reserved_bytes = 0

    async def _until_written(self) -> None:
        """Wait for the steps under way, after which all that came is held or on disk."""
        self._outgoing.take_lent()
        if self._staging is not None:
            await self._staging
        await self._outgoing.written_behind()

    # --- staging ---

    def _stage_soon(self) -> None:
        if not self._ended and self._pending is None:
            self._staging = self._loop.create_task(self._stage_quietly())

    async def _stage_quietly(self) -> None:
        with contextlib.suppress(BlobkeepError):  # the next write, or the commit, meets the same and tells
            await self._outgoing.write()

    def opened(self) -> None:
        """See Destination."""
        self._give_back()  # it is held no more
        if self._pending is not None and not self._draft.is_unnamed:
            self._owner.told(self._pending, 0)

    # --- in threads, one at a time ---

    def open(self, whole: bool) -> DataWriter:
        """See Destination. Pending need not be shown of a folder with all of its bytes."""
        owner = self._owner
        blob_id = owner.ids.take()
        fd, sums = -1, Hasher()
        try:
            pending = first_records(
                self._draft, blob_id, owner.sequence.next(), time.time_ns(), self._is_update
            )
            if whole:
                fd = blob_folder.begin_data(owner.data_dir, blob_id)
            else:
                fd = blob_folder.stage(owner.data_dir, pending)
            parent_sync = owner.parent_syncs.next(owner.data_dir.parent(blob_id))
            self._past_cache_bytes = self._outgoing.past_cache_bytes(PAST_CACHE_BYTES)
            writer = DataWriter(fd, [sums], past_cache_bytes=self._past_cache_bytes)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            owner.given_up.discard(blob_id)
            raise
        self._draft.is_unnamed = whole
        self._pending, self._fd, self._sums, self._parent_sync = pending, fd, sums, parent_sync
        return writer

    def sync(self) -> None:
        """See Destination: the bytes, and the names that lead to them. Then only the state is missing."""
        assert self._pending is not None
        data_dir, blob_id = self._owner.data_dir, self._pending.id
        fd, self._fd = self._fd, -1
        try:
            if self.size < self._past_cache_bytes:  # fewer came than were declared
                durable.cut(fd, self.size)
            durable.sync_file(fd)
        finally:
            os.close(fd)
        durable.sync_folder(data_dir.folder(blob_id))
        self._owner.parent_syncs.sync(data_dir.parent(blob_id), self._parent_sync)
