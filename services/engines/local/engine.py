"""The engine `local`: blobs in one directory on one machine.

It takes the state lock (design rule 1), recovers what it finds, and serves it. The gc and the recovery worker
are separate processes, which share only the directory with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tornado.httpserver import HTTPServer

from common import durable, process
from common.config import Config, keeps_index, reader_count
from common.errors import BlobkeepError
from common.self_report import SelfReport
from common.worker import Worker
from services.engine import Admin, Check, Commits, Disk, Events, OnFatal, OnProgress, Recovered, StoreRequests
from services.engines.local.disk import directory, layout, locks, room
from services.engines.local.disk.keeping import Keeping
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.place import READ_ONLY_TEXT
from services.engines.local.index.writer import IndexWriter
from services.engines.local.recovery import multiparts
from services.engines.local.recovery.reconciled import Reconciled
from services.engines.local.recovery.restart import recover
from services.engines.local.serving import own_socket
from services.engines.local.serving.by_id import LocalAdmin
from services.engines.local.serving.damage_socket import serve_reports
from services.engines.local.serving.expiry import end_expired
from services.engines.local.serving.limits import keep_within_limits
from services.engines.local.serving.probe import DiskProbe
from services.engines.local.serving.regular_checks import RegularChecks
from services.engines.local.serving.sharing import LocalShared, LocalSharing
from services.engines.local.serving.store import LocalStore

log = logging.getLogger("server")

_ALL_FOLDERS = 1 << 32
_MANY_BLOBS = 50_000  # a start that read so many gives its memory back: 40 to 110 bytes each
_PATIENCE_S = 30.0  # of the recovery worker with a server that keeps an index


class LocalEngine:
    """See services.engine.Engine."""

    name = "local"
    requests: Mapping[str, StoreRequests] = MappingProxyType({})

    def __init__(self, config: Config) -> None:
        self.processes = (
            *("server", "gc", "recovery"),
            *(f"reader-{number}" for number in range(reader_count(config))),
        )
        self.events = Events()
        self.recovered = Recovered()
        self._config = config
        self._lock: locks.StateLock | None = None
        self._data_dir: Layout | None = None
        self._store: LocalStore | None = None
        self._told_of_ids = False  # that half are taken
        self._probe: DiskProbe | None = None
        self._reports: HTTPServer | None = None
        self._behind: list[asyncio.Task[None]] = []  # what goes on beside the requests
        self._checks: RegularChecks | None = None

    @property
    def data_dir(self) -> Layout:
        """The directory. After `own`."""
        assert self._data_dir is not None
        return self._data_dir

    @property
    def store(self) -> LocalStore:
        """What is served. After `open`."""
        assert self._store is not None
        return self._store

    @property
    def reports_dir(self) -> str:
        """See Engine."""
        return self.data_dir.reports_dir

    async def own(self) -> None:
        """See Engine: take the state lock; make the directory if there is none."""
        config = self._config
        self._must_be_there()
        self._lock = locks.StateLock(directory.make_root(config.dir), "server")
        await asyncio.to_thread(self._lock.acquire, config.lock_wait_s)
        self._data_dir = directory.open_directory(config.dir, config.id_bits, owner=True)
        if self._data_dir.read_only:
            log.warning("%s: %s", self._data_dir.root, READ_ONLY_TEXT)
        mode = os.stat(config.dir).st_mode & 0o077
        if mode:
            log.warning(
                "%s is open to other users (mode %o): one of them could lock it and keep the next start out. "
                "Close it with chmod 700.",
                self._data_dir.root,
                mode | 0o700,
            )

    async def open(self, progress: OnProgress, on_fatal: OnFatal) -> LocalStore:
        """See Engine."""
        found, writer = await asyncio.to_thread(self._recover, progress)
        if self._config.sync == "none":
            # Not before: what was acknowledged until now is durable, and the recovery above keeps it so.
            log.warning("sync = none: what is written from now on may be lost in a power or system failure")
            durable.trade_safety_for_speed()
        log.info("recovered: %s", found)
        self.recovered = recovered(found)  # now: the store takes the blobs out of it
        uploads = await asyncio.to_thread(multiparts.load, self.data_dir, found.live)
        self._store = LocalStore(self.data_dir, found, self._config, self.events, on_fatal, uploads, writer)
        self._probe = DiskProbe(self.data_dir)
        self._reports = serve_reports(self.data_dir.ours(layout.SOCKET_NAME), self._store)
        store = self._store
        work = (
            *(store.remove_leftovers(), store.given_up.try_again(), store.names.run()),
            *(store.comparison.run(), end_expired(store), keep_within_limits(store)),
        )
        self._behind = [asyncio.ensure_future(one) for one in work]
        for task in self._behind:
            task.add_done_callback(_tell_error)
        self._checks = RegularChecks(store)
        if found.seen >= _MANY_BLOBS and not found.by_index:
            del found
            process.give_back_memory()
        return self._store

    def _recover(self, progress: OnProgress) -> tuple[Reconciled, IndexWriter | None]:
        assert self._lock is not None
        return recover(self.data_dir, self._lock, progress, keeps_index=keeps_index(self._config))

    async def close(self) -> None:
        """See Engine."""
        for task in self._behind:
            task.cancel()
        await asyncio.gather(*self._behind, return_exceptions=True)
        if self._checks is not None:
            await self._checks.end()
        if self._reports is not None:
            self._reports.stop()
        if self._store is not None:
            await self._store.close()
        if self._lock is not None:
            self._lock.release()

    # What other processes do is loaded by those alone: the server starts without it.

    def collector(self, *, once: bool = False) -> Worker:
        """See Engine."""
        from services.engines.local.upkeep.collector import SLICE_FOLDERS, Collector

        data_dir = directory.existing(self._config.dir) if once else self._shared()
        slice_folders = _ALL_FOLDERS if once else SLICE_FOLDERS
        config = self._config
        return Collector(
            data_dir,
            config.gc_interval_s,
            slice_folders=slice_folders,
            options=Keeping(deleted_s=config.keep_deleted_s),
            min_free_bytes=config.min_free_space_bytes,
        )

    def verifier(self) -> Worker:
        """See Engine."""
        from services.engines.local.upkeep.verifier import Verifier

        config = self._config
        with_index = keeps_index(config)
        return Verifier(
            *(self._shared(), config.recovery_interval_s, config.scrub_rate_mb_per_s * 1e6),
            keeps_index=with_index,
            patience_s=_PATIENCE_S if with_index else 0.0,
        )

    def check(self, *, dry_run: bool) -> int:
        """See Engine. Raises ConfigError if there is no data directory: a check makes none."""
        from services.engines.local.upkeep.verifier import check_once

        config = self._config
        return check_once(directory.existing(config.dir), dry_run=dry_run, keeps_index=keeps_index(config))

    def _shared(self) -> Layout:
        """The directory, for a process that does not own it. Such processes always sync, whatever `sync` is
        now: what they handle may be durable."""
        self._must_be_there()
        return directory.open_directory(self._config.dir, self._config.id_bits, owner=False)

    def _must_be_there(self) -> None:
        """With `create = false`: raise ConfigError if there is no store yet. Nothing is made then."""
        if not self._config.create:
            directory.existing(self._config.dir)

    def sharing(self) -> LocalSharing | None:
        """See Engine."""
        if not reader_count(self._config) or self.data_dir.read_only:
            return None
        return LocalSharing(self.data_dir, self.store.index, self.store.limits, self.store.expiry)

    def reach_server(self) -> socket.socket:
        """See Engine."""
        root = os.path.abspath(self._config.dir)
        sock = own_socket.connect(f"{root}/{layout.READERS_SOCKET_NAME}")
        try:
            self._data_dir = self._shared()
        except BaseException:
            sock.close()
            raise
        return sock

    def shared(self, epoch: int, descriptors: Sequence[int]) -> LocalShared:
        """See Engine."""
        return LocalShared(self.data_dir, self._config, epoch, descriptors)

    @property
    def serves(self) -> str:
        """See Engine."""
        return f"{self.recovered.live} blobs"

    def admin(self) -> Admin:
        """See Engine."""
        return LocalAdmin(self.data_dir, self.store)

    def hear(self, reports: Mapping[str, SelfReport | None]) -> None:
        """See Engine: blobs that the gc has removed no longer count as waiting for it."""
        gc = reports.get("gc")
        if gc is not None and gc.last is not None and not gc.last.error:
            garbage = self.store.garbage
            garbage.collected(gc.last.began_s, gc.last.errors)
            garbage.kept, garbage.kept_bytes = gc.last.kept, gc.last.kept_bytes
        if not self._told_of_ids and (text := self._half_of_ids()):
            self._told_of_ids = True
            log.warning("%s", text)

    def _half_of_ids(self) -> str:
        """A hint what to do if half of the ids of 16 bits are taken; else empty."""
        taken = len(self.store.index.blobs.ids) + self.store.garbage.kept
        if self.data_dir.id_bits != 16 or taken * 2 < self.store.ids.capacity:
            return ""
        return (
            f"{taken:,} of {self.store.ids.capacity:,} ids are taken: stop the processes and run `blobkeep "
            "widen`, which takes seconds, before there is none left."
        )

    async def health(self) -> Sequence[Check]:
        """See Engine."""
        assert self._probe is not None
        if fault := await asyncio.to_thread(self.store.place.look):
            # A probe would write into what is there instead.
            return [Check("write", False, True, 0.0, fault)]
        checks = [await self._probe.check(), await self._room(), await self._ids()]
        if text := self._half_of_ids():
            checks.append(Check("id_bits", False, False, 0.0, text))
        if problem := self.store.committer.journal_problem:
            checks.append(Check("journal", False, False, 0.0, problem))
        return checks

    async def _room(self) -> Check:
        try:
            await self.store.check_writable()
        except BlobkeepError as err:
            return Check("room", False, True, 0.0, str(err))
        return Check("room", True, True, 0.0, "The disk has room for uploads.")

    async def _ids(self) -> Check:
        left = (await self.store.usage()).ids_left or 0
        text = (
            f"{left} ids are left." if left else "All ids are taken: delete blobs, or run `blobkeep widen`."
        )
        return Check("ids", left > 0, True, 0.0, text)

    def disk(self) -> Disk | None:
        """See Engine."""
        with contextlib.suppress(OSError):  # gone: the checks say so
            found = room.look(self.data_dir.root)
            return Disk(
                found.size_bytes,
                found.free_bytes,
                found.free_inodes,
                self._config.min_free_space_bytes,
                found.min_free_inodes,
            )
        return None

    @property
    def commits(self) -> Commits:
        """See Engine."""
        committer = self.store.committer
        return Commits(committer.sync_times_s, committer.group_sizes)


def recovered(found: Reconciled) -> Recovered:
    """The sums of a recovery, without its blobs."""
    return Recovered(
        found.seconds,
        found.seen,
        len(found.live),
        found.interrupted,
        found.superseded,
        found.adopted,
        found.removed,
        len(found.quarantined),
    )


def _tell_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (err := task.exception()) is not None:
        log.error("work beside the requests ended", exc_info=err)
