"""What each process writes about itself, and how others see from it whether the process lives."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from common import self_report
from common.self_report import SelfReport
from services.engines.local.disk import directory
from services.engines.local.disk.layout import Layout
from tests.conftest import StartServer
from tests.support.processes import Process, wait_for
from tests.support.rules import DataDirectory


@pytest.fixture
def data_dir(data: DataDirectory) -> Layout:
    return directory.open_directory(data.root, 16, owner=False)


@pytest.fixture
def gc(data_dir: Layout) -> Iterator[Process]:
    process = Process("gc", data_dir.root, "--gc-interval", "0.05")
    yield process
    process.end()


def _after_a_pass(data_dir: Layout, process: Process) -> SelfReport:
    def report() -> SelfReport | None:
        found = self_report.read(data_dir.reports_dir, process.program)
        return found if found is not None and found.pid == process.pid and found.totals.passes else None

    found = wait_for(report, what="a pass")
    assert found is not None
    return found


def _slept(process: Process) -> int:
    """How often it reported: once after each pass that had nothing to do."""
    return int(psutil.Process(process.pid).num_ctx_switches().voluntary)


def _changed(root: str) -> dict[str, int]:
    """The last change of each file and folder, in nanoseconds."""
    found = {}
    for folder, _, names in os.walk(root):
        for path in (folder, *(f"{folder}/{name}" for name in names)):
            with contextlib.suppress(FileNotFoundError):  # a report that was just replaced
                found[path] = os.lstat(path).st_ctime_ns
    return found


def test_workers_that_have_nothing_to_do_let_the_disk_sleep(data_dir: Layout, gc: Process) -> None:
    worker = Process("recovery", data_dir.root, "--recovery-interval", "0.05")
    try:
        for process in (gc, worker):
            _after_a_pass(data_dir, process)

        def sleeps() -> bool:
            """True if nothing changes while both make passes."""
            before, slept = _changed(data_dir.root), (_slept(gc), _slept(worker))
            wait_for(lambda: _slept(gc) > slept[0] + 20 and _slept(worker) > slept[1] + 20, what="passes")
            return _changed(data_dir.root) == before

        wait_for(sleeps, what="the disk's sleep")
    finally:
        worker.end()


def test_a_killed_process_is_not_alive_and_counts_as_a_crash(data_dir: Layout, gc: Process) -> None:
    first = _after_a_pass(data_dir, gc)
    assert self_report.is_alive(first)
    assert (first.starts, first.crashes, first.interval_s) == (1, 0, 0.05)
    gc.kill()
    assert not self_report.is_alive(first)
    gc.restart()
    second = _after_a_pass(data_dir, gc)
    assert (second.starts, second.crashes) == (2, 1)
    assert self_report.is_alive(second)


def test_a_stop_is_no_crash(data_dir: Layout, gc: Process) -> None:
    _after_a_pass(data_dir, gc)
    assert gc.stop() == 0
    report = self_report.read(data_dir.reports_dir, "gc")
    assert report is not None
    assert report.stopped
    gc.restart()
    assert (_after_a_pass(data_dir, gc).starts, _after_a_pass(data_dir, gc).crashes) == (2, 0)


def test_a_pid_that_came_back_is_another_process(data_dir: Layout) -> None:
    report = self_report.begin(data_dir.reports_dir, "gc", 5.0)
    assert self_report.is_alive(report)
    report.start_ticks -= 1
    assert not self_report.is_alive(report)


def test_a_damaged_report_is_none_and_begun_anew(data_dir: Layout) -> None:
    self_report.begin(data_dir.reports_dir, "gc", 5.0)
    with open(self_report.path_of(data_dir.reports_dir, "gc"), "wb") as file:
        file.write(b'{"name": "gc", "pid"')
    assert self_report.read(data_dir.reports_dir, "gc") is None
    assert self_report.begin(data_dir.reports_dir, "gc", 5.0).starts == 1


def test_the_gc_says_what_it_removed(data_dir: Layout, start_server: StartServer, gc: Process) -> None:
    server = start_server()
    for number in range(30):
        assert server.ask("POST", f"/store/{number}", b"12345").status == 201
        assert server.ask("DELETE", f"/store/{number}").status == 200

    def removed() -> SelfReport | None:
        found = self_report.read(data_dir.reports_dir, "gc")
        return found if found is not None and found.totals.removed == 30 else None

    found = wait_for(removed, what="the removal")
    assert found is not None
    assert found.totals.freed_bytes > 30 * 5
    assert found.totals.errors == 0
    assert time.time() - found.written_s < 60


def test_the_recovery_worker_says_how_far_it_is(data_dir: Layout, start_server: StartServer) -> None:
    server = start_server()
    assert server.ask("POST", "/store/a", b"12345").status == 201
    worker = Process("recovery", data_dir.root, "--recovery-interval", "0.05")
    try:
        scrub = _after_a_pass(data_dir, worker).scrub
        assert scrub is not None
        assert (scrub.checked, scrub.checked_bytes, scrub.damaged, scrub.round_left) == (1, 5, 0, 0)
        assert scrub.next_round_s > time.time()
    finally:
        worker.end()


def test_a_folder_that_cannot_be_written_stops_nobody(data_dir: Layout) -> None:
    os.mkdir(f"{data_dir.root}/.status", 0o700)
    os.mkdir(self_report.path_of(data_dir.reports_dir, "gc"))
    report = self_report.begin(data_dir.reports_dir, "gc", 5.0)
    assert report.starts == 1
    assert self_report.read(data_dir.reports_dir, "gc") is None
    os.rmdir(self_report.path_of(data_dir.reports_dir, "gc"))


def test_a_worker_that_was_suspended_goes_on(data_dir: Layout, gc: Process) -> None:
    _after_a_pass(data_dir, gc)
    for _ in range(3):
        gc.popen.send_signal(signal.SIGSTOP)
        wait_for(lambda: psutil.Process(gc.pid).status() == psutil.STATUS_STOPPED, what="its stop")
        before = _slept(gc)
        time.sleep(0.1)  # longer than the pause between two passes
        gc.popen.send_signal(signal.SIGCONT)
        wait_for(lambda: _slept(gc) > before + 2, what="the next pass")  # noqa: B023
    assert gc.stop() == 0
