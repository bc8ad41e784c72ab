"""The processes as the kernel and their self reports show them: which are up, since when, at what cost."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from common import self_report
from common.self_report import LastPass, Scrub, SelfReport, Totals

# A process that works, or waits for its next pass, wakes up from time to time. The kernel counts that, so no
# report is needed. A process that sleeps longer than this hangs, on its disk for example.
SILENT_AFTER_S = 120.0


class ProcessFigures(msgspec.Struct):
    """One process. `state`: up, stalled (there, but silent or suspended), stopped (as told), down, or never
    (seen here).

    Memory in bytes; times in seconds; `cpu_percent` of one core, over the time between two looks.
    """

    name: str
    state: str
    pid: int | None = None
    uptime_s: float | None = None
    memory_bytes: int | None = None
    cpu_s: float | None = None
    cpu_percent: float | None = None
    threads: int | None = None
    open_files: int | None = None
    starts: int = 0
    crashes: int = 0
    heard_s_ago: float | None = None
    last_pass: LastPass | None = None
    totals: Totals | None = None
    scrub: Scrub | None = None

    @property
    def is_up(self) -> bool:
        """True where nothing is to be done about it."""
        return self.state == "up"


class Processes:
    """Looks at the processes that leave their reports in one folder. One thread at a time may use it."""

    def __init__(self, reports_dir: str, names: Sequence[str]) -> None:
        self._reports_dir = reports_dir
        self._names = names
        self._cpu: dict[int, tuple[float, float]] = {}  # by pid: (when looked at, CPU seconds then)
        # By pid: (how often it slept, when that was seen first).
        self._woken: dict[int, tuple[int, float]] = {}

    def reports(self) -> dict[str, SelfReport | None]:
        """The self reports, by process."""
        return {name: self_report.read(self._reports_dir, name) for name in self._names}

    def look(self, reports: dict[str, SelfReport | None]) -> list[ProcessFigures]:
        """The processes, from `reports` and from the kernel."""
        return [self._figures(name, report) for name, report in reports.items()]

    def _figures(self, name: str, report: SelfReport | None) -> ProcessFigures:
        if report is None:
            return ProcessFigures(name, "never")
        figures = ProcessFigures(
            name,
            "down",
            starts=report.starts,
            crashes=report.crashes,
            heard_s_ago=max(0.0, time.time() - report.written_s),
            last_pass=report.last,
            totals=report.totals,
            scrub=report.scrub,
        )
        if report.stopped:
            figures.state = "stopped"
        elif not self_report.is_alive(report):
            figures.crashes += 1  # as its next start will count
        else:
            self._ask_kernel(figures, report)
        return figures

    def _ask_kernel(self, figures: ProcessFigures, report: SelfReport) -> None:
        import psutil  # 10 ms, for which no start waits

        try:
            process = psutil.Process(report.pid)
            with process.oneshot():
                times = process.cpu_times()
                figures.pid = report.pid
                figures.uptime_s = max(0.0, time.time() - report.started_s)
                figures.memory_bytes = process.memory_info().rss
                figures.cpu_s = times.user + times.system
                figures.threads = process.num_threads()
                figures.open_files = process.num_fds()
                slept = process.num_ctx_switches().voluntary
                suspended = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        except psutil.NoSuchProcess:
            return  # it died right now
        except psutil.AccessDenied:
            figures.state, figures.pid = "up", report.pid  # another user's: the rest is not for us
            return
        now = time.monotonic()
        before = self._cpu.get(report.pid)
        if before is not None and now > before[0]:
            figures.cpu_percent = 100 * (figures.cpu_s - before[1]) / (now - before[0])
        self._cpu[report.pid] = (now, figures.cpu_s)
        if len(self._cpu) > 16:  # pids of former lives
            del self._cpu[next(iter(self._cpu))]
        figures.heard_s_ago = min(figures.heard_s_ago or 0.0, self._silent_s(report.pid, slept, now))
        silent = figures.heard_s_ago > max(SILENT_AFTER_S, 3 * report.interval_s)
        figures.state = "stalled" if suspended or silent else "up"

    def _silent_s(self, pid: int, slept: int, now: float) -> float:
        """How long a process has not woken up, as far as was seen. `slept`: how often it has slept so far."""
        before = self._woken.pop(pid, None)
        since = now if before is None or before[0] != slept else before[1]
        self._woken[pid] = (slept, since)
        if len(self._woken) > 16:
            del self._woken[next(iter(self._woken))]
        return now - since
