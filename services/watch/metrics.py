"""GET /metrics: the monitor's numbers as Prometheus' text. Names say units and begin with blobkeep_."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from common import self_report
from common.histogram import Histogram
from common.version import VERSION
from services.engine import Disk, StoreRequests
from services.watch.monitor import Monitor, Snapshot
from services.watch.processes import ProcessFigures
from services.watch.request_log import BOUNDS_S, RequestLog


class Exposition:
    """The whole answer, made on the event loop in slices: one metric family in each turn.

    All of it costs some 10,000 function calls, 5 ms and more, which would delay others in one turn. Requests
    that come while one answer is being made share the next one, so many concurrent requests cost two.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._one = asyncio.Lock()
        self._begun = 0
        self._made = (0, b"")  # the number of the last that was begun and made, and its text

    async def text(self) -> bytes:
        """The metrics of now. A family is consistent; two families may be a few turns apart."""
        asked_at = self._begun
        async with self._one:
            if self._made[0] <= asked_at:
                number = self._begun = self._begun + 1
                self._made = (number, await self._make())
            return self._made[1]

    async def _make(self) -> bytes:
        text = bytearray()
        for family in _families(self._monitor, await self._monitor.look()):
            text += generate_latest(_One(family))
            await asyncio.sleep(0)
        return bytes(text)


