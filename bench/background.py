"""What happens besides requests: restarts, the gc, idle workers, and clients that read meanwhile.

Only the restart is also measured on other peers. Directories are filled by writing the files directly,
without syncs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from bench import load, peers
from bench.measure import Case, Values
from bench.peers import ROOT, SERVER_CORE, Running
from common import checksum
from common.states import MSG_CREATED
from services.engines.local.disk import directory, record

_IDLE_S = 60.0
# of writes, so that the server knows how fast its disk is, and nothing older waits to be written
_WARM_UP_S = 2.0
_READ = "quiet-"


def fill(folder: Path, count: int, first: int = 0, prefix: str = "filled-") -> None:
    """Blobs of 100 bytes with ids first..first+count, named by their ids."""
    data_dir = directory.open_directory(str(folder), 16, owner=True)
    body = b"x" * 100
    sums = checksum.sums_of(body)
    for blob_id in range(first, first + count):
        now_ns = time.time_ns()
        named, seq = f"{prefix}{blob_id}", blob_id + 1
        done = record.whole(blob_id, named, seq, MSG_CREATED, now_ns, "text/plain", "", len(body), *sums)
        os.mkdir(data_dir.folder(blob_id), 0o700)
        for path, content in ((data_dir.data(blob_id), body), (data_dir.state(blob_id), record.dump(done))):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(fd, content)
            os.close(fd)


def _worker(name: str, folder: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"services.{name}", "--dir", str(folder), *flags],
        cwd=ROOT,
        env=peers.environment(),
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
    )


def _restart(count: int) -> Case:
    def run(peer_name: str, go_binary: str | None, base: Path, seconds: float) -> Values:
        del seconds
        folder = Path(tempfile.mkdtemp(dir=base))
        fill(folder, count)
        cores = peers.ALL_CORES  # no load runs at the same time
        with peers.started(peer_name, base, go_binary, folder, cores=cores) as peer:
            peer.process.send_signal(signal.SIGKILL)
            peer.process.wait()
        began = time.perf_counter()
        with peers.started(peer_name, base, go_binary, folder, cores=cores) as peer:
            with peer.client() as ask:
                if ask("GET", "filled-1") != (200 if count else 404):
                    raise RuntimeError(f"{peer_name} does not serve what was there before the restart")
            return {
                "seconds": time.perf_counter() - began,
                "cpu_s": peer.cpu_seconds(),
                "rss_mib": peer.rss_bytes() / (1 << 20),
            }

    return Case(f"restart with {count:,} blobs after kill -9, to the first answer", "seconds", run)


RESTARTS = [_restart(0), _restart(10_000), _restart(60_000)]
"""Run on (peer's name, the Go server's program, a folder)."""


def _reclaim(base: Path, seconds: float) -> Values:
    """5,000 deletes, then one pass of the gc: its time and CPU, less those of a pass with nothing to do."""
    del seconds
    folder = Path(tempfile.mkdtemp(dir=base))
    fill(folder, 5000)

    def one_pass() -> tuple[float, float]:
        began = time.perf_counter()
        child = _worker("gc", folder, "--once")
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        return time.perf_counter() - began, usage.ru_utime + usage.ru_stime

    with peers.started("blobkeep", base, folder=folder) as peer:
        nothing_s, nothing_cpu_s = one_pass()
        with peer.client() as ask:
            for blob_id in range(5000):
                ask("DELETE", f"filled-{blob_id}")
        took_s, cpu_s = one_pass()
    left = sum(1 for name in os.listdir(folder) if name.isdigit())
    if left:
        raise RuntimeError(f"{left} folders are left")
    return {"seconds": max(0.0, took_s - nothing_s), "cpu_s": max(0.0, cpu_s - nothing_cpu_s)}


def _idle(base: Path, seconds: float) -> Values:
    """A minute without requests, with 60,000 blobs: CPU of each process in percent of a core."""
    del seconds
    folder = Path(tempfile.mkdtemp(dir=base))
    fill(folder, 60_000)
    with peers.started("blobkeep", base, folder=folder) as peer:
        workers = {name: _worker(name, folder) for name in ("gc", "recovery")}
        try:
            time.sleep(8)  # their start, and the first pass
            watched = {name: psutil.Process(child.pid) for name, child in workers.items()}
            watched["server"] = peer.process
            before = {name: _cpu(process) for name, process in watched.items()}
            time.sleep(_IDLE_S)
            used_s = {name: _cpu(process) - before[name] for name, process in watched.items()}
        finally:
            for child in workers.values():
                child.terminate()
                child.wait()
    values = {f"{name}_percent": used / _IDLE_S * 100 for name, used in used_s.items()}
    return {"cpu_s": sum(used_s.values()) * 3600 / _IDLE_S, **values}


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def _nothing(peer: Running, seconds: float) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _reclaiming(peer: Running, seconds: float) -> Iterator[None]:
    """Meanwhile the gc removes deleted blobs, one pass after the other."""
    with peer.client() as ask:
        for blob_id in range(30_000, 40_000):
            ask("DELETE", f"filled-{blob_id}")
    gc = _worker("gc", peer.folder)
    try:
        time.sleep(0.3)  # its start
        yield
    finally:
        gc.terminate()
        gc.wait()


@contextlib.contextmanager
def _neighbour(peer: Running, seconds: float) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.neighbour", str(peer.folder.parent), str(seconds + 2)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # it is ready
        yield


Disturbance = Callable[[Running, float], "contextlib.AbstractContextManager[None]"]


def _reading_while(what: str, disturbance: Disturbance) -> Case:
    def run(base: Path, seconds: float) -> Values:
        folder = Path(tempfile.mkdtemp(dir=base))
        fill(folder, 1000, prefix=_READ)
        fill(folder, 10_000, first=30_000)
        with peers.started("blobkeep", base, folder=folder) as peer, disturbance(peer, seconds):
            return load.read(peer, f"{peer.prefix}{_READ}", 1000, 16, seconds).values()

    return Case(f"GET, 16 connections, {what}", "p99_us", run)


def _creating_while(what: str, disturbance: Disturbance) -> Case:
    def run(base: Path, seconds: float) -> Values:
        os.sync()  # nothing of an earlier case may be counted here
        with peers.started("blobkeep", base) as peer, disturbance(peer, 2 * seconds + _WARM_UP_S):
            load.write(peer, peer.create, f"{peer.prefix}first-", 1024, 16, _WARM_UP_S)
            return load.write(peer, peer.create, f"{peer.prefix}new-", 1024, 16, 2 * seconds).values()

    return Case(f"create 1 KiB, 16 connections, {what}", "per_s", run)


CASES = [
    Case("reclaim 5,000 deletes", "seconds", _reclaim),
    Case("an idle hour with 60,000 blobs", "cpu_s", _idle, once=True),
    _reading_while("quiet", _nothing),
    _reading_while("while deletes are reclaimed", _reclaiming),
    _reading_while("while a neighbour dirties the disk", _neighbour),
    _creating_while("quiet", _nothing),
    _creating_while("while a neighbour dirties the disk", _neighbour),
]
