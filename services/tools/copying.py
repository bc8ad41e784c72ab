"""Makes one engine hold what another holds: the passes of `copy`, while the first engine is served.

Both sides are read in the order of their locations, so nothing has to be remembered. A blob with the same
bytes, time and metadata on both sides is skipped. An interrupted pass is started again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from common.checksum import Bytes
from common.errors import CorruptRecord, Damaged, NotFound
from services.engine import Admin
from services.read_all import all_blobs, all_pieces
from services.rules.locations import RECORDS
from services.store import Blob, Content, Event, Origin, Store, unconditional
from services.tools.storage import DirectorySnapshot, HeldBlob, Record, Storage, history_of
from services.tools.task_pool import TaskPool

# A front end's records begin with NUL; this one says of a target what it is a copy of.
NOTE = RECORDS + "copy"
PARALLEL = 16  # blobs that are copied at a time


@dataclass(frozen=True)
class Original:
    """A blob of the source. `sha256` is empty where it was never computed; `held` is the source's own."""

    location: str
    size: int
    sha256: bytes
    modified_ns: int
    type: str
    encoding: str
    metadata: Mapping[str, str]
    held: object


class Source(Protocol):
    """The source of the copies. `problems`: sentences about blobs that it has and cannot give."""

    problems: list[str]

    def blobs(self) -> AsyncIterator[Original]:
        """All that are served, records of front ends too, in the order of their locations."""
        ...

    async def history(self, original: Original) -> Sequence[Event]:
        """Oldest first. Raises NotFound where it is not there any more."""
        ...

    def chunks(self, original: Original) -> AsyncGenerator[Bytes, None]:
        """Its bytes, each piece compared with its checksum. Raises NotFound, Damaged, Unavailable."""
        ...


class StoreSource:
    """An engine that is open here."""

    def __init__(self, store: Store, admin: Admin) -> None:
        self.problems: list[str] = []
        self._store = store
        self._admin = admin

    async def blobs(self) -> AsyncIterator[Original]:
        """See Source."""
        async for blob in everything(self._store):
            yield _original(blob)
        self.problems += [f"{one.location!r}: {one.reason}" for one in await self._admin.find_damaged()]

    async def history(self, original: Original) -> Sequence[Event]:
        """See Source."""
        assert isinstance(original.held, str)
        return list(reversed((await self._admin.describe(original.held)).history))

    async def chunks(self, original: Original) -> AsyncGenerator[Bytes, None]:
        """See Source."""
        reading = await self._store.open(original.location)
        try:
            if str(reading.blob.id) != original.held:
                raise NotFound("It was replaced meanwhile.")
            async for piece in all_pieces(reading):
                yield piece
        finally:
            reading.close()


class SnapshotSource:
    """A directory that a server holds, as it was at one moment."""

    def __init__(self, taken: DirectorySnapshot) -> None:
        self.problems = list(taken.left_out)
        self._taken = taken

    async def blobs(self) -> AsyncIterator[Original]:
        """See Source."""
        for held in sorted(self._taken.blobs, key=lambda held: held.location):
            try:
                record = await asyncio.to_thread(self._taken.record_of, held)
            except CorruptRecord as err:
                self.problems.append(f"{held.location!r}: {err}")
                continue
            size = held.size if record.is_original else record.size
            yield Original(
                *(record.location, size, record.sha256, record.modified_ns),
                *(record.type, record.encoding, record.metadata, (held, record)),
            )

    async def history(self, original: Original) -> Sequence[Event]:
        """See Source."""
        return history_of(_held(original)[1])

    async def chunks(self, original: Original) -> AsyncGenerator[Bytes, None]:
        """See Source."""
        opened = Storage.opened(self._taken, _held(original)[0])
        _, chunks = await asyncio.to_thread(opened.__enter__)
        try:
            while piece := await asyncio.to_thread(_next, chunks):
                yield piece
        finally:
            opened.__exit__(None, None, None)


@dataclass
class CopyCounts:
    """What a pass did, in blobs; `bytes`: of those that were copied."""

    copied: int = 0
    same: int = 0
    deleted: int = 0
    changed: int = 0  # during the pass: the next one copies them
    bytes: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.copied or self.deleted or self.changed)


