"""The server's own report: a stop that was asked for is no crash, but a stop after a failed sync is one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from common import self_report
from common.self_report import MAX_NAMED, LastPass, NamedBlob, SelfReport
from common.worker import Worker
from services.watch.monitor import REPORT_EVERY_S, Monitor
from services.watch.processes import Processes
from services.watch.request_log import RequestLog
from tests.support.memory_engine import MemoryEngine


@pytest.mark.parametrize("told", [True, False])
def test_an_end_that_nobody_asked_for_counts_as_a_crash(tmp_path: Path, told: bool) -> None:
    async def run() -> None:
        engine = MemoryEngine(str(tmp_path / "reports"))
        monitor = Monitor(engine, engine.store, RequestLog())
        monitor.start(self_report.begin(engine.reports_dir, "server", REPORT_EVERY_S))
        await monitor.close(told=told)

    asyncio.run(run())
    assert self_report.begin(str(tmp_path / "reports"), "server", REPORT_EVERY_S).crashes == (not told)


def test_what_the_gc_removed_between_two_looks_is_told_once_and_whole(tmp_path: Path) -> None:
    """Passes may be quicker than the monitor looks. On a busy machine it missed all but the last."""
    engine = MemoryEngine(str(tmp_path))
    monitor = Monitor(engine, engine.store, RequestLog())

    def look(report: SelfReport) -> list[int | str]:
        seen = monitor.feed.number
        monitor._hear({"gc": report})
        return [entry.id for entry in monitor.feed.after(seen)]

    report = self_report.begin(str(tmp_path), "gc", 1.0)
    worker = Passes()
    worker.about_me = report
    worker.removes(1)
    assert look(report) == [], "what was removed before the first look does not count"
    assert look(report) == []
    worker.removes(2, 3)
    worker.removes(4)
    assert look(report) == [2, 3, 4]
    worker.removes()
    assert look(report) == []
    worker.removes(*range(5, 5 + 2 * MAX_NAMED))
    assert look(report) == list(range(5 + MAX_NAMED, 5 + 2 * MAX_NAMED))
    assert monitor.feed.counts["Removed"] == 3 + 2 * MAX_NAMED
    worker.about_me = report = self_report.begin(str(tmp_path), "gc", 1.0)
    worker.removes(99)
    assert look(report) == [99], "a new gc counts from zero"


class Passes(Worker):
    """A gc whose passes remove what it is told."""

    def __init__(self) -> None:
        super().__init__("gc", 1.0, "/nowhere")

    def run_once(self) -> str | None:
        return None

    def removes(self, *ids: int) -> None:
        named = tuple(NamedBlob(blob_id, "a") for blob_id in ids)
        self.about_pass = LastPass(1.0, 0.0, removed=len(ids), named=named)
        self.tell(0.0)


def test_a_process_is_silent_for_as_long_as_it_is_not_seen_to_wake_up(tmp_path: Path) -> None:
    processes = Processes(str(tmp_path), ["gc"])
    looks = [(1, 10, 1000.0), (1, 10, 1150.0), (2, 10, 1150.0), (1, 11, 1200.0), (1, 11, 1201.0)]
    assert [processes._silent_s(*look) for look in looks] == [0.0, 150.0, 0.0, 0.0, 1.0]
