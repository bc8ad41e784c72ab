"""The store of a directory that no server holds, as a target of import and restore."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator

from common.config import Config
from common.errors import BlobkeepError
from common.errors import Damaged as DamagedError
from common.progress import Progress
from services.engine import Events
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery.reconcile import reconcile
from services.engines.local.serving.store import LocalStore
from services.store import Blob, Content
from services.tools.incoming import Incoming, Outcome

_AT_ONCE = 32  # concurrent writers share their syncs


class StoreTarget:
    """See targets.Target. The caller holds the state lock (design rule 1) for as long as it is open."""

    def __init__(self, store: LocalStore, config: Config, name: str) -> None:
        self._store = store
        self.name = name
        self.at_once = max(1, min(_AT_ONCE, config.max_uploads))
        self.failed: BlobkeepError | None = None

    @staticmethod
    @contextlib.asynccontextmanager
    async def open(data_dir: Layout, config: Config) -> AsyncIterator[StoreTarget]:
        """Settle, as a server would, and open the store; on leaving, all of it is durable in place."""
        with Progress("recovery", "folders") as progress:
            found = await asyncio.to_thread(reconcile, data_dir, progress=progress)
        target: StoreTarget | None = None

        def stop(err: BlobkeepError) -> None:
            if target is not None:
                target.failed = err

        store = LocalStore(data_dir, found, config, Events(), stop)
        target = StoreTarget(store, config, data_dir.root)
        try:
            yield target
        finally:
            await store.close()

    async def put(self, blob: Incoming, *, replace: bool) -> Outcome:
        """See targets.Target."""
        if self.failed is not None:
            raise self.failed  # a sync failed: nothing more is written (design rule 5)
        there = await self._find(blob.location)
        if there is not None and there.sha256 == _sha256_of(blob):
            return Outcome.SAME
        if there is not None and not replace:
            return Outcome.DIFFERS
        upload = await self._store.begin(
            blob.location,
            lambda old, damaged: None,
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
        return Outcome.CREATED if there is None else Outcome.REPLACED

    async def _find(self, location: str) -> Blob | None:
        try:
            return await self._store.stat(location)
        except DamagedError:
            return None  # writing it anew is what ends that


def _sha256_of(blob: Incoming) -> bytes:
    if blob.sha256:
        return blob.sha256
    whole = hashlib.sha256()
    for chunk in blob.chunks():
        whole.update(chunk)
    return whole.digest()
