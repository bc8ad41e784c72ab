"""`python -m bench`: every case on every installed peer, in alternation; tables, plots, docs/performance.md.

What was measured is kept as JSON; the page can be made from it again (--report) without measuring.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import background, cases, large, limits, paced, peers, report
from bench.measure import MIB, Case, Figure

EXIT_TERMINATED = 128 + signal.SIGTERM
RESULTS = peers.ROOT / "bench/results.json"


def main() -> int:
    """Run what the flags say; returns the exit status: 1 if a measurement failed."""
    options = _parser().parse_args()
    if options.report:
        found = json.loads(options.report.read_text())
        report.write(found["about"], [Figure(**f) for f in found["figures"]], options.docs)
        return 0
    if shutil.which("wrk") is None:
        sys.stderr.write("wrk is needed for the load: install it (Debian, Ubuntu: apt install wrk).\n")
        return 2
    if len(os.sched_getaffinity(0)) < 2:
        sys.stderr.write("Two cores are needed: one for the server, one for the load.\n")
        return 2
    os.sched_setaffinity(0, {peers.LOAD_CORE})
    # so that servers are stopped and data is removed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    run = _Run(options)
    began = time.monotonic()
    try:
        run.all()
        about = report.machine() | {"took": f"{(time.monotonic() - began) / 60:.0f} minutes"}
        options.json.write_text(
            json.dumps({"about": about, "figures": [vars(f) for f in run.figures]}, indent=1) + "\n"
        )
    finally:
        if options.keep:
            sys.stderr.write(f"the data stay in {run.base}\n")
        else:
            sys.stderr.write(f"removing the data in {run.base}, which takes a while\n")
            shutil.rmtree(run.base, ignore_errors=True)
    sys.stdout.write(report.page(about, run.figures))
    if options.docs:
        report.write(about, run.figures, options.docs)
        shutil.copy(options.json, options.docs / "performance.json")
    return 1 if run.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the medians of them count")
    parser.add_argument("--only", default="", help="cases whose names hold one of these, separated by ';'")
    parser.add_argument("--peers", default="", help="only these peers, separated by ';'")
    parser.add_argument("--go", metavar="BINARY", help="the original server's program")
    parser.add_argument(
        "--dir", type=Path, default=Path(tempfile.gettempdir()), help="the disk to measure on"
    )
    parser.add_argument("--json", type=Path, default=RESULTS, help="where every figure is kept")
    parser.add_argument("--docs", type=Path, help="write performance.md and its plots into this folder")
    parser.add_argument(
        "--report", type=Path, metavar="JSON", help="measure nothing: --docs from these figures"
    )
    parser.add_argument("--keep", action="store_true", help="keep the data directories")
    return parser


class _Run:
    """One run: each round measures every peer, and each peer every case."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._only = [part.strip() for part in options.only.split(";") if part.strip()]
        wanted = [part.strip() for part in options.peers.split(";") if part.strip()]
        self.names = [n for n in peers.available(options.go) if not wanted or n in wanted]
        self.base = Path(tempfile.mkdtemp(prefix="blobkeep-bench-", dir=options.dir))
        self.figures: list[Figure] = []
        self.failures = 0

    def all(self) -> None:
        """Measure everything. What disturbs the disk comes last."""
        sys.stderr.write(f"measuring {', '.join(self.names)} in {self.base}\n")
        for number in range(self._options.rounds):
            for case in self._chosen(limits.CASES, number):
                self._measure(number, case, "limit", self.base)
            for name in self.names:
                for group in cases.GROUPS:
                    self._peer(number, name, group)
        os.sched_setaffinity(0, peers.ALL_CORES)  # what it starts for the load inherits that
        for number in range(self._options.rounds):
            for name in self.names:
                self._peer(number, name, cases.ON_ALL_CORES, peers.ALL_CORES)
        os.sched_setaffinity(0, {peers.LOAD_CORE})
        for number in range(self._options.rounds):
            for name in self.names:
                self._restarts(number, name)
        if "blobkeep" in self.names:
            for number in range(self._options.rounds):
                for case in self._chosen(background.CASES, number):
                    self._measure(number, case, "blobkeep", self.base)
        for number in range(self._options.rounds):
            for name in self.names:
                self._peer(number, name, paced.CASES)
        for name in self.names:
            self._peer(0, name, large.CASES)

    def _chosen(self, of: list[Case], number: int) -> Iterator[Case]:
        for case in of:
            wanted = not self._only or any(part in case.name for part in self._only)
            if wanted and not (case.once and number):
                yield case

    def _peer(self, number: int, name: str, of: list[Case], cores: set[int] | None = None) -> None:
        chosen = list(self._chosen(of, number))
        if not chosen:
            return
        folder = Path(tempfile.mkdtemp(dir=self.base))
        try:
            with peers.started(name, self.base, self._options.go, folder, cores=cores) as peer:
                for case in chosen:
                    self._measure(number, case, name, peer)
        except (OSError, RuntimeError) as err:
            self._failed(number, name, "start and stop", err)
        _free(folder)

    def _restarts(self, number: int, name: str) -> None:
        if name not in ("blobkeep", "go server"):
            return
        for case in self._chosen(background.RESTARTS, number):
            self._measure(number, case, name, name, self._options.go, self.base)

    def _measure(self, number: int, case: Case, name: str, *on: object) -> None:
        try:
            values = case.run(*on, self._options.seconds)
        except (OSError, RuntimeError) as err:
            self._failed(number, name, case.name, err)
            return
        self.figures.append(Figure(case.name, name, values))
        shown = ", ".join(f"{key} {value:,.2f}" for key, value in values.items())
        sys.stderr.write(f"round {number + 1}: {name}: {case.name}: {shown}\n")

    def _failed(self, number: int, name: str, what: str, err: Exception) -> None:
        self.failures += 1
        sys.stderr.write(f"round {number + 1}: {name}: {what}: FAILED: {err!r}\n")


def _free(folder: Path) -> None:
    """Remove large files to free space. The many small files stay until the end: see peers.started."""
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at, name)
            if path.is_file() and path.stat().st_size >= MIB:
                path.unlink()


if __name__ == "__main__":
    sys.exit(main())
