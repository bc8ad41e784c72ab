"""The engine `objects`: any number of servers, gcs and recovery processes on one bucket of an object store.

See services/engine.Engine. It takes no lock: the processes share only the bucket. The folder `dir` holds only
their self reports.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from common import durable
from common.checksum import CHUNK_BYTES
from common.config import Config
from common.errors import BlobkeepError, ConfigError
from common.self_report import SelfReport
from common.worker import Worker
from services.engine import Check, Disk, Events, OnFatal, OnProgress, Recovered, StoreRequests
from services.engines.objects import keys, self_test
from services.engines.objects.admin import ObjectsAdmin
from services.engines.objects.bucket import ABSENT, Refused, Unclear
from services.engines.objects.client import BucketClient, SystemClock
from services.engines.objects.collector import Collector
from services.engines.objects.commit import Tools
from services.engines.objects.expiry import Expiry
from services.engines.objects.meter import Meter
from services.engines.objects.pointers import Pointers
from services.engines.objects.settings import Settings, check, find_credentials
from services.engines.objects.store import ObjectsStore
from services.engines.objects.verifier import Verifier, check_once

# Marks a prefix as Blobkeep's, with the format of its objects.
FORMAT_KEY = "blobkeep.json"
FORMAT = b'{"format": 2}\n'  # 1 had a folder for the data of each write
# One object stays in each folder that could become empty. SeaweedFS removes empty folders, and an object that
# is created at that moment can be read, but is not listed until another one is created there.
_KEEPERS = (f"{keys.DATA}keep", f"{keys.GC}keep", f"{keys.DAMAGED}keep")

_HEALTH_WAIT_S = 2.0


class ObjectsEngine:
    """See services.engine.Engine."""

    name = "objects"
    processes: tuple[str, ...] = ("server", "gc", "recovery")
    commits = None

    def __init__(self, config: Config) -> None:
        self.events = Events()
        self.recovered = Recovered()
        self.meter = Meter()
        self._config = config
        self._dir = os.path.abspath(config.dir)
        self._client: BucketClient | None = None
        self._store: ObjectsStore | None = None

    @property
    def client(self) -> BucketClient:
        """The bucket. After `own`."""
        assert self._client is not None
        return self._client

    @property
    def requests(self) -> Mapping[str, StoreRequests]:
        """See Engine."""
        return self.meter.by_kind

    @property
    def reports_dir(self) -> str:
        """See Engine."""
        return os.path.join(self._dir, ".status")

    async def own(self) -> None:
        """See Engine: the self-test of the store; raises ConfigError where it is not fit."""
        if self._config.dir:  # else it is opened by a command, which reports to nobody
            _refuse_what_is_not_kept(self._config)
            await asyncio.to_thread(durable.make_folder_durably, self._dir)
        self._client = await self._connect(self.meter)

    async def open(self, progress: OnProgress, on_fatal: OnFatal) -> ObjectsStore:
        """See Engine. There is nothing to recover."""
        config = self._config
        self._store = ObjectsStore(
            _tools(self.client),
            self.events,
            inline_bytes=config.objects_inline_bytes,
            part_bytes=config.objects_part_bytes,
            max_blob_bytes=config.max_blob_size_bytes,
            max_uploads=config.max_uploads,
            expiry=Expiry(config.expire_s),
            hot_bytes=config.hot_bytes,
        )
        return self._store

    async def close(self) -> None:
        """See Engine."""
        if self._store is not None:
            await self._store.close()

    def collector(self, *, once: bool = False) -> Worker:
        """See Engine."""
        config = self._config
        return Collector(
            self._shared, config.gc_interval_s, self.reports_dir, reading_s=config.objects_reading_s
        )

    def verifier(self) -> Worker:
        """See Engine."""
        config = self._config
        return Verifier(
            self._shared,
            config.recovery_interval_s,
            self.reports_dir,
            bytes_per_s=config.scrub_rate_mb_per_s * 1e6,
            reading_s=config.objects_reading_s,
            expiry=Expiry(config.expire_s),
        )

    def check(self, *, dry_run: bool) -> int:
        """See Engine."""

        async def go() -> int:
            config = self._config
            found = await check_once(
                await self._shared(), config.objects_reading_s, Expiry(config.expire_s), dry_run=dry_run
            )
            for blob in found.named:
                sys.stdout.write(f"damaged  {blob.id}  {blob.location}  {blob.text}\n")
            records = f" and {found.records} records of front ends" if found.records else ""
            sys.stdout.write(
                f"{found.blobs - found.records} blobs{records}, {found.bytes} bytes re-read; "
                f"{found.damaged} damaged, {found.swept} leaks removed\n"
            )
            return 1 if found.damaged else 0

        return asyncio.run(go())

    def sharing(self) -> None:
        """See Engine: a read asks the object store, so more servers do what readers would."""

    def reach_server(self) -> NoReturn:
        """See Engine."""
        raise ConfigError('Reader processes need engine = "local": start more servers instead.')

    def shared(self, epoch: int, descriptors: Sequence[int]) -> NoReturn:
        """See Engine."""
        self.reach_server()

    @property
    def serves(self) -> str:
        """See Engine: the number of blobs is not known without reading everything."""
        config = self._config
        where = config.objects_endpoint.rstrip("/") or "s3:/"
        return f"the blobs of {where}/{config.objects_bucket}/{config.objects_prefix}"

    def admin(self) -> ObjectsAdmin:
        """See Engine."""
        assert self._store is not None
        return ObjectsAdmin(self._store.tools, self._store)

    def hear(self, reports: Mapping[str, SelfReport | None]) -> None:
        """See Engine: nothing that the processes do changes what a server knows."""

    async def health(self) -> Sequence[Check]:
        """See Engine: whether the store answers, and how fast it has been."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(_HEALTH_WAIT_S):
                await self.client.get(FORMAT_KEY)
        except (BlobkeepError, TimeoutError):
            # The text of the error is left out: it names a blob, and health is public.
            return [Check("store", False, True, 0.0, "The object store gives no answer: the log says more.")]
        took_ms = (time.monotonic() - began) * 1e3
        parts = [
            f"{kind} {count} ({one.seconds.sum / count * 1e3:.1f} ms, {one.errors} errors)"
            for kind, one in self.requests.items()
            if (count := one.seconds.count)
        ]
        return [
            Check("store", True, True, 0.0, f"It answers in {took_ms:.1f} ms; so far: {', '.join(parts)}.")
        ]

    def disk(self) -> Disk | None:
        """See Engine."""
        return None

    async def _connect(self, meter: Meter) -> BucketClient:
        client = BucketClient(settings_of(self._config), meter)
        await self_test.check(client)
        try:
            await client.put(FORMAT_KEY, FORMAT, ABSENT)
        except (Refused, Unclear):
            got = await client.get(FORMAT_KEY)
            if got is None or got.data != FORMAT:
                raise ConfigError(
                    "objects_prefix: the bucket holds another format there: use the version that made it."
                ) from None
        await asyncio.gather(*(client.put(key, b"kept for its folder\n", None) for key in _KEEPERS))
        return client

    async def _shared(self) -> Tools:
        """For a process of its own."""
        return _tools(await self._connect(Meter()))


def settings_of(config: Config) -> Settings:
    """The bucket that the options name. Raises ConfigError."""
    if config.objects_part_bytes % CHUNK_BYTES or config.objects_inline_bytes > config.objects_part_bytes:
        raise ConfigError("objects_part_bytes: whole MiB, and no less than objects_inline_bytes.")
    return check(
        Settings(
            bucket=config.objects_bucket,
            endpoint=config.objects_endpoint,
            prefix=config.objects_prefix,
            region=config.objects_region,
            credentials=find_credentials(config.objects_credentials_file),
            virtual_hosts=config.objects_virtual_hosts,
            request_timeout_s=config.objects_timeout_s,
            patience_s=config.objects_patience_s,
            ca_file=config.objects_ca_file,
        )
    )


def _refuse_what_is_not_kept(config: Config) -> None:
    """Raise ConfigError if the options promise what this engine does not do: somebody may count on it."""
    for name, is_set in (("keep_deleted", config.keep_deleted_s), ("max_bytes", config.max_bytes)):
        if is_set:
            raise ConfigError(f'{name}: it works only with engine = "local"; leave it out here.')


def _tools(client: BucketClient) -> Tools:
    clock = SystemClock()
    return Tools(client, Pointers(client, clock), clock)
