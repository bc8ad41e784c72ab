"""The state of the server, of the other processes and of the disk: for /healthz, /metrics and the dashboard.

A tick a second keeps the last ten minutes for the plots and reads the workers' self reports. All that costs
more is looked up only when somebody asks, in a thread, at most once a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from common import self_report
from common.self_report import SelfReport
from common.version import VERSION
from services.engine import Check, Disk, Engine, Recovered
from services.store import DamagedBlob, Store, Usage
from services.watch.feed import Feed
from services.watch.processes import Processes, ProcessFigures
from services.watch.request_log import RequestLog
from services.watch.samples import Samples, sum_over

T = TypeVar("T")

log = logging.getLogger(__name__)

TICK_S = 1.0
REPORT_EVERY_S = 5.0
_FRESH_S = 0.5  # a snapshot that old will do
_DAMAGED_NAMED = 50


class RequestFigures(msgspec.Struct, frozen=True):
    """Requests of one kind to the object store, since the start. `seconds`: the time of all together."""

    count: int
    seconds: float
    errors: int


class Snapshot(msgspec.Struct, frozen=True):
    """Everything, as of `time_s`. `transitions`: since the start of the server, by state.

    `requests`: by kind, of an engine that keeps blobs behind a network.
    """

    time_s: float
    ready: bool
    checks: list[Check]
    processes: list[ProcessFigures]
    disk: Disk | None  # None: it is gone
    counts: Usage
    damaged: Sequence[DamagedBlob]
    recovered: Recovered
    transitions: dict[str, int]
    requests: dict[str, RequestFigures]
    version: str = VERSION


class Monitor:
    """Used from the event loop alone, between `start` and `close`."""

    def __init__(self, engine: Engine, store: Store, requests: RequestLog) -> None:
        self.engine = engine
        self.requests = requests
        self.feed = Feed()
        engine.events.subscribe(self.feed)
        self._admin = engine.admin()
        self.samples = Samples()
        self.on_tick: Callable[[], None] | None = None  # called every second
        self._store = store
        self._processes = Processes(engine.reports_dir, engine.processes)
        self._thread = ThreadPoolExecutor(1, "monitor")
        self._me: SelfReport | None = None
        self._collected: tuple[int, int] | None = None  # what the gc had named, and removed, when last heard
        self._snapshot: Snapshot | None = None
        self._looking: asyncio.Future[Snapshot] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, me: SelfReport) -> None:
        """Begin to watch; `me` is this process' own report."""
        self._me = me
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self, *, told: bool) -> None:
        """Stop watching. `told`: the server was told to stop, and reports that; else its end is a crash."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._me is not None:
            self._me.stopped = told
            await self._in_thread(lambda: self_report.write(self.engine.reports_dir, self._me))  # type: ignore[arg-type]
        self._thread.shutdown()

    async def look(self) -> Snapshot:
        """Everything there is to know, at most half a second old."""
        if self._snapshot is not None and time.time() - self._snapshot.time_s < _FRESH_S:
            return self._snapshot
        if self._looking is None:  # whoever asks meanwhile gets the same
            self._looking = asyncio.ensure_future(self._look())
            self._looking.add_done_callback(self._looked)
        return await asyncio.shield(self._looking)

    async def checks(self) -> list[Check]:
        """Whether a blob can be written and read: cheap enough for load balancers to ask every second."""
        return list(await self.engine.health())

    # --- inside ---

    def _looked(self, future: asyncio.Future[Snapshot]) -> None:
        self._looking = None

    async def _look(self) -> Snapshot:
        checks = await self.checks()
        processes, disk = await self._in_thread(self._look_at_system)
        checks += [_up(one) for one in processes if one.name != "server"]
        counts = await self._store.usage()
        told = f"{_blobs(counts.damaged)} known to be damaged."
        checks.append(Check("damage", not counts.damaged, False, 0.0, told))
        told = f"{_blobs(counts.unread)} waiting to be read: the log says why."
        checks.append(Check("unread", not counts.unread, False, 0.0, told))
        self._snapshot = Snapshot(
            time.time(),
            all(check.ok for check in checks if check.vital),
            checks,
            processes,
            disk,
            counts,
            self._admin.damaged(_DAMAGED_NAMED),
            self.engine.recovered,
            dict(self.feed.counts),
            {
                kind: RequestFigures(one.seconds.count, one.seconds.sum, one.errors)
                for kind, one in self.engine.requests.items()
            },
        )
        return self._snapshot

    def _look_at_system(self) -> tuple[list[ProcessFigures], Disk | None]:
        return self._processes.look(self._processes.reports()), self.engine.disk()

    async def _run(self) -> None:
        kept_s = time.monotonic()
        while True:
            try:
                reports = await self._in_thread(self._processes.reports)
                self._hear(reports)
                me = self._me
                if me is not None and time.monotonic() - kept_s > REPORT_EVERY_S:
                    kept_s = time.monotonic()
                    await self._in_thread(lambda: self_report.keep(self.engine.reports_dir, me))  # noqa: B023
                if self.on_tick is not None:
                    self.on_tick()
            except Exception:  # what only watches must not end
                log.exception("the monitor failed")
            await asyncio.sleep(TICK_S)

    def _hear(self, reports: dict[str, SelfReport | None]) -> None:
        """Take what is new out of the self reports."""
        self.engine.hear(reports)
        gc, recovery = reports.get("gc"), reports.get("recovery")
        if gc is not None:
            is_younger = self._me is not None and gc.started_s >= self._me.started_s
            before = (0, 0) if is_younger else (gc.named_count, gc.totals.removed)  # our own past is not told
            named, removed = self._collected or before
            if gc.named_count < named or gc.totals.removed < removed:
                named = removed = 0  # another gc than the one before
            new = gc.named_count - named
            if new or gc.totals.removed > removed:
                self.feed.removed(gc.named[-new:] if new else (), gc.totals.removed - removed)
            self._collected = (gc.named_count, gc.totals.removed)
        removed, freed = (gc.totals.removed, gc.totals.freed_bytes) if gc is not None else (0, 0)
        scrub = recovery.scrub if recovery is not None else None
        scrubbed = scrub.checked_bytes if scrub is not None else 0
        self.samples.add(sum_over(self.requests.tallies.values(), time.time(), removed, freed, scrubbed))

    async def _in_thread(self, step: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, step)


def _blobs(count: int) -> str:
    """`count` of them, and the verb."""
    return f"{count} blob is" if count == 1 else f"{count} blobs are"


def _up(process: ProcessFigures) -> Check:
    last = process.last_pass
    text = {
        "up": "It runs.",
        "stalled": "It is there, but has not said anything for long, or is suspended: look at its log.",
        "stopped": "It was stopped: start it again (blobkeep ctl start, systemctl start).",
        "down": "It died: supervisord or systemd starts it again. Its last log lines say why.",
        "never": "It has never run on this directory.",
    }[process.state]
    if process.is_up and last is not None and last.error:
        return Check(process.name, False, False, process.heard_s_ago, f"Its last pass failed: {last.error}")
    return Check(process.name, process.is_up, False, process.heard_s_ago, text)
