"""The export of a store that is no directory: in the same format, each blob as it is when its turn comes.

There is no snapshot, since nobody can stop the other servers. Every blob that was there all the time is in
it, with its bytes of one moment; of those that are written or deleted meanwhile, each may be in it or not.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from common.checksum import CHUNK_BYTES, Bytes, Hasher
from common.errors import Busy, Damaged, NotFound, StorageFailed
from common.progress import Progress
from common.times import rfc3339
from services.engine import Admin
from services.read_all import all_bytes, all_pieces
from services.store import Event, Reading, Store
from services.tools.copying import everything
from services.tools.storage import BackupStream, Exported

_AT_ONCE = 16  # blobs that are opened before their turn; each holds up to a MiB
# With more blobs, which may become still more meanwhile, ids of 16 bits would not be enough.
_SMALL_COUNT = 60_000
_TRIES = 5


class _Opened(NamedTuple):
    """`body`: of a small blob; None: it is read when its turn comes."""

    reading: Reading
    history: Sequence[Event]
    body: bytes | None


async def write(store: Store, admin: Admin, fd: int, must_have_some: Callable[[], None]) -> Exported:
    """Write the whole tar to an open descriptor; not synced.

    Damaged blobs are left out and named. `must_have_some` is called where there is no blob. Raises OSError,
    Unavailable; StorageFailed, and there is no export, if a large blob can be read once, and not again, or if
    more blobs came meanwhile than there were ids left for.
    """
    at = rfc3339(time.time_ns())
    count = await _count(store)
    if not count:
        must_have_some()
    run = _Export(store, admin, BackupStream(fd, 16 if count <= _SMALL_COUNT else 32))
    with Progress("export", "blobs") as progress:
        await run.all(lambda done: progress(done, max(done, count) if count <= _SMALL_COUNT else 0))
    for one in await admin.find_damaged():
        run.left_out.setdefault(one.location or str(one.id), one.reason)
    left_out = [f"{location!r}: {reason}" for location, reason in run.left_out.items()]
    return await asyncio.to_thread(run.stream.close, at, left_out)


async def _count(store: Store) -> int:
    """How many blobs there are, up to one more than fit into 16 bits for certain."""
    count = 0
    async for _ in everything(store):
        count += 1
        if count > _SMALL_COUNT:
            break
    return count


class _Export:
    """`left_out`: why a damaged blob was left out, by location."""

    def __init__(self, store: Store, admin: Admin, stream: BackupStream) -> None:
        self.left_out: dict[str, str] = {}
        self.stream = stream
        self._store = store
        self._admin = admin

    async def all(self, progress: Callable[[int], None]) -> None:
        """Every blob, in the order of their locations. The next ones are opened meanwhile."""
        opening: deque[tuple[str, asyncio.Task[_Opened | None]]] = deque()
        try:
            async for blob in everything(self._store):
                opening.append((blob.location, asyncio.ensure_future(self._open(blob.location))))
                if len(opening) == _AT_ONCE:
                    await self._add(*opening.popleft())
                    progress(self.stream.blobs)
            while opening:
                await self._add(*opening.popleft())
        finally:
            for _, task in opening:
                task.cancel()
            for opened in await asyncio.gather(*(task for _, task in opening), return_exceptions=True):
                if isinstance(opened, _Opened):
                    opened.reading.close()

    async def _open(self, location: str) -> _Opened | None:
        """None if there is no blob any more. Raises Damaged, Unavailable."""
        for _ in range(_TRIES):
            try:
                reading = await self._store.open(location)
            except NotFound:
                return None
            try:
                history = list(reversed((await self._admin.describe(str(reading.blob.id))).history))
                body = None
                if reading.blob.size <= CHUNK_BYTES:
                    body = await all_bytes(reading)
                    reading.close()
                return _Opened(reading, history, body)
            except NotFound:  # it was replaced meanwhile
                reading.close()
            except BaseException:
                reading.close()
                raise
        raise Busy(f"{location!r} is written so often that it could not be read: try again.")

    async def _add(self, location: str, opening: asyncio.Task[_Opened | None]) -> None:
        try:
            opened = await opening
        except Damaged as err:
            self.left_out[location] = str(err)
            return
        if opened is None:
            return
        try:
            await self._write(opened)
        finally:
            opened.reading.close()

    async def _write(self, opened: _Opened) -> None:
        reading, history, body = opened
        blob = reading.blob
        sums = Hasher()
        try:
            if body is not None:
                sums.update(body)
            else:  # too large to keep: read twice, since a tar cannot take back what it has
                async for piece in all_pieces(reading):
                    await asyncio.to_thread(sums.update, piece)
            if sums.sha256() != blob.sha256:
                raise Damaged("its bytes are not those of its SHA-256")
        except Damaged as err:
            self.left_out[blob.location] = str(err)
            return
        # In threads: while a pipe takes nothing, requests to the store go on.
        await asyncio.to_thread(self.stream.begin, blob, history, sums.sha256(), sums.crcs())
        if body is not None:
            await asyncio.to_thread(self.stream.data, body)
            return
        again = hashlib.sha256()
        try:
            async for piece in all_pieces(reading):
                await asyncio.to_thread(again.update, piece)
                await asyncio.to_thread(self.stream.data, piece)
        except Damaged as err:
            raise StorageFailed(f"{blob.location!r}: {err} It was whole a moment ago. No export.") from err
        if again.digest() != blob.sha256:
            raise StorageFailed(f"{blob.location!r}: its bytes have changed since a moment ago. No export.")


async def _pieces(reading: Reading) -> AsyncIterator[Bytes]:
    if reading.blob.size:
        async for piece in reading.chunks(0, reading.blob.size - 1):
            yield piece
