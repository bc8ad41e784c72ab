"""The store of a directory that no server holds, as a target of the commands."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable

from common.config import Config
from common.errors import BlobkeepError, Damaged
from services.read_all import all_blobs, all_pieces
from services.rules.locations import check_kept
from services.store import Blob, Content, Store, unconditional
from services.tools.target import OfferedBlob, PutOutcome

_PARALLEL = 32  # concurrent writers share their syncs


class StoreTarget:
    """See target.Target. The state lock is held for as long as the store is open (design rule 1).

    `failed`: set by the engine when a sync failed; then nothing more is written (design rule 5).
    """

    def __init__(self, store: Store, config: Config, failed: list[BlobkeepError]) -> None:
        self._store = store
        self._failed = failed
        self.name = config.dir
        self.parallel = max(1, min(_PARALLEL, config.max_uploads))

    async def put(self, blob: OfferedBlob, *, replace: bool) -> PutOutcome:
        """See target.Target."""
        self._must_be_well()
        check_kept(blob.location)
        there = await self._find(blob.location)
        if there is not None and _has_bytes_of(there, blob):
            return PutOutcome.SAME
        if there is not None and not replace:
            return PutOutcome.DIFFERS
        upload = await self._store.begin(
            blob.location,
            unconditional,
            Content(blob.media_type, blob.encoding, blob.metadata),
            blob.size,
        )
        try:
            for chunk in blob.chunks():
                await upload.write(chunk)
        except BaseException as err:
            await upload.abort(str(err))
            raise
        await upload.commit()
        return PutOutcome.CREATED if there is None else PutOutcome.REPLACED

    async def get(self, location: str, take: Callable[[bytes], None]) -> None:
        """See target.Target."""
        reading = await self._store.open(location)
        try:
            async for piece in all_pieces(reading):
                take(bytes(piece))
        finally:
            reading.close()

    async def delete(self, location: str) -> None:
        """See target.Target."""
        self._must_be_well()
        await self._store.delete(location, unconditional)

    async def locations(self, prefix: str) -> AsyncIterator[str]:
        """See target.Target."""
        async for blob in all_blobs(self._store, prefix):
            yield blob.location

    def _must_be_well(self) -> None:
        if self._failed:
            raise self._failed[0]

    async def _find(self, location: str) -> Blob | None:
        try:
            return await self._store.stat(location)
        except Damaged:
            return None  # writing it anew is what ends that


def _has_bytes_of(there: Blob, blob: OfferedBlob) -> bool:
    if blob.sha256 or blob.size is None:
        return there.sha256 == blob.sha256
    if there.size != blob.size:
        return False
    whole = hashlib.sha256()
    for chunk in blob.chunks():
        whole.update(chunk)
    return there.sha256 == whole.digest()