class _One(Collector):
    """A collector of the library with one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


def _families(monitor: Monitor, now: Snapshot) -> Iterator[Metric]:
    yield gauge("blobkeep_build_info", "1; the label says which version runs.", {(VERSION,): 1}, "version")
    yield from _requests(monitor.requests)
    yield from _storage(now)
    if now.disk is not None:
        yield from _disk(now.disk)
    yield from _store_requests(monitor.engine.requests)
    commits = monitor.engine.commits
    if commits is not None:
        yield from _commits(commits.sync_times_s, commits.group_sizes)
    yield from _recovery(now)
    yield from _processes(now.processes)


def _requests(log: RequestLog) -> Iterator[Metric]:
    tallies = log.tallies
    yield counter(
        "blobkeep_requests",
        "Requests answered.",
        {(m, str(s)): n for m, tally in tallies.items() for s, n in tally.statuses.items()},
        "method",
        "status",
    )
    latency = HistogramMetricFamily(
        "blobkeep_request_duration_seconds",
        "From the head of a request to the end of its answer.",
        labels=["method"],
    )
    for method, tally in tallies.items():
        latency.add_metric([method], cumulated(BOUNDS_S, tally.buckets), tally.seconds)
    yield latency
    yield counter(
        "blobkeep_request_body_bytes",
        "Bytes received in bodies.",
        {(m,): tally.bytes_in for m, tally in tallies.items()},
        "method",
    )
    yield counter(
        "blobkeep_response_body_bytes",
        "Bytes sent in bodies.",
        {(m,): tally.bytes_out for m, tally in tallies.items()},
        "method",
    )
    yield counter(
        "blobkeep_connection_refusals",
        "What connections answered by themselves: malformed, too large, too slow, too many.",
        {(str(status),): n for status, n in log.refusals.items()},
        "status",
    )


def _known(**by_state: int | None) -> dict[tuple[str, ...], float]:
    """The figures of usage that the engine can know."""
    return {(state,): figure for state, figure in by_state.items() if figure is not None}


def _storage(now: Snapshot) -> Iterator[Metric]:
    counts = now.counts
    yield gauge(
        "blobkeep_blobs",
        "Blobs by state; Failure: waiting for the gc; Kept: deleted or replaced, and kept for a while.",
        _known(OK=counts.blobs, Pending=counts.pending, Failure=counts.failures, Kept=counts.kept),
        "state",
    )
    yield gauge(
        "blobkeep_blob_bytes",
        "Bytes of data by state.",
        _known(
            OK=counts.bytes,
            Pending=counts.pending_bytes,
            Failure=counts.failure_bytes,
            Kept=counts.kept_bytes,
        ),
        "state",
    )
    yield counter(
        "blobkeep_transitions",
        "Transitions of blobs, by the state that they led to.",
        {(state,): n for state, n in now.transitions.items()},
        "state",
    )
    yield gauge(
        "blobkeep_damaged_blobs",
        "Blobs known to be damaged, and not written or deleted since, of known locations or not.",
        counts.damaged,
    )
    yield gauge(
        "blobkeep_unread_blobs",
        "Blobs that could not be read since the start, or whose checksums are not computed yet.",
        counts.unread,
    )
    yield counter("blobkeep_read_errors", "Reads of blobs that the disk refused.", counts.read_errors)
    yield gauge("blobkeep_uploads", "Uploads under way.", counts.uploads)
    if counts.ids is not None and counts.ids_left is not None:
        yield gauge("blobkeep_ids", "How many ids there are.", counts.ids)
        yield gauge("blobkeep_ids_left", "Ids without a live blob.", counts.ids_left)
    yield gauge("blobkeep_ready", "1 while a blob can be written and read.", int(now.ready))
    yield gauge(
        "blobkeep_check_ok",
        "1 for each check of /healthz?verbose that is well.",
        {(check.name,): int(check.ok) for check in now.checks},
        "check",
    )


def _disk(disk: Disk) -> Iterator[Metric]:
    yield gauge("blobkeep_disk_size_bytes", "Size of the file system of the data directory.", disk.size_bytes)
    yield gauge("blobkeep_disk_free_bytes", "Free there, for a user who is not root.", disk.free_bytes)
    yield gauge("blobkeep_disk_free_inodes", "Files that can still be made there.", disk.free_inodes)
    text = "Uploads that would leave less are refused."
    yield gauge("blobkeep_disk_min_free_bytes", text, disk.min_free_bytes)
    yield gauge("blobkeep_disk_min_free_inodes", text, disk.min_free_inodes)


def _commits(syncs: Histogram, groups: Histogram) -> Iterator[Metric]:
    for name, text, histogram in (
        ("blobkeep_commit_sync_seconds", "What the syncs of one commit took, all together.", syncs),
        ("blobkeep_commit_changes", "Changes that shared one commit.", groups),
    ):
        family = HistogramMetricFamily(name, text, labels=[])
        family.add_metric([], cumulated(histogram.bounds, histogram.buckets), histogram.sum)
        yield family


def _store_requests(kinds: Mapping[str, StoreRequests]) -> Iterator[Metric]:
    """For an engine that keeps blobs behind a network."""
    if not kinds:
        return
    latency = HistogramMetricFamily(
        "blobkeep_store_request_seconds", "What requests to the object store took.", labels=["kind"]
    )
    for kind, one in kinds.items():
        latency.add_metric([kind], cumulated(one.seconds.bounds, one.seconds.buckets), one.seconds.sum)
    yield latency
    yield counter(
        "blobkeep_store_request_errors",
        "Requests to the object store without an answer to use: time-outs, lost connections, 5xx.",
        {(kind,): one.errors for kind, one in kinds.items()},
        "kind",
    )


def _recovery(now: Snapshot) -> Iterator[Metric]:
    done = now.recovered
    yield gauge("blobkeep_recovery_seconds", "How long the recovery at the last start took.", done.seconds)
    outcomes = ("live", "interrupted", "superseded", "adopted", "removed", "quarantined")
    yield gauge(
        "blobkeep_recovery_blobs",
        "What the recovery at the last start made of the folders that it found.",
        {(outcome,): getattr(done, outcome) for outcome in outcomes},
        "outcome",
    )


def _processes(processes: list[ProcessFigures]) -> Iterator[Metric]:
    def each(name: str, text: str, attribute: str, make: Callable[..., Metric] = gauge) -> Metric:
        values = {(one.name,): getattr(one, attribute) for one in processes}
        return make(name, text, {key: v for key, v in values.items() if v is not None}, "process")

    yield each("blobkeep_process_up", "1 while the process runs and is heard of.", "is_up")
    yield each("blobkeep_process_starts", "Starts of the process on this directory.", "starts", counter)
    yield each("blobkeep_process_crashes", "Ends of it without a word.", "crashes", counter)
    yield each("blobkeep_process_uptime_seconds", "Since its start.", "uptime_s")
    yield each("blobkeep_process_resident_memory_bytes", "Its resident memory.", "memory_bytes")
    yield each("blobkeep_process_cpu_seconds", "CPU time of it, user and system.", "cpu_s", counter)
    yield each("blobkeep_process_threads", "Its threads.", "threads")
    yield each("blobkeep_process_open_fds", "Its open file descriptors.", "open_files")
    yield each(
        "blobkeep_process_silence_seconds",
        "Since it was last seen to have woken up, or told something.",
        "heard_s_ago",
    )
    workers = {one.name: one for one in processes if one.name != "server"}
    for field, text in (
        ("passes", "Passes of the worker, as of the last that had news."),
        ("failed_passes", "Passes that ended with an error."),
    ):
        yield counter(
            f"blobkeep_worker_{field}",
            text,
            {(name,): getattr(one.totals, field) for name, one in workers.items() if one.totals is not None},
            "process",
        )
    yield gauge(
        "blobkeep_worker_last_pass_seconds",
        "How long the last pass took.",
        {(name,): one.last_pass.seconds for name, one in workers.items() if one.last_pass is not None},
        "process",
    )
    # A process that the engine does not need has no figures.
    if (gc := workers.get("gc")) is not None:
        yield from _collecting(gc.totals or self_report.Totals())
    if (recovery := workers.get("recovery")) is not None:
        yield from _scrubbing(recovery.scrub or self_report.Scrub())


def _collecting(gc: self_report.Totals) -> Iterator[Metric]:
    yield counter("blobkeep_gc_removed_blobs", "Blobs that the gc removed.", gc.removed)
    yield counter("blobkeep_gc_freed_bytes", "Bytes that the gc freed.", gc.freed_bytes)
    yield counter("blobkeep_gc_errors", "Blobs that the gc could not remove.", gc.errors)


def _scrubbing(scrub: self_report.Scrub) -> Iterator[Metric]:
    yield counter("blobkeep_scrub_blobs", "Blobs that were re-read and are good.", scrub.checked)
    yield counter("blobkeep_scrub_bytes", "Bytes that were re-read.", scrub.checked_bytes)
    yield counter("blobkeep_scrub_damaged_blobs", "Blobs that were found damaged.", scrub.damaged)
    yield counter("blobkeep_scrub_unreadable_blobs", "Blobs that the disk did not give.", scrub.unreadable)
    yield gauge(
        "blobkeep_scrub_round_blobs", "Blobs of the round under way, 0 between two.", scrub.round_blobs
    )
    yield gauge("blobkeep_scrub_round_left_blobs", "Of these, still to be re-read.", scrub.round_left)


Values = float | dict[tuple[str, ...], float]


def gauge(name: str, text: str, values: Values, *labels: str) -> Metric:
    """What goes up and down: one value, or one by the values of `labels`."""
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def counter(name: str, text: str, values: Values, *labels: str) -> Metric:
    """What only grows; the library appends `_total`."""
    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Values) -> Metric:
    for key, value in values.items() if isinstance(values, dict) else [((), values)]:
        family.add_metric(list(key), value)
    return family


def cumulated(bounds: Iterable[float], buckets: Iterable[int]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: (upper bound, values up to there)."""
    names = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    return [(name, float(total)) for name, total in zip(names, accumulate(buckets), strict=True)]
