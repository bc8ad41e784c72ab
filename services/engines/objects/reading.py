"""Reading one blob of the bucket: every chunk is verified before a byte of it is sent."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator, Callable

from common import checksum
from common.checksum import CHUNK_BYTES, Bytes
from common.chunk_buffers import ChunkBuffers
from common.errors import Damaged, Unavailable
from common.transfer import Sink
from services.engines.objects import damage, keys
from services.engines.objects.commit import Tools
from services.engines.objects.pointer import ObjectBlob

# What a client is given at once.
PIECE_BYTES = 256 << 10

OnDamage = Callable[[ObjectBlob, str], object]
"""Called with a blob whose bytes are not what was written, and why."""


class InlineReading:
    """A blob that was read with its pointer and verified: its bytes are in memory."""

    def __init__(self, blob: ObjectBlob, body: memoryview, give_back: Callable[[int], object]) -> None:
        self.blob = blob
        self._body = body
        self._give_back: Callable[[int], object] | None = give_back  # its bytes in memory, when it is closed

    async def chunks(self, first: int, last: int) -> AsyncIterator[Bytes]:
        """See store.Reading."""
        for at in range(first, last + 1, PIECE_BYTES):
            yield self._body[at : min(at + PIECE_BYTES, last + 1)]

    async def pour(self, first: int, last: int, sink: Sink) -> None:
        """See store.Reading."""
        while first <= last:
            first += sink.take(self._body[first : last + 1])
            if first <= last:
                await sink.ready()

    def pour_now(self, sink: Sink) -> int:
        """See store.Reading."""
        return sink.take(self._body)

    def close(self) -> None:
        """See store.Reading."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back(len(self._body))


class StagedReading:
    """A blob whose bytes are in objects of their own, which never change.

    A chunk is one GET. While the client takes one chunk, the next one is read, if few others do the same.
    """

    def __init__(
        self,
        tools: Tools,
        blob: ObjectBlob,
        buffers: ChunkBuffers,
        ahead: asyncio.Semaphore,
        report: OnDamage,
    ) -> None:
        self.blob = blob
        self._tools = tools
        self._buffers = buffers
        self._ahead = ahead
        self._report = report
        self._crcs: Bytes = blob.facts.crcs
        self._next: tuple[int, asyncio.Task[Bytes]] | None = None  # asked for ahead: holds a place of `ahead`

    async def prepare(self) -> None:
        """Read the checksums, if they are in an object of their own. Raises Damaged, Unavailable."""
        if self.blob.facts.sums_crc is None:
            return
        got = await self._tools.bucket.get(keys.sums_key(self.blob.location, self.blob.version))
        if got is None or checksum.crc(got.data) != self.blob.facts.sums_crc:
            raise await self._wrong("the object of its checksums is missing or wrong")
        self._crcs = got.data

    async def chunks(self, first: int, last: int) -> AsyncIterator[bytes]:
        """See store.Reading."""
        at = first
        while at <= last:
            chunk, begin = divmod(at, CHUNK_BYTES)
            start = at - begin
            end = min(begin + PIECE_BYTES, self._length(chunk), last + 1 - start)
            async with self._buffers.borrow(self, chunk) as held:
                if not held.filled:
                    await self._fill(held.data, chunk, last)
                piece = [bytes(memoryview(held.data)[begin:end])]
                held.more = end < self._length(chunk) and start + end <= last
            at = start + end
            yield piece.pop()  # the client may take its time: nobody but the caller holds these bytes

    async def pour(self, first: int, last: int, sink: Sink) -> None:
        """See store.Reading."""
        at = first
        while at <= last:
            chunk, begin = divmod(at, CHUNK_BYTES)
            start = at - begin
            end = min(self._length(chunk), last + 1 - start)
            async with self._buffers.borrow(self, chunk) as held:
                if not held.filled:
                    await self._fill(held.data, chunk, last)
                begin += sink.take(memoryview(held.data)[begin:end])
                held.more = begin < end  # where another reader takes the buffer, it is read once more
            at = start + begin
            if begin < end:
                await sink.ready()

    def pour_now(self, sink: Sink) -> int:
        """See store.Reading: each chunk waits for its object."""
        return 0

    def close(self) -> None:
        """See store.Reading."""
        self._buffers.forget(self)
        self._drop_next()

    def _length(self, chunk: int) -> int:
        return min(CHUNK_BYTES, self.blob.size - chunk * CHUNK_BYTES)

    async def _fill(self, buffer: mmap.mmap, chunk: int, last: int) -> None:
        """Put a chunk into `buffer`, verified; ask for the next one of those up to byte `last`."""
        asked, self._next = self._next, None
        if asked is not None:
            self._ahead.release()
            if asked[0] != chunk:
                asked[1].cancel()
                asked = None
        data = await (asked[1] if asked is not None else self._fetch(chunk))
        if (chunk + 1) * CHUNK_BYTES <= last and not self._ahead.locked():
            await self._ahead.acquire()  # at once: it is not locked
            self._next = chunk + 1, asyncio.ensure_future(self._fetch(chunk + 1))
        buffer[: len(data)] = data

    async def _fetch(self, chunk: int) -> Bytes:
        """One chunk, verified. A wrong one is read once more: it may have changed on its way."""
        facts = self.blob.facts
        part, first = divmod(chunk * CHUNK_BYTES, facts.part_bytes)
        key = keys.part_key(self.blob.location, self.blob.version, part)
        reason = ""
        for _ in range(2):
            got = await self._tools.bucket.get(key, first, self._length(chunk))
            if got is None:
                reason = f"part {part} of its data is missing"
                break
            reason = damage.wrong_chunk(facts, self._crcs, chunk, got.data)
            if not reason:
                return got.data
        raise await self._wrong(reason)

    async def _wrong(self, reason: str) -> Damaged | Unavailable:
        """What to raise: the data of a blob that was replaced long ago may be gone."""
        known = await self._tools.pointers.read(self.blob.location)
        if known.pointer is None or known.pointer.data_txn != self.blob.version:
            return Unavailable("This blob was replaced while it was read, and its bytes are gone: read anew.")
        self._report(self.blob, reason)
        return Damaged(damage.TEXT)

    def _drop_next(self) -> None:
        if self._next is not None:
            self._next[1].cancel()
            self._next = None
            self._ahead.release()