async def copy_all(source: Source, target: Store, progress: Callable[[int], None]) -> CopyCounts:
    """One pass: `target` then holds what `source` held, and nothing else. Raises BlobkeepError.

    `progress` is called with the bytes that are done.
    """
    run = _Pass(source, target, progress)
    await run.all()
    run.counts.problems += source.problems
    return run.counts


async def everything(store: Store) -> AsyncIterator[Blob]:
    """Every blob but NOTE, records of front ends first, in the order of their locations."""
    for prefix in (RECORDS, ""):
        async for blob in all_blobs(store, prefix):
            if blob.location != NOTE:
                yield blob


class _Pass:
    def __init__(self, source: Source, target: Store, progress: Callable[[int], None]) -> None:
        self.counts = CopyCounts()
        self._source = source
        self._target = target
        self._progress = progress
        self._done_bytes = 0
        self._copies = TaskPool(PARALLEL)

    async def all(self) -> None:
        async with self._copies, aclosing(self._pairs()) as pairs:
            async for original, there in pairs:
                await self._decide(original, there)

    async def _pairs(self) -> AsyncGenerator[tuple[Original | None, Blob | None], None]:
        """The blobs of both sides, by location."""
        theirs = everything(self._target)
        there = await anext(theirs, None)
        async for original in self._source.blobs():
            while there is not None and there.location < original.location:
                yield None, there
                there = await anext(theirs, None)
            if there is not None and there.location == original.location:
                yield original, there
                there = await anext(theirs, None)
            else:
                yield original, None
        while there is not None:
            yield None, there
            there = await anext(theirs, None)

    async def _decide(self, original: Original | None, there: Blob | None) -> None:
        if original is not None and there is not None and _is_copy(there, original):
            self.counts.same += 1
            self._tell(original.size)
        elif original is not None:
            await self._copies.start(functools.partial(self._copy, original))
        elif there is not None:
            await self._target.delete(there.location, unconditional)
            self.counts.deleted += 1

    async def _copy(self, original: Original) -> None:
        try:
            await self._bring(original)
        except NotFound:
            self.counts.changed += 1
        except (Damaged, CorruptRecord) as err:
            self.counts.problems.append(f"{original.location!r}: not copied: {err}")
        else:
            self.counts.copied += 1
            self.counts.bytes += original.size
        self._tell(original.size)

    async def _bring(self, original: Original) -> None:
        """Copy one blob, verified on both sides. Raises NotFound, Damaged for the source."""
        origin = Origin(original.modified_ns, await self._source.history(original))
        content = Content(original.type, original.encoding, original.metadata, origin)
        upload = await self._target.begin(original.location, unconditional, content, original.size)
        try:
            async with aclosing(self._source.chunks(original)) as chunks:
                async for piece in chunks:
                    await upload.write(piece)
            if original.sha256 and await upload.sha256() != original.sha256:
                raise Damaged("its bytes are not those of its SHA-256")
        except BaseException as err:
            await upload.abort(str(err))
            raise
        await upload.commit()

    def _tell(self, size: int) -> None:
        self._done_bytes += size
        self._progress(self._done_bytes)


def _is_copy(there: Blob, original: Original) -> bool:
    """Whether that blob of the target is this one."""
    same_bytes = there.sha256 == original.sha256 if original.sha256 else there.size == original.size
    return (
        same_bytes
        and there.modified_ns == original.modified_ns
        and (there.type, there.encoding) == (original.type, original.encoding)
        and dict(there.metadata) == dict(original.metadata)
    )


def _original(blob: Blob) -> Original:
    return Original(
        *(blob.location, blob.size, blob.sha256, blob.modified_ns),
        *(blob.type, blob.encoding, blob.metadata, str(blob.id)),
    )


def _held(original: Original) -> tuple[HeldBlob, Record]:
    assert isinstance(original.held, tuple)
    return original.held


def _next(chunks: Iterator[bytes]) -> bytes:
    return next(chunks, b"")
