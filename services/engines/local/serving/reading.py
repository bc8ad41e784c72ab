"""Reading one blob of the local directory: every chunk is verified before a byte of it is sent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import Protocol

from common import checksum
from common.checksum import CHUNK_BYTES, Bytes
from common.chunk_buffers import ChunkBuffers, Held
from common.errors import FOREIGN_ERRNOS, BlobkeepError, Damaged
from common.ours import read_at
from common.sealed import Sealed
from common.transfer import Sink
from services.engines.local.disk.blob import Blob
from services.engines.local.serving.index import DAMAGED_TEXT
from services.engines.local.serving.sealed_chunks import SealedChunks

# Up to here a read from the page cache costs less than handing it to a thread (49 µs): 64 KiB take 12.
INLINE_BYTES = 64 << 10
# The most that a client gets at a time, over TLS for one. A client that takes nothing costs some three times
# as much: the piece, and its encrypted form. 64 KiB would cost less memory, but half as much processor time
# again.
PIECE_BYTES = 128 << 10


class Reports(Protocol):
    """Receives what a reading finds."""

    def report_damage(self, blob: Blob, reason: str) -> None: ...

    def unreadable(self, blob: Blob, err: OSError) -> BlobkeepError:
        """The error to raise if the disk did not give the bytes, which may still be right."""
        ...


class SealedReading:
    """A blob of one chunk that is kept: it needs no file and no read."""

    def __init__(self, blob: Blob, sealed: Sealed) -> None:
        self.blob = blob
        self._sealed = sealed

    async def chunks(self, first: int, last: int) -> AsyncIterator[bytes]:
        """See store.Reading."""
        for at in range(first, last + 1, PIECE_BYTES):
            yield self._sealed.read(at, min(PIECE_BYTES, last + 1 - at))

    async def pour(self, first: int, last: int, sink: Sink) -> None:
        """See store.Reading."""
        while first <= last:
            first += sink.take_file(self._sealed.fd, first, last + 1 - first)
            if first <= last:
                await sink.ready()

    def pour_now(self, sink: Sink) -> int:
        """See store.Reading."""
        return sink.take_file(self._sealed.fd, 0, self.blob.size)

    def close(self) -> None:
        """See store.Reading: the memory is given back with this object."""


class LocalReading:
    """An open data.raw. Design rule 4: what it opened never changes; it reads it to the end."""

    def __init__(
        self,
        blob: Blob,
        fd: int,
        threads: Executor,
        buffers: ChunkBuffers,
        reports: Reports,
        kept: SealedChunks,
    ) -> None:
        self.blob = blob
        self._fd = fd
        self._threads = threads
        self._buffers = buffers
        self._reports = reports
        self._kept = kept
        self._reading: asyncio.Future[int] | None = None

    async def chunks(self, first: int, last: int) -> AsyncIterator[bytes]:
        """See store.Reading. Reads and verifies whole chunks of 1 MiB; yields at most PIECE_BYTES at once."""
        at = first
        while at <= last:
            chunk, begin = divmod(at, CHUNK_BYTES)
            start = at - begin
            length = min(CHUNK_BYTES, self.blob.size - start)
            end = min(begin + PIECE_BYTES, length, last + 1 - start)
            sealed = self._kept.find(self.blob, chunk)
            data = self._read_cached(length, start) if not sealed and length <= INLINE_BYTES else None
            if sealed is not None:
                piece = [sealed.read(begin, end - begin)]
            elif data is not None:
                self._verify(data, chunk)
                piece = [data[begin:end]]
            else:
                async with self._buffers.borrow(self, chunk) as held:
                    view = await self._view(held, chunk, length)
                    piece = [bytes(view[begin:end])]
                    held.more = end < length and start + end <= last
            at = start + end
            data = None
            yield piece.pop()  # the client may take its time: nobody but the caller holds these bytes

    async def pour(self, first: int, last: int, sink: Sink) -> None:
        """See store.Reading.

        A chunk costs a copy from the page cache, its CRC, and a copy into the socket, from memory that stays
        in the processor's cache. To send the file itself could send bytes that rotted after the check. A kept
        chunk costs neither a copy nor a CRC.
        """
        at = first
        while at <= last:
            chunk, begin = divmod(at, CHUNK_BYTES)
            start = at - begin
            length = min(CHUNK_BYTES, self.blob.size - start)
            end = min(length, last + 1 - start)
            sealed = self._kept.find(self.blob, chunk)
            if sealed is not None:
                begin += sink.take_file(sealed.fd, begin, end - begin)
            else:
                async with self._buffers.borrow(self, chunk) as held:
                    view = await self._view(held, chunk, length)
                    begin += sink.take(view[begin:end])
                    held.more = begin < end  # where another reader takes the buffer: read and verified anew
            at = start + begin
            if begin < end:
                await sink.ready()
            elif at <= last:
                await asyncio.sleep(0)  # others have their turn, however fast this client is

    def pour_now(self, sink: Sink) -> int:
        """See store.Reading: at most one chunk, which is kept, or in the page cache."""
        length = min(CHUNK_BYTES, self.blob.size)
        sealed = self._kept.find(self.blob, 0)
        if sealed is not None:
            return sink.take_file(sealed.fd, 0, length)
        data = self._buffers.take_now()
        if data is None:
            return 0
        sent = length
        try:
            view = memoryview(data)[:length]
            if not self._read_now(view, 0):
                return 0
            self._kept.offer(self.blob, 0, view)
            sent = sink.take(view)
            return sent
        finally:
            self._buffers.put_back(data, self, 0 if sent < length else None)

    def _read_cached(self, length: int, start: int) -> bytes | None:
        """The bytes if they are in the page cache; None where the disk would block the loop."""
        buffer = bytearray(length)  # of the exact size: a larger one costs more than the read
        try:
            got = os.preadv(self._fd, [buffer], start, os.RWF_NOWAIT)
        except OSError:  # EAGAIN, or a file system that does not know the flag: the thread will tell
            return None
        return bytes(buffer) if got == length else None

    async def _view(self, held: Held, chunk: int, length: int) -> memoryview:
        """The verified bytes of `chunk` in the buffer `held`, read if they are not there. See `_fill`."""
        view = memoryview(held.data)[:length]
        if not held.filled:
            await self._fill(view, chunk)
            self._kept.offer(self.blob, chunk, view)
        return view

    async def _fill(self, view: memoryview, chunk: int) -> None:
        """Read one chunk, as long as `view`, and verify it; in a thread where that waits for the disk."""
        if self._read_now(view, chunk):
            return
        loop = asyncio.get_running_loop()
        self._reading = loop.run_in_executor(self._threads, self._read, view, chunk * CHUNK_BYTES)
        try:
            got = await asyncio.shield(self._reading)
        except OSError as err:
            self._reading = None
            raise self._reports.unreadable(self.blob, err) from err
        self._reading = None
        self._verify(view[:got], chunk)

    def _read_now(self, view: memoryview, chunk: int) -> bool:
        """Read and verify one chunk, if it is in the page cache; False if it is not."""
        try:
            if os.preadv(self._fd, (view,), chunk * CHUNK_BYTES, os.RWF_NOWAIT) < len(view):
                return False
        except OSError:  # as above
            return False
        self._verify(view, chunk)
        return True

    def _read(self, view: memoryview, start: int) -> int:
        try:
            return read_at(self._fd, view, start)
        except OSError as err:
            if err.errno not in FOREIGN_ERRNOS:
                raise
            return 0  # no file that we wrote: as good as missing

    def _verify(self, data: Bytes, chunk: int) -> None:
        start = chunk * CHUNK_BYTES
        if len(data) != min(CHUNK_BYTES, self.blob.size - start):
            self._damaged(f"data.raw ends at byte {start + len(data)} instead of {self.blob.size}")
        if checksum.crc(data) != self.blob.crc(chunk):
            self._damaged(f"data.raw fails its checksum in MiB {chunk}")

    def _damaged(self, reason: str) -> None:
        self._reports.report_damage(self.blob, reason)
        raise Damaged(DAMAGED_TEXT)

    def close(self) -> None:
        """Close the file, after a read that is still under way in a thread."""
        self._buffers.forget(self)
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._reading is not None and not self._reading.done():
            self._reading.add_done_callback(lambda _: os.close(fd))
        else:
            os.close(fd)
