"""`bench`: measures the user's own disk for a minute: the time of a sync, its speed, and whether it lies.

An acknowledged write costs one sync, so both the speed of a store and its promise depend on the sync. If a
disk syncs faster than its kind can, it does not sync: the bytes are in its cache, and a power cut loses them.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from common import durable
from common.progress import Progress
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.output import Output
from services.tools.storage import BENCH_NAME

HELP = "measure the disk, above all its sync, and judge it"

_BLOCK_BYTES = 4096  # as one small write's record in the journal
_FILE_BYTES = 32 << 20  # as the journal's files
_PIECE_BYTES = 1 << 20
_MAX_WRITE_BYTES = 4 << 30
_LEAST_SAMPLES = 5

# The least time of a sync to a medium. No known disk is faster than the first: a rotation of a hard disk
# takes milliseconds, programming flash hundreds of microseconds, and the command to a drive with a protected
# cache some tens.
_IMPOSSIBLE_US = 15.0
_PROTECTED_US = 150.0
_SLOW_US = 20_000.0
_ROTATING_LEAST_US = 2_000.0
# These keep nothing, whatever they answer.
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})


@dataclass
class Latency:
    """How long one kind of sync takes, in microseconds."""

    name: str
    samples: int
    p50_us: float
    p99_us: float
    max_us: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `bench`."""
    parser.add_argument(
        "folder", nargs="?", help="measure the disk of this folder (default: the data directory)"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure (60)")


def run(args: argparse.Namespace, out: Output) -> int:
    """Measure and judge; 1 if the disk cannot be trusted."""
    folder = os.path.abspath(args.folder or args.config.dir)
    if not os.path.isdir(folder):
        raise CommandFailed(exits.NOT_THERE, f"There is no folder {folder}.")
    home = f"{folder}/{BENCH_NAME}"
    durable.remove_tree(home, under=folder)  # of a bench that was killed
    durable.make_folder(home)
    try:
        latencies, write_mb_per_s = _measure(home, max(0.4, args.seconds))
    finally:
        durable.remove_tree(home, under=folder)
    file_system, rotates = file_system_of(folder), rotates_at(folder)
    belief, verdict = judge(latencies[0].p50_us, file_system, rotates)
    out.document(
        {
            "folder": folder,
            "file_system": file_system,
            "rotates": rotates,
            "latencies": [vars(latency) for latency in latencies],
            "write_mb_per_s": round(write_mb_per_s, 1),
            "believe": belief.value,
            "verdict": verdict,
        }
    )
    out.line(f"{folder}, on {file_system}" + (", a disk that rotates" if rotates else ""))
    out.table(
        ["what", "samples", "p50", "p99", "longest"],
        [[x.name, x.samples, *map(_milliseconds, (x.p50_us, x.p99_us, x.max_us))] for x in latencies],
    )
    out.line(f"sequential write, synced at the end: {write_mb_per_s:,.0f} MB/s")
    rate = 1e6 / latencies[0].p50_us
    out.line(f"one writer alone: at most some {rate:,.0f} durable writes a second; many at once share a sync")
    out.line(verdict)
    return exits.NOT_WELL if belief is Belief.NO else exits.OK


class Belief(enum.Enum):
    """Whether a disk really syncs, as far as its timing shows."""

    YES = "yes"
    ASK = "ask"  # only somebody who knows the disk can tell
    NO = "no"


def judge(sync_p50_us: float, file_system: str, rotates: bool | None) -> tuple[Belief, str]:
    """Judge a disk by the median of a sync. Returns the judgement, and why, in a sentence or two."""
    took = f"A sync takes {_milliseconds(sync_p50_us)}"
    if file_system in _IN_MEMORY:
        return Belief.NO, f"{file_system} is memory: everything is lost with the power. Use another --dir."
    if sync_p50_us < _IMPOSSIBLE_US:
        return Belief.NO, (
            f"{took}: no disk is that fast. Something answers for it and lies (a host's cache set to unsafe, "
            "eatmydata, a file system mounted without barriers): a power cut will lose acknowledged writes."
        )
    if rotates and sync_p50_us < _ROTATING_LEAST_US:
        return Belief.ASK, (
            f"{took}, and the kernel says that the disk rotates, which takes longer: a cache has the bytes. "
            "A virtual disk says the same: ask who runs the host whether that cache survives a power cut."
        )
    if sync_p50_us < _PROTECTED_US:
        return Belief.ASK, (
            f"{took}: as only drives do whose cache survives a power cut (enterprise SSDs, controllers with "
            "a battery, cloud disks). Make sure that it is one; a consumer SSD would be lying."
        )
    if sync_p50_us < _SLOW_US:
        return Belief.YES, f"{took}: as a disk that writes what it says. Believable, by this measure."
    return (
        Belief.YES,
        f"{took}: believable, and slow. Many clients share a sync; few need a faster disk.",
    )


def _measure(home: str, seconds: float) -> tuple[list[Latency], float]:
    kinds: list[tuple[str, Callable[[str], AbstractContextManager[Callable[[], None]]]]] = [
        ("sync of 4 KiB in place (the journal)", _in_place),
        ("sync of a file that grows", _growing),
        ("new file, renamed, folder synced", _new_file),
    ]
    share_s = seconds / (len(kinds) + 1)
    found = []
    with Progress("bench", "seconds") as progress:
        done_s = 0.0

        def tell(spent_s: float) -> None:
            progress(int(done_s + spent_s), int(seconds))

        for name, prepare in kinds:
            with prepare(home) as step:
                found.append(_time(name, step, share_s, tell))
            done_s += share_s
        speed = _sequential(home, share_s, tell)
    return found, speed


def _time(name: str, step: Callable[[], None], seconds: float, tell: Callable[[float], None]) -> Latency:
    taken_us: list[float] = []
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds or len(taken_us) < _LEAST_SAMPLES:
        tell(spent)
        before = time.perf_counter()
        step()
        taken_us.append((time.perf_counter() - before) * 1e6)
    taken_us.sort()
    return Latency(
        name,
        len(taken_us),
        round(taken_us[len(taken_us) // 2], 1),
        round(taken_us[len(taken_us) * 99 // 100], 1),
        round(taken_us[-1], 1),
    )


@contextlib.contextmanager
def _in_place(home: str) -> Iterator[Callable[[], None]]:
    path = f"{home}/in-place"
    durable.write_file(path, bytes(_FILE_BYTES), synced=True)
    fd = durable.open_in_place(path)
    at = 0

    def step() -> None:
        nonlocal at
        durable.write_at(fd, os.urandom(_BLOCK_BYTES), at)
        durable.sync_file(fd)
        at = (at + _BLOCK_BYTES) % _FILE_BYTES

    try:
        yield step
    finally:
        os.close(fd)


@contextlib.contextmanager
def _growing(home: str) -> Iterator[Callable[[], None]]:
    fd = durable.create_file(f"{home}/growing")

    def step() -> None:
        durable.write_all(fd, os.urandom(_BLOCK_BYTES))
        durable.sync_file(fd)

    try:
        yield step
    finally:
        os.close(fd)


@contextlib.contextmanager
def _new_file(home: str) -> Iterator[Callable[[], None]]:
    count = 0

    def step() -> None:
        nonlocal count
        count += 1
        durable.replace_durably(f"{home}/new-{count % 1000}", b"x" * _BLOCK_BYTES)

    yield step


def _sequential(home: str, seconds: float, tell: Callable[[float], None]) -> float:
    """MB (10^6 bytes) a second, the sync at the end included."""
    piece = os.urandom(_PIECE_BYTES)
    fd = durable.create_file(f"{home}/sequential")
    written = 0
    disk = os.statvfs(home)
    limit = min(_MAX_WRITE_BYTES, disk.f_bavail * disk.f_frsize // 4)
    began = time.perf_counter()
    try:
        while (spent := time.perf_counter() - began) < seconds and written + _PIECE_BYTES <= limit:
            tell(spent)
            durable.write_all(fd, piece)
            written += _PIECE_BYTES
        durable.sync_file(fd)
    finally:
        os.close(fd)
    return written / 1e6 / (time.perf_counter() - began)


def file_system_of(folder: str) -> str:
    """The type of the file system that holds `folder`, such as "ext4"; "unknown" if that cannot be told."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index("-") + 1]
    return "unknown"


def rotates_at(folder: str) -> bool | None:
    """True where the kernel says that the disk under `folder` rotates; None where it does not say."""
    device = os.stat(folder).st_dev
    block = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    for path in (f"{block}/queue/rotational", f"{block}/../queue/rotational"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            return file.read().strip() == "1"
    return None


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:.3f} ms" if microseconds < 10_000 else f"{microseconds / 1000:.1f} ms"
