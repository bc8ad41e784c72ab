"""`python -m bench.many`: what starts and pages cost with very many blobs. The directory is made without a
server.

A million blobs are three million inodes and 12 GB of ext4, and take minutes to make: `--folder` keeps the
directory for another time. Ten million fit into 34 GB that were made by
`mkfs.ext4 -b 1024 -I 256 -O inline_data -N 31000000`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.generated import BODY, generate, location_of, write_index
from bench.peers import ROOT, environment, free_port

PAGES = (
    *("/store/?limit=1000", "/store/?prefix=2500/&limit=1000"),
    *("/store/?delimiter=/&limit=100", "/store/?delimiter=/&limit=1000"),
    "/blobs/?limit=100",
)
_IDLE_S = 10.0


@contextlib.contextmanager
def _server(root: Path, what: str, *, index: bool) -> Iterator[tuple[int, psutil.Process]]:
    """A server, killed at the end. Tells the time to its first answer, and its memory at that moment."""
    port, began = free_port(), time.perf_counter()
    env = environment() | {"BLOBKEEP_INDEX": str(index).lower(), "BLOBKEEP_ID_BITS": "32"}
    command = [sys.executable, "-m", "services.server", "--dir", str(root), "-s", f"127.0.0.1:{port}"]
    child = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    process = psutil.Process(child.pid)
    try:
        while not _answers(port):
            assert child.poll() is None, "the server ended"
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        _say(f"{what}: {seconds:.2f} s, {_cpu_s(process):.2f} s CPU, {_private_mib(child.pid)} MiB private")
        yield port, process
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return _get(port, f"/store/{location_of(1)}") == BODY
    return False


def _get(port: int, target: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request("GET", target)
        return connection.getresponse().read()
    finally:
        connection.close()


def _cpu_s(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:4]))  # and that of its scan helpers


def _private_mib(pid: int) -> int:
    found = re.findall(r"Private_\w+: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text())
    return sum(map(int, found)) >> 10


def _random_reads(port: int, process: psutil.Process, blobs: int) -> None:
    before, rounds, took = _cpu_s(process), 200, []
    for number in random.sample(range(blobs), rounds):
        began = time.perf_counter()
        assert _get(port, f"/store/{location_of(number)}") == BODY
        took.append(time.perf_counter() - began)
    cpu_ms = (_cpu_s(process) - before) / rounds * 1e3
    _say(f"  a GET of a random blob: p50 {sorted(took)[rounds // 2] * 1e3:.1f} ms, {cpu_ms:.2f} ms CPU")


def _pages(port: int, process: psutil.Process) -> None:
    for target in PAGES:
        _get(port, target)
        before, rounds = _cpu_s(process), 20
        for _ in range(rounds):
            _get(port, target)
        _say(f"  a page {target}: {(_cpu_s(process) - before) / rounds * 1e3:.1f} ms CPU")


def _idle(process: psutil.Process) -> None:
    before = _cpu_s(process)
    time.sleep(_IDLE_S)
    _say(f"  idle after the start: {(_cpu_s(process) - before) / _IDLE_S:.2%} of a core")


def _collect(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.gc", "--dir", str(root), "--once"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    _say("  a pass of the gc over all folders: " + done.stderr.strip().rpartition("\n")[2])


def _forget_pages() -> bool:
    """Empty the page cache of the whole machine. False if that is not permitted."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m bench.many", description=__doc__)
    parser.add_argument("--blobs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the directory is kept; made where it is not there")
    parser.add_argument("--cold", action="store_true", help="also with an empty page cache (as root)")
    parser.add_argument(
        "--indexed", action="store_true", help="write the index here, without the start that reads everything"
    )
    parser.add_argument("--maps", action="store_true", help="also without the index")
    options = parser.parse_args()
    root = options.folder or Path(tempfile.mkdtemp(prefix="blobkeep-bench-")) / "many"
    if not root.exists():
        began = time.perf_counter()
        generate(root, options.blobs)
        _say(f"{options.blobs:,} blobs made in {time.perf_counter() - began:.0f} s")
    if options.maps:
        with _server(root, "a start without the index", index=False) as (port, process):
            _pages(port, process)
    if options.indexed:
        began = time.perf_counter()
        write_index(root, options.blobs)
        _say(f"the index was written in {time.perf_counter() - began:.0f} s")
    else:
        with _server(root, "a start that reads all, and makes the index", index=True):
            pass
    with _server(root, "the first start after that", index=True):
        pass
    with _server(root, "after kill -9", index=True) as (port, process):
        _random_reads(port, process, options.blobs)
        _pages(port, process)
        _idle(process)
    if options.cold and _forget_pages():
        with _server(root, "after kill -9, nothing in the page cache", index=True):
            pass
    _collect(root)


if __name__ == "__main__":
    main()
