"""The server's own report: a stop that it was told is no crash, one that it chose after a failed sync is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from common import self_report
from common.config import Config
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery.reconcile import Reconciled
from services.watch.feed import Feed
from services.watch.monitor import REPORT_EVERY_S, Monitor, recovered
from services.watch.request_log import RequestLog


@pytest.mark.parametrize("told", [True, False])
def test_an_end_that_nobody_asked_for_counts_as_a_crash(tmp_path: Path, told: bool) -> None:
    data_dir = Layout(str(tmp_path), 16)

    async def run() -> None:
        store = SimpleNamespace(feed=Feed())
        monitor = Monitor(data_dir, store, Config(), RequestLog(), recovered(Reconciled()))
        monitor.start(self_report.begin(data_dir.reports_dir, "server", REPORT_EVERY_S))
        await monitor.close(told=told)

    asyncio.run(run())
    assert self_report.begin(data_dir.reports_dir, "server", REPORT_EVERY_S).crashes == (not told)
