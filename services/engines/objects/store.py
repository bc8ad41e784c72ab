"""The store of the engine `objects`: see services/store.py. Its memory only makes it faster.

Any number of servers may run on one bucket. All see at once what one acknowledges: nothing is served from
memory, and nothing is refused because of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import abc, deque

from common.chunk_buffers import ChunkBuffers
from common.errors import BlobkeepError, Busy, Damaged, NotFound, TooLarge
from common.keyed_lock import KeyedLock
from common.self_report import NamedBlob
from services.attempts import Attempt
from services.copying import copy_bytes
from services.engine import Events
from services.engines.objects import attempts as attempted
from services.engines.objects import damage, history
from services.engines.objects.commit import Judge, StagedWrite, Tools, change_at_once
from services.engines.objects.expiry import Expiry
from services.engines.objects.held import HeldBlobs
from services.engines.objects.listing import BucketListing
from services.engines.objects.part_rooms import PartRooms
from services.engines.objects.pointer import Facts, Known, ObjectBlob
from services.engines.objects.reading import InlineReading, StagedReading
from services.engines.objects.upload import ObjectUpload, facts_of_body
from services.store import Blob, Condition, Content, DamagedBlob, Multiparts, Page, Usage

log = logging.getLogger("objects")

# A small blob is in memory while it is read. All together may take so many bytes; further ones wait.
_INLINE_READING_BYTES = 256 << 20
_BUFFERS = 64  # of 1 MiB, for chunks of larger blobs
_AHEAD = 32  # chunks that are asked for before their turn
_MAX_DAMAGED = 1000  # remembered, for people


class ObjectsStore:
    """See store.Store."""

    multiparts: Multiparts | None = None  # parts are blobs of their own
    is_remote = True

    def __init__(
        self,
        tools: Tools,
        events: Events,
        *,
        inline_bytes: int,
        part_bytes: int,
        max_blob_bytes: int = 0,
        max_uploads: int = 256,
        expiry: Expiry | None = None,
        hot_bytes: int = 0,
    ) -> None:
        """`hot_bytes`: the option."""
        self.tools = tools
        self.inline_bytes = inline_bytes
        self.part_bytes = part_bytes
        self.max_blob_bytes = max_blob_bytes
        self.expiry = expiry or Expiry()
        self.listing = BucketListing(tools, self.expiry)
        self.events = events
        self._max_uploads = max_uploads
        self._uploads: set[ObjectUpload] = set()
        self._whole = 0  # uploads by `write_whole`
        self._locks = KeyedLock()
        self._buffers = ChunkBuffers(_BUFFERS)
        self.rooms = PartRooms()
        self._ahead = asyncio.Semaphore(_AHEAD)
        self._held = HeldBlobs(hot_bytes)
        self._inline = _Budget(_INLINE_READING_BYTES)
        self._damaged: dict[str, DamagedBlob] = {}
        self._behind: set[asyncio.Task[None]] = set()

    # --- reading ---

    def peek(self, location: str, *, body: bool = True) -> tuple[Blob, bytes] | None:
        """See store.Store: always None, since another server may have changed the blob."""
        return None

    def open_nowait(self, location: str) -> None:
        """See store.Store: always None, as above."""

    async def stat(self, location: str) -> Blob | None:
        """See store.Store. One GET of the beginning of the pointer."""
        return self._served(location, await self.tools.pointers.read(location))

    async def open(self, location: str) -> InlineReading | StagedReading:
        """See store.Store. One GET; a small blob comes with it, unless it is held."""
        held = self._held.find(location)
        if held is None:
            known, whole = await self.tools.pointers.read_whole(location)
        else:
            known, whole = await self.tools.pointers.read_again(location, held)
            if known is held.known:
                self._held.is_current(location, held)
            else:
                self._held.drop(location)
        blob = self._served(location, known)
        if blob is None:
            raise NotFound("There is no such blob: create it with POST.")
        if blob.facts.part_bytes:
            reading = StagedReading(self.tools, blob, self._buffers, self._ahead, self.report_damage)
            await reading.prepare()
            return reading
        body = memoryview(whole)[known.body_at :]
        if held is None or known is not held.known:
            reason = damage.wrong_body(known, body)
            if reason:
                self.report_damage(blob, reason)
                raise Damaged(damage.TEXT)
            self._held.saw(location, known, whole)
        if not self._inline.has_taken(len(body)):
            await self._inline.take(len(body))
        return InlineReading(blob, body, self._inline.give_back)

    async def list(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """See store.Store."""
        return await self.listing.page(prefix, delimiter, after, limit)

    async def usage(self) -> Usage:
        """See store.Store: only what this server has in memory is counted."""
        sizes = [upload.size for upload in self._uploads if upload.is_staged]
        under_way = len(self._uploads) + self._whole
        return Usage(
            None, None, len(self._damaged), under_way, None, None, len(sizes), sum(sizes), None, None
        )

    async def check_writable(self) -> None:
        """See store.Store: the room of the object store is not known here."""

    def damaged_blobs(self, limit: int) -> abc.Sequence[DamagedBlob]:
        """See engine.Admin.damaged: those that this server found."""
        return list(self._damaged.values())[:limit]

    # --- writing ---

    async def begin(
        self, location: str, condition: Condition, content: Content, size: int | None, *, waits: bool = True
    ) -> ObjectUpload:
        """See store.Store. One GET, so that a write that cannot succeed is refused before its body.

        No GET if the body comes anyhow and will be stored in its pointer: the commit finds out.
        """
        self._admit(size)
        judge = self._judge(condition)
        known = None
        if waits or size is None or size > self.inline_bytes:
            known = await self.tools.pointers.read(location)
            judge(known)
        return self._begun(location, judge, content, known, size)

    async def begin_attempt(
        self, location: str, condition: Condition, content: Content, size: int | None
    ) -> tuple[ObjectUpload, Attempt]:
        """See attempts.Attempting."""
        self._admit(size)
        judge = self._judge(condition)
        known = await self.tools.pointers.read(location)
        judge(known)
        own = Attempt(self.tools.clock.new_txn(), known.generation)
        judge = attempted.unless_stopped(own, judge)
        return self._begun(location, judge, content, known, size, own.write), own

    def _begun(
        self,
        location: str,
        judge: Judge,
        content: Content,
        known: Known | None,
        size: int | None,
        write: str = "",
    ) -> ObjectUpload:
        is_large = size is not None and size > self.inline_bytes
        upload = ObjectUpload(self, location, judge, content, known, write, is_large=is_large)
        self._uploads.add(upload)
        return upload

    async def check_attempts(self, location: str, attempts: abc.Sequence[Attempt]) -> None:
        """See attempts.Attempting."""
        await attempted.check(self.tools, location, attempts)

    async def stop_attempts(
        self, location: str, attempts: abc.Sequence[Attempt], *, in_doubt: bool = False
    ) -> None:
        """See attempts.Attempting."""
        await attempted.stop(self.tools, location, attempts, in_doubt=in_doubt)

    def begin_nowait(self, location: str, condition: Condition, content: Content, size: int) -> None:
        """See store.Store: always None, as `open_nowait`."""

    async def write_whole(
        self, location: str, condition: Condition, content: Content, body: bytes, sha256: bytes = b""
    ) -> tuple[Blob, bool]:
        """See store.Store. One conditional write, if there is no blob or the pointer was seen recently."""
        self._admit(len(body))
        self._whole += 1
        judge = self._judge(condition)
        try:
            if len(body) <= self.inline_bytes:
                facts = await facts_of_body(content, body, sha256)
                return await self.commit_inline(location, judge, facts, (body,))
            upload = ObjectUpload(self, location, judge, content, None)
            try:
                await upload.write(body)
            except BaseException as err:
                await upload.abort(str(err))
                raise
            return await upload.commit()
        finally:
            self._whole -= 1

    copy = copy_bytes

    async def delete(self, location: str, condition: Condition) -> None:
        """See store.Store. Leaves a tombstone."""

        def judge(known: Known) -> None:
            blob = self.expiry.live(known)
            condition(blob, known.is_damaged)
            if blob is None and not known.is_damaged:
                raise NotFound("There is no such blob: nothing was deleted.")

        async with self._locks.of(location):
            before, after = await change_at_once(self.tools, location, judge, None)
        self._told_replaced(before, after)

    async def commit_inline(
        self, location: str, judge: Judge, facts: Facts, body: abc.Sequence[bytes], write: str = ""
    ) -> tuple[ObjectBlob, bool]:
        """For ObjectUpload: make a small body its location's blob. `write`: its txn; empty for a new one."""
        async with self._locks.of(location):
            before, after = await change_at_once(self.tools, location, judge, facts, *body, write=write)
        return self._changed(before, after, since=0)

    async def commit_staged(self, write: StagedWrite, facts: Facts) -> tuple[ObjectBlob, bool]:
        """For ObjectUpload: make the stored parts its location's blob."""
        async with self._locks.of(write.location):
            before, after = await write.take_effect(facts)
        return self._changed(before, after, since=2)

    def staged(self, write: StagedWrite) -> None:
        """For ObjectUpload: it is Pending."""
        self.events.told(history.of_entry(write.entry), 0)

    def given_up(self, write: StagedWrite) -> None:
        """For ObjectUpload: it is in Failure."""
        happened = history.of_entry(write.entry)
        self.events.told(happened, min(2, len(happened.events)))

    def upload_ended(self, upload: ObjectUpload) -> None:
        """For ObjectUpload."""
        self._uploads.discard(upload)

    # --- damage ---

    def report_damage(self, blob: ObjectBlob, reason: str) -> None:
        """Stop serving `blob`, whose bytes are damaged, in the background."""
        log.error("the blob of %r is damaged: %s", blob.location, reason)
        task = asyncio.ensure_future(self._condemn(blob, reason))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _condemn(self, blob: ObjectBlob, reason: str) -> None:
        try:
            done = await damage.condemn(self.tools, blob.location, blob.version, reason)
        except BlobkeepError as err:
            log.error("the damage of %r could not be noted: %s", blob.location, err)
            return
        if done:
            self._note_damage(DamagedBlob(blob.location, blob.id, reason, None))
            self.events.damaged(NamedBlob(blob.id, blob.location, reason))

    def _note_damage(self, damaged: DamagedBlob) -> None:
        if len(self._damaged) < _MAX_DAMAGED and damaged.location is not None:
            self._damaged[damaged.location] = damaged

    # --- inside ---

    def _served(self, location: str, known: Known) -> ObjectBlob | None:
        """What is there. Raises Damaged."""
        if known.is_damaged:
            self._note_damage(damage.of_pointer(location, known))
            raise Damaged(damage.TEXT)
        self._damaged.pop(location, None)
        return self.expiry.live(known)

    def _judge(self, condition: Condition) -> Judge:
        return lambda known: condition(self.expiry.live(known), known.is_damaged)

    def _admit(self, size: int | None) -> None:
        if size is not None and self.max_blob_bytes and size > self.max_blob_bytes:
            raise TooLarge(f"The body is over the limit of {self.max_blob_bytes} bytes (max_blob_size).")
        if len(self._uploads) + self._whole >= self._max_uploads:
            raise Busy(f"{self._max_uploads} uploads are under way: try again in a moment.")

    def _changed(self, before: Known, after: Known, since: int) -> tuple[ObjectBlob, bool]:
        blob = after.blob
        assert blob is not None
        self.events.told(history.of_pointer(blob.pointer, blob.facts), since)
        if before.pointer is None and not before.is_damaged:
            return blob, False
        self._told_replaced(before, after)
        return blob, self.expiry.live(before) is not None or before.is_damaged

    def _told_replaced(self, before: Known, after: Known) -> None:
        blob = before.blob
        if blob is not None and after.pointer is not None:
            happened = history.of_replaced(blob.pointer, blob.facts, after.pointer)
            self.events.told(happened, len(happened.events) - 1)
        if before.is_damaged:
            self._damaged.pop(after.pointer.location if after.pointer is not None else "", None)

    async def close(self) -> None:
        """End every upload, and what goes on in the background."""
        for upload in list(self._uploads):
            await upload.abort("the server stops")
        if self._behind:
            await asyncio.wait(self._behind)


class _Budget:
    """A limit on bytes in memory. A request for more waits, first come, first served."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def has_taken(self, size: int) -> bool:
        """Take them if that needs no wait, as it nearly always does not."""
        if self._waiting or self._free < size:
            return False
        self._free -= size
        return True

    async def take(self, size: int) -> None:
        """Wait for them, and take them."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            raise

    def give_back(self, size: int) -> None:
        """Let others have them."""
        self._free += size
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            wanted, turn = self._waiting.popleft()
            if not turn.done():  # else it was cancelled while it waited
                self._free -= wanted
                turn.set_result(None)
