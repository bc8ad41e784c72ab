"""`python -m bench.readers`: reads by a server with readers, beside nginx with as many processes (--workers).

No process is bound to a core. The rounds alternate, and the table has their medians. On a busy machine the
CPU time per request tells more than the rate.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from bench import load
from bench.cases import fill
from bench.measure import KIB
from bench.peers import ALL_CORES, ROOT, Running, environment, started

_BLOBS = 1000
_CONNECTIONS = 32
_WARM_S = 1.0


class Figure(NamedTuple):
    """Of one round: requests a second, and CPU of all processes that serve, in microseconds a request."""

    rate: float
    cpu_us: float


@contextlib.contextmanager
def _blobkeep(base: Path, readers: int) -> Iterator[tuple[Running, list[psutil.Process]]]:
    with started("blobkeep", base, flags=("--readers", str(readers)), cores=ALL_CORES) as peer:
        command = [sys.executable, "-m", "services.reader", "--dir", str(peer.folder)]
        env = environment() | {"BLOBKEEP_READERS": str(readers)}
        children = [subprocess.Popen(command, cwd=ROOT, env=env) for _ in range(readers)]
        try:
            yield peer, [peer.process, *(psutil.Process(child.pid) for child in children)]
        finally:
            for child in children:
                child.terminate()
                child.wait(30)


@contextlib.contextmanager
def _nginx(base: Path, workers: int) -> Iterator[tuple[Running, list[psutil.Process]]]:
    with started("nginx", base, cores=ALL_CORES, workers=workers) as peer:
        while len(peer.processes()) <= workers:  # the master forks them once it answers
            time.sleep(0.01)
        yield peer, peer.processes()


def _measure(peer: Running, serving: list[psutil.Process], seconds: float) -> Figure:
    def cpu_s() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in serving)

    prefix = peer.prefix + "get-"
    load.read(peer, prefix, _BLOBS, _CONNECTIONS, _WARM_S)
    before = cpu_s()
    result = load.read(peer, prefix, _BLOBS, _CONNECTIONS, seconds)
    return Figure(result.rate, (cpu_s() - before) / max(1, result.requests) * 1e6)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.readers", description=__doc__)
    parser.add_argument("--readers", type=int, default=max(1, len(ALL_CORES) - 1))
    parser.add_argument("--workers", type=int, default=0, help="of nginx; one more than readers if not given")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    count, base = options.readers, Path(tempfile.mkdtemp(prefix="blobkeep-bench-"))
    beside = options.workers or count + 1
    readers, workers = f"server, {count} reader{'s' * (count > 1)}", f"nginx, {beside} workers"
    names = ("one process", readers, workers)
    found: dict[str, list[Figure]] = {name: [] for name in names}
    with (
        _blobkeep(base, 0) as one,
        _blobkeep(base, count) as several,
        _nginx(base, beside) as nginx,
    ):
        for peer, _ in (one, several, nginx):
            fill(peer, "get-", _BLOBS, KIB)
        for _ in range(options.rounds):
            for name, (peer, serving) in zip(names, (one, several, nginx), strict=True):
                found[name].append(_measure(peer, serving, options.seconds))
    lines = [f"GET 1 KiB of {_BLOBS} blobs, {_CONNECTIONS} connections, {len(ALL_CORES)} cores:"]
    for name, figures in found.items():
        rate = statistics.median(figure.rate for figure in figures)
        cpu_us = statistics.median(figure.cpu_us for figure in figures)
        ratio = statistics.median(
            of_nginx.cpu_us / ours.cpu_us for ours, of_nginx in zip(figures, found[workers], strict=True)
        )
        lines.append(f"{name:18} {rate:10,.0f}/s {cpu_us:6.1f} µs {ratio:6.2f} x nginx by processor time")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
