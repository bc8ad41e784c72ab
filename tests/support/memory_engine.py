"""An engine in memory: an implementation of services/engine.py for tests of what uses an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

from common.errors import BadRequest, ConfigError, NotFound
from common.self_report import SelfReport
from common.worker import Worker
from services.engine import Check, Disk, Events, OnFatal, OnProgress, Recovered, StoreRequests
from services.store import Blob, Condition, DamagedBlob, Description, Reading, Store
from tests.support.memory_store import MemoryStore, description


class MemoryEngine:
    """See services.engine.Engine. `work`: called with the progress at a start, which waits for it. This
    engine needs no gc.
    """

    name = "memory"
    processes: tuple[str, ...] = ("server",)
    commits = None
    requests: Mapping[str, StoreRequests] = MappingProxyType({})

    def __init__(self, reports_dir: str, work: Callable[[OnProgress], None] | None = None) -> None:
        self.reports_dir = reports_dir
        self.events = Events()
        self.recovered = Recovered()
        self.store = MemoryStore(self.events)
        self._work = work

    @property
    def serves(self) -> str:
        return "memory"

    async def own(self) -> None: ...

    async def open(self, progress: OnProgress, on_fatal: OnFatal) -> Store:
        if self._work is not None:
            await asyncio.to_thread(self._work, progress)
        return self.store

    async def close(self) -> None: ...

    def sharing(self) -> None: ...

    def reach_server(self) -> NoReturn:
        raise ConfigError("it has no reader processes")

    def shared(self, epoch: int, descriptors: Sequence[int]) -> NoReturn:
        self.reach_server()

    def collector(self, *, once: bool = False) -> Worker:
        raise NotImplementedError("nothing waits for a gc")

    def verifier(self) -> Worker:
        raise NotImplementedError("nothing outlives the process")

    def check(self, *, dry_run: bool) -> int:
        return 0

    def admin(self) -> MemoryAdmin:
        return MemoryAdmin(self.store)

    def hear(self, reports: Mapping[str, SelfReport | None]) -> None: ...

    async def health(self) -> Sequence[Check]:
        return [Check("write", True, True, 0.0, "Memory takes what it is given.")]

    def disk(self) -> Disk | None:
        return None


class MemoryAdmin:
    """See services.engine.Admin."""

    quarantine = None

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def list_by_id(self, state: str | None, after: str | None, limit: int) -> Sequence[Description]:
        if after is not None and not (after.isdigit() and len(after) <= 10):
            raise BadRequest("after= must be the id of a blob.")
        last = -1 if after is None else int(after)
        blobs = sorted((blob for blob, _ in self._store.blobs.values() if blob.id > last), key=lambda b: b.id)
        return [description(blob) for blob in blobs if state in (None, "OK")][:limit]

    async def describe(self, blob_id: str) -> Description:
        for blob, _ in self._store.blobs.values():
            if str(blob.id) == blob_id:
                return description(blob)
        raise NotFound(f"No blob has id {blob_id}.")

    async def find_damaged(self) -> Sequence[DamagedBlob]:
        """See engine.Admin."""
        return []

    async def open(self, blob_id: str) -> Reading:
        return await self._store.open((await self.describe(blob_id)).location)

    async def undelete(self, blob_id: str, location: str, condition: Condition) -> tuple[Blob, bool]:
        raise NotFound("Nothing is kept.")

    def damaged(self, limit: int) -> Sequence[DamagedBlob]:
        return [DamagedBlob(at, 0, "", None) for at in sorted(self._store.damaged)[:limit]]
