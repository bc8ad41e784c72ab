"""Reading one blob of the local directory: every chunk is verified before a byte of it is sent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor

from common import checksum
from common.checksum import CHUNK_BYTES
from common.errors import DAMAGE_ERRNOS, Damaged
from services.store import Blob

# Up to here a read from the page cache costs less than handing it to a thread (49 µs): 64 KiB take 12.
INLINE_BYTES = 64 << 10


class LocalReading:
    """An open data.raw. Design rule 4: what it opened never changes; it reads it to the end."""

    def __init__(self, blob: Blob, fd: int, threads: Executor, report: Callable[[Blob, str], object]) -> None:
        self.blob = blob
        self._fd = fd
        self._threads = threads
        self._report = report
        self._reading: asyncio.Future[bytes] | None = None

    async def chunks(self, first: int, last: int) -> AsyncIterator[memoryview]:
        """See store.Reading. Reads whole chunks of 1 MiB, one at a time; yields what was asked of them."""
        chunk = first // CHUNK_BYTES
        while chunk * CHUNK_BYTES <= last and first <= last:
            start = chunk * CHUNK_BYTES
            data = await self._verified(chunk)
            yield memoryview(data)[max(first - start, 0) : last + 1 - start]
            chunk += 1

    async def _verified(self, chunk: int) -> bytes:
        """The bytes of one chunk, read with the exact size (a larger buffer costs more than the read)."""
        start = chunk * CHUNK_BYTES
        length = min(CHUNK_BYTES, self.blob.size - start)
        data = self._read_cached(length, start) if length <= INLINE_BYTES else None
        if data is None:
            self._reading = asyncio.get_running_loop().run_in_executor(
                self._threads, self._read, length, start
            )
            data = await asyncio.shield(self._reading)
            self._reading = None
        if len(data) != length:
            self._damaged(f"data.raw ends at byte {start + len(data)} instead of {self.blob.size}")
        if checksum.crc(data) != checksum.unpack_crc(self.blob.crcs, chunk):
            self._damaged(f"data.raw fails its checksum in MiB {chunk}")
        return data

    def _read_cached(self, length: int, start: int) -> bytes | None:
        """The bytes if they are in the page cache; None where the disk would block the loop."""
        buffer = bytearray(length)
        try:
            got = os.preadv(self._fd, [buffer], start, os.RWF_NOWAIT)
        except OSError:  # EAGAIN, or a file system that does not know the flag: the thread will tell
            return None
        return bytes(buffer) if got == length else None

    def _read(self, length: int, start: int) -> bytes:
        try:
            return os.pread(self._fd, length, start)
        except OSError as err:
            if err.errno not in DAMAGE_ERRNOS:
                raise
            return b""  # a sector that cannot be read: as good as missing

    def _damaged(self, reason: str) -> None:
        self._report(self.blob, reason)
        raise Damaged("This blob is damaged on disk and is not served: write it anew, or delete it.")

    def close(self) -> None:
        """Close the file, after a read that is still under way in a thread."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._reading is not None and not self._reading.done():
            self._reading.add_done_callback(lambda _: os.close(fd))
        else:
            os.close(fd)
