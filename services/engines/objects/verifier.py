"""The recovery process: re-reads every blob against its checksums at a bounded rate, and sweeps leaked data.

A round costs one GET for each blob that is stored in its pointer, one for each MiB of the others, and one
LIST for each thousand objects. The process may die at any request: it only makes conditional writes, and
deletes in the safe order of the sweep (`sweep.py`). A new process starts the round again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import groupby

import msgspec

from common.chunk_buffers import ChunkBuffers
from common.errors import Damaged, Unavailable
from common.self_report import MAX_NAMED, NamedBlob, Scrub
from common.worker import Worker
from services.engines.objects import damage, keys
from services.engines.objects.bucket import pages
from services.engines.objects.commit import Tools
from services.engines.objects.expiry import Expiry
from services.engines.objects.listing import BucketListing
from services.engines.objects.pointer import ObjectBlob
from services.engines.objects.reading import StagedReading
from services.engines.objects.sweep import Fate, Sweeping
from services.rules.locations import is_record

log = logging.getLogger("recovery")

ROUND_EVERY_S = 86_400.0


class Found(msgspec.Struct):
    """What a round found so far. `blobs` includes the `records` of front ends, which `ls` does not show."""

    blobs: int = 0
    records: int = 0
    bytes: int = 0
    damaged: int = 0
    swept: int = 0
    expired: int = 0
    named: tuple[NamedBlob, ...] = ()


class Verifying:
    """One round over one bucket. `dry_run`: change nothing."""

    def __init__(
        self, tools: Tools, reading_s: float, expiry: Expiry | None = None, *, dry_run: bool = False
    ) -> None:
        self.found = Found()
        self._expiry = expiry or Expiry()
        self._tools = tools
        self._listing = BucketListing(tools)
        self._sweeping = Sweeping(tools, reading_s)
        self._dry_run = dry_run
        self._buffers = ChunkBuffers(2)
        self._ahead = asyncio.Semaphore(1)
        self._reason = ""

    async def round(self) -> AsyncIterator[int]:
        """Go through everything; yields the bytes that were read in each step. Raises Unavailable."""
        async for location, known in self._listing.pointers(""):
            blob = known.blob
            if known.is_damaged:
                found = damage.of_pointer(location, known)
                self._count(NamedBlob(found.id, location, found.reason))
                if known.pointer is not None and not self._dry_run:
                    await damage.keep(self._tools, known.pointer)
                yield 0
            elif blob is not None and self._expiry.is_over(blob):
                if not self._dry_run:
                    self.found.expired += await self._expiry.end(self._tools, blob)
                yield 0
            elif blob is not None:
                async for read in self._verify(blob):
                    yield read
                self.found.blobs += 1
                self.found.records += is_record(blob.location)
        async for page in pages(self._tools.bucket, keys.DATA):
            for owner, objects in groupby(page, lambda listed: keys.owner_of(listed.key)):
                if owner is not None:
                    await self._sweep(*owner, [listed.key for listed in objects])
                    yield 0

    async def _verify(self, blob: ObjectBlob) -> AsyncIterator[int]:
        self._reason = ""
        if blob.facts.part_bytes:
            reading = StagedReading(self._tools, blob, self._buffers, self._ahead, self._note)
            try:
                await reading.prepare()
                async for piece in reading.chunks(0, blob.size - 1):
                    self.found.bytes += len(piece)
                    yield len(piece)
            except (Damaged, Unavailable):
                if not self._reason:
                    return  # replaced meanwhile, or the store is away: the next step tells
            finally:
                reading.close()
        else:
            known, whole = await self._tools.pointers.read_whole(blob.location)
            if known.blob is not None and known.blob.version == blob.version:
                self._reason = damage.wrong_body(known, memoryview(whole)[known.body_at :])
            self.found.bytes += blob.size
            yield len(whole)
        if self._reason:
            await self._condemn(blob, self._reason)

    def _note(self, blob: ObjectBlob, reason: str) -> None:
        self._reason = reason

    async def _condemn(self, blob: ObjectBlob, reason: str) -> None:
        log.error("the blob of %r is damaged: %s", blob.location, reason)
        self._count(NamedBlob(blob.id, blob.location, reason))
        if not self._dry_run:
            await damage.condemn(self._tools, blob.location, blob.version, reason)

    def _count(self, named: NamedBlob) -> None:
        self.found.damaged += 1
        self.found.named = (*self.found.named, named)[:MAX_NAMED]

    async def _sweep(self, name: str, txn: str, data_keys: list[str]) -> None:
        known = await self._tools.pointers.read_listed(name)
        if known.pointer is not None and known.pointer.data_txn == txn:
            return  # what most data is: one request
        if self._dry_run:
            return
        if await self._sweeping.sweep(name, txn, data_keys) is Fate.REMOVED:
            log.info("removed leaked data of the write %s", txn)
            self.found.swept += 1


class Verifier(Worker):
    """See Worker. A pass re-reads what the rate allows in its interval; a round begins once a day."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Tools]],
        interval_s: float,
        reports_dir: str,
        *,
        bytes_per_s: float,
        reading_s: float,
        expiry: Expiry | None = None,
    ) -> None:
        super().__init__("recovery", interval_s, reports_dir)
        self._connect = connect
        self._bytes_per_s = bytes_per_s
        self._reading_s = reading_s
        self._expiry = expiry
        self._loop = asyncio.new_event_loop()
        self._verifying: Verifying | None = None
        self._steps: AsyncIterator[int] | None = None
        self._next_round_s = 0.0
        self._sums = Scrub()

    def run_once(self) -> str | None:
        """See Worker. Raises Unavailable: the round then starts again."""
        return self._loop.run_until_complete(self.verify())

    async def verify(self) -> str | None:
        """One pass; its log line at the end of a round."""
        if self._steps is None:
            if time.time() < self._next_round_s:
                return None
            self._verifying = Verifying(await self._connect(), self._reading_s, self._expiry)
            self._steps = self._verifying.round()
            self._next_round_s = time.time() + ROUND_EVERY_S
        assert self._verifying is not None
        found = self._verifying.found
        left = self._bytes_per_s * self.interval_s
        try:
            while left > 0 and not self.should_stop():
                left -= await anext(self._steps)
            return None
        except StopAsyncIteration:
            self._steps = None
            gone = f", {found.expired} expired deleted" if found.expired else ""
            return f"{found.blobs} blobs re-read, {found.damaged} damaged, {found.swept} leaks removed{gone}"
        except Unavailable:
            self._steps = None
            self._next_round_s = 0.0
            raise
        finally:
            self._tell(found)

    def _tell(self, found: Found) -> None:
        self.about_pass = msgspec.structs.replace(self.about_pass, found=found.damaged, named=found.named)
        if self.about_me is not None:
            self.about_me.scrub = Scrub(
                checked=found.blobs,
                checked_bytes=found.bytes,
                damaged=found.damaged,
                next_round_s=self._next_round_s if self._steps is None else 0.0,
            )


async def check_once(tools: Tools, reading_s: float, expiry: Expiry | None = None, *, dry_run: bool) -> Found:
    """One whole round, as fast as it goes."""
    verifying = Verifying(tools, reading_s, expiry, dry_run=dry_run)
    async for _ in verifying.round():
        pass
    return verifying.found
