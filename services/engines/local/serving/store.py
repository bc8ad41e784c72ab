"""The store on one local directory: its index, and the order of writes of each location.

Only the server has it, which holds the state lock (design rule 1). Everything here runs on the event loop;
disk work is handed to the committer (durable steps) or to a few threads (the rest).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from common import logs
from common.config import Config
from common.errors import (
    FOREIGN_ERRNOS,
    SHORTAGE_ERRNOS,
    BlobkeepError,
    Damaged,
    NotFound,
    SyncFailed,
    Unreadable,
    from_os_error,
)
from common.keyed_lock import KeyedLock
from common.states import MSG_DELETED, State
from common.threads import Threads
from services.engine import Events
from services.engines.local.disk import blob_folder
from services.engines.local.disk.blob import Blob, served
from services.engines.local.disk.keeping import Keeping
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.place import Place
from services.engines.local.disk.record import BlobRecord
from services.engines.local.index.writer import IndexWriter
from services.engines.local.recovery.multiparts import Loaded
from services.engines.local.recovery.reconciled import Reconciled
from services.engines.local.serving.admission import Admission
from services.engines.local.serving.change import Change, Draft
from services.engines.local.serving.comparison import Comparison
from services.engines.local.serving.copies import SourceChanged, copy
from services.engines.local.serving.damage import LocalDamage
from services.engines.local.serving.expiry import Expiry
from services.engines.local.serving.free_space import FreeSpace
from services.engines.local.serving.garbage import Garbage
from services.engines.local.serving.given_up import GivenUp
from services.engines.local.serving.hot_reads import HotReads
from services.engines.local.serving.ids import IdAllocator, Sequence
from services.engines.local.serving.index import DAMAGED_TEXT, Index, damaged_of
from services.engines.local.serving.index_keeper import committer_for, keeper_for
from services.engines.local.serving.leftovers import remove_leftovers_slowly
from services.engines.local.serving.lent_pieces import PieceMemory
from services.engines.local.serving.limits import PrefixLimits
from services.engines.local.serving.multiparts import LocalMultiparts
from services.engines.local.serving.names_comparison import NamesComparison
from services.engines.local.serving.reading import LocalReading
from services.engines.local.serving.shared_syncs import SharedSyncs
from services.engines.local.serving.unread import Unread
from services.engines.local.serving.upload import ALL_WHOLE_BYTES, LocalUpload
from services.engines.local.serving.usage import usage_of
from services.store import Blob as AnyBlob
from services.store import Condition, Content, Page, Upload, Usage

log = logging.getLogger(__name__)

T = TypeVar("T")


class LocalStore:
    """See store.Store. `on_fatal` is called, once, when a sync failed: the server must stop."""

    is_remote = False

    def __init__(
        self,
        data_dir: Layout,
        found: Reconciled,
        config: Config,
        events: Events,
        on_fatal: Callable[[BlobkeepError], None],
        multiparts: Loaded | None = None,
        writer: IndexWriter | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.small_body_bytes = config.small_body_bytes
        self.max_blob_bytes = config.max_blob_size_bytes
        self.keeping = Keeping(deleted_s=config.keep_deleted_s)
        self.expiry, self.limits = Expiry(config.expire_s), PrefixLimits(data_dir, config.max_bytes)
        self.space = FreeSpace(data_dir.root, config.min_free_space_bytes)
        self.place = Place(data_dir.root, read_only=data_dir.read_only)
        self.index = Index(found.live, damaged_of(found))
        found.live = {}  # nothing is held twice for long
        self.ids = IdAllocator(data_dir, self.index.blobs.ids)
        self._admission = Admission(config, self.index, self.place, self.space, self.ids)
        self.admit = self._admission.admit
        self.sequence = Sequence(found.max_seq)
        self.threads: Executor = Threads(most=8, name="disk")
        self.hot = HotReads(
            data_dir, self.index, self.expiry, self.limits, config.hot_bytes, self.threads, self
        )
        self.peek, self.open_nowait, self.reading = self.hot.peek, self.hot.open_nowait, self.hot.reading
        # A page by id reads hundreds of files: it must not keep blobs from being opened, or uploads staged.
        self._by_id_thread: Executor = Threads(1, "by-id")
        self._on_fatal: Callable[[BlobkeepError], None] | None = on_fatal
        self._keeper = keeper_for(self.index.blobs, writer, self.sequence, self.stop)
        self.committer = committer_for(data_dir, config.sync, self.stop_for, self._keeper)
        self._events, self.garbage = events, Garbage()
        self.garbage.failed(len(found.failures), 0)  # how long their data is was not looked at
        self._uploads: set[LocalUpload] = set()
        self.whole_left_bytes = ALL_WHOLE_BYTES
        self.given_up, self.parent_syncs, self.piece_memory = GivenUp(self), SharedSyncs(), PieceMemory()
        self._whole = self.read_errors = 0  # uploads by `write_whole`; reads that the disk refused so far
        self._locks = KeyedLock()
        self.damage = LocalDamage(
            data_dir, self.index, self._locks, self.committer, events, self.stop_for, found
        )
        self.index.unreadable, self.index.unadopted = found.unreadable, found.unadopted
        self.index.unplaced, self.index.is_over = found.unplaced, self.expiry.is_over
        self._unread = Unread(
            *(data_dir, self.index, self._locks, self.committer, self.damage, self.sequence, self.garbage)
        )
        self.comparison = Comparison(
            *(data_dir, self.index, self._locks, self.damage, self._unread, self._keeper, found.by_index)
        )
        self.names = NamesComparison(self, self._unread.read_again, found)
        if self._keeper is not None:
            self._keeper.is_settled = self.names.is_settled
        self.multiparts = LocalMultiparts(self, multiparts or Loaded())

    # --- reading ---

    async def stat(self, location: str) -> Blob | None:
        """See store.Store."""
        await self.index.fetch(location)
        return self.index.find(location)

    async def open(self, location: str) -> LocalReading:
        """See store.Store. Ids are used again, so a second look at the index makes sure of the right blob."""
        while True:
            await self.index.fetch(location)
            blob = self.index.find(location)
            if blob is None:
                raise NotFound("There is no such blob: create it with POST.")
            try:
                fd = await self._in_thread(blob_folder.open_data, self.data_dir, blob.id)
            except OSError as err:
                await self._judge_unopened(blob, err)
                continue
            if self.index.shows(blob):  # design rule 3
                self.limits.read(blob)
                return self.reading(blob, fd, self)
            os.close(fd)

    async def _judge_unopened(self, blob: Blob, err: OSError) -> None:
        """Raise why the data of `blob` could not be opened. Returns if the index has changed: look again.

        A write retires the old blob on disk before the index shows it, and the gc may be quicker. So a
        missing file means nothing while a write of its location is under way. Raises Damaged, after it is
        reported, and other errors.
        """
        async with self._locks.of(blob.location):
            if not self.index.shows(blob):
                return
            if self._on_fatal is None:  # a write that failed in its middle: only the restart can tell
                raise SyncFailed("The disk failed to keep what was written: the server stops.") from err
            if err.errno in FOREIGN_ERRNOS or isinstance(err, FileNotFoundError):
                await self._in_thread(self.place.look)
                if self.place.is_gone:
                    self.place.check()
                self.report_damage(blob, f"data.raw cannot be opened: {err.strerror}")
                raise Damaged(DAMAGED_TEXT) from err
        raise self.unreadable(blob, err) from err

    async def list(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """See store.Store."""
        return await self.index.listing(prefix, delimiter, after, limit)

    async def by_id(self, step: Callable[..., T], *args: object) -> T:
        """For LocalAdmin: run a step that reads states by id, in the one thread that does so."""
        return await asyncio.get_running_loop().run_in_executor(self._by_id_thread, step, *args)

    async def usage(self) -> Usage:
        """See store.Store."""
        if self.damage.nameless:
            await self._in_thread(self.damage.forget_dropped)
        return usage_of(
            *(self.index, self.damage, self.garbage, self._uploads),
            under_way=self.uploads() + self._whole,
            ids=self.ids.capacity,
            read_errors=self.read_errors,
        )

    # --- writing ---

    async def begin(
        self, location: str, condition: Condition, content: Content, size: int | None, *, waits: bool = True
    ) -> LocalUpload:
        """See store.Store."""
        return await self.begin_draft(Draft(location, content), condition, size)

    def begin_nowait(self, location: str, condition: Condition, content: Content, size: int) -> Upload | None:
        """See store.Store."""
        return None if self.index.may_wait else self._begun(Draft(location, content), condition, size)

    async def begin_draft(self, draft: Draft, condition: Condition, size: int | None) -> LocalUpload:
        """For `copies` and `joining`: as `begin`."""
        if self.index.may_wait:
            await self.index.fetch(draft.location)
        return self._begun(draft, condition, size)

    def _begun(self, draft: Draft, condition: Condition, size: int | None) -> LocalUpload:
        self.admit(draft.location, condition, size, self.uploads(), size or 0)
        upload = LocalUpload(self, draft, condition, draft.location in self.index.blobs, size)
        self._uploads.add(upload)
        return upload

    def adopt(self, upload: LocalUpload) -> None:
        """For `joining`: an upload made there."""
        self._uploads.add(upload)

    async def write_whole(
        self, location: str, condition: Condition, content: Content, body: bytes, sha256: bytes = b""
    ) -> tuple[Blob, bool]:
        """See store.Store. Its body has come, so it is admitted under the location's lock, once."""
        self._admission.check_limits(len(body), self._whole)
        self._whole += 1
        try:
            draft = Draft(location, content, body)
            draft.sha256 = sha256
            blob, was_there = await self._change(location, condition, draft, room_bytes=len(body))
        finally:
            self._whole -= 1
        assert blob is not None
        return blob, was_there

    async def commit_draft(self, draft: Draft, condition: Condition) -> tuple[Blob, bool]:
        """For LocalUpload: make `draft` its location's blob, under the location's lock."""
        blob, was_there = await self._change(draft.location, condition, draft)
        assert blob is not None
        return blob, was_there

    copy = copy

    async def delete(self, location: str, condition: Condition) -> None:
        """See store.Store."""

        def is_there(blob: AnyBlob | None, damaged: bool) -> None:
            condition(blob, damaged)
            if blob is None and not damaged:
                raise NotFound("There is no such blob: nothing was deleted.")

        await self._change(location, is_there, None)

    async def end(self, blob: Blob, why: str) -> None:
        """For `expiry`: delete it if it is still its location's; nothing is kept."""
        await self._change(blob.location, lambda *_: None, None, ends=blob, why=why)

    async def _change(
        self,
        location: str,
        condition: Condition,
        draft: Draft | None,
        *,
        ends: Blob | None = None,
        why: str = MSG_DELETED,
        room_bytes: int | None = None,
    ) -> tuple[Blob | None, bool]:
        """One write: judged, made durable and shown, under the locks of its location and of a move's source.

        `room_bytes`: the size of one that was not admitted before.
        """
        source = draft.source if draft is not None else None
        index, locks = self.index, self._locks
        turn = locks.of(location) if source is None else locks.of_two(location, source.location)
        async with turn:
            if source is not None:
                await index.fetch(source.location)
                if not index.shows(source):
                    raise SourceChanged
                await self.damage.settle_now(source.location)
            self.place.check()
            if index.may_wait:
                await index.fetch(location)
            old = index.get(location)
            damaged = index.damaged.get(location)
            index.must_be_known(location)
            seen = None if old is None or index.is_over(old) else old
            condition(seen, damaged is not None)
            if ends is not None and not index.shows(ends):
                return None, False
            if room_bytes is not None:
                self._admission.take_room(room_bytes)
            if location in self.damage.unsettled:
                await self.damage.settle_now(location)
            if damaged is not None and damaged.name is None:
                damaged = await self.damage.quarantine_now(location, damaged)
            released = (damaged.name, damaged.note) if damaged and damaged.name and damaged.note else None
            keeps = seen is not None and ends is None and self.keeping.keeps(location)
            change = Change(
                *(self.data_dir, self.ids, self.sequence, draft, old, released),
                leaves_nothing=draft is None and self.space.is_short_after_delete(),
                keeps=keeps,
                why=why,
            )
            if source is not None:  # its bytes live on under another name
                change.then = Change(self.data_dir, self.ids, self.sequence, old=source, after=change)
            record = await self.committer.submit(change)
            blob = served(record) if draft is not None and record is not None else None
            index.show(location, blob)
            if draft is not None and record is not None:
                was_told = draft.staged is not None and not draft.is_unnamed
                self._events.told(record, len(draft.staged.events) if was_told and draft.staged else 0)
                if draft.afterwards is not None:
                    await draft.afterwards()
            if source is not None and change.then is not None:
                if change.then.error is not None:
                    raise change.then.error
                index.show(source.location, None)
            for one in (change, change.then):
                if one is not None and one.failure is not None:
                    self.told(one.failure, len(one.failure.events) - 1)
            return blob, seen is not None or damaged is not None

    def told(self, record: BlobRecord, since: int) -> None:
        """A blob went through `record.events[since:]`, and is now as `record` says."""
        self._events.told(record, since)
        if record.state is State.FAILURE:
            self.garbage.failed(1, record.size)

    def stop_for(self, err: SyncFailed) -> None:
        """After a failed sync, wherever it was: tell the server, once, to stop (design rule 5)."""
        self.stop(err, "a sync failed, the server stops: %s", err.__cause__ or err)

    def stop(self, err: BlobkeepError, text: str, *args: object) -> None:
        """Tell the server, once, to stop, and say why."""
        if self._on_fatal is not None:
            log.critical(text, *args)
            self._on_fatal(err)
            self._on_fatal = None

    def uploads(self) -> int:
        """How many uploads are under way, single parts included."""
        return len(self._uploads) + self.multiparts.writing()

    def upload_ended(self, upload: LocalUpload) -> None:
        """For LocalUpload."""
        self._uploads.discard(upload)

    async def check_writable(self) -> None:
        """See store.Store."""
        self.space.check(0)

    @property
    def is_stopping(self) -> bool:
        """Whether the server was told to stop."""
        return self._on_fatal is None

    async def remove_leftovers(self) -> None:
        """Once, after the start: see `leftovers`."""
        if not self.data_dir.read_only:
            await remove_leftovers_slowly(self.data_dir, self.index, self.committer)

    # --- damage ---

    def report_damage(self, blob: Blob, reason: str) -> None:
        """Stop serving `blob`, if it is still its location's, and quarantine it in the background."""
        (self.damage.report if self.comparison.is_over else self.comparison.doubt)(blob, reason)

    def unreadable(self, blob: Blob, err: OSError) -> BlobkeepError:
        """The error to raise if the disk did not give the bytes of `blob`. They may be right, so it stays."""
        if err.errno in SHORTAGE_ERRNOS:
            return from_os_error(err, "read the blob")
        self.read_errors += 1
        about = logs.about(blob.id, blob.location)
        log.error("blob %d of %r: cannot be read: %s", blob.id, blob.location, err.strerror, extra=about)
        return Unreadable("The disk does not give the bytes of this blob: ask again in a moment.")

    def find_by_id(self, blob_id: int, seq: int) -> Blob | None:
        """The live blob with this id and sequence number, as a damage report names it; 0: any number."""
        blob = self.index.by_id(blob_id)
        return blob if blob is not None and seq in (blob.seq, 0) else None

    async def _in_thread(self, step: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, step, *args)

    async def close(self) -> None:
        """End every upload, finish what was submitted, end the threads."""
        await self.multiparts.close()
        for upload in list(self._uploads):
            await upload.abort("the server stops")
        await self._unread.close()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self.committer.stop)
        if self._keeper is not None:
            await asyncio.to_thread(self._keeper.stop, seals=not self.committer.is_broken)
        await loop.run_in_executor(None, self.threads.shutdown)
        await loop.run_in_executor(None, self._by_id_thread.shutdown)
