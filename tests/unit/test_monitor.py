"""The server's own report: a stop that it was told is no crash, one that it chose after a failed sync is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from common import self_report
from services.watch.monitor import REPORT_EVERY_S, Monitor
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
