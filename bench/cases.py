"""Rates of small requests: each case a function of a running peer, measured with wrk."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench import load
from bench.measure import KIB, MIB, Case, Values
from bench.peers import Running

_FILLERS = 8
_COLD_BYTES = 320 * MIB
_SLOW_BYTES_S = 200 * MIB  # what the slowest servers take in a second
# blobs that are read again and again
_MIDDLE = {16 * KIB: 200, 64 * KIB: 100, MIB: 20, 16 * MIB: 2, 64 * MIB: 1}


def _measured(peer: Running, run: Callable[[], load.Result]) -> Values:
    before = peer.cpu_seconds()
    result = run()
    return result.values() | {"cpu_us": (peer.cpu_seconds() - before) / max(1, result.requests) * 1e6}


def fill(peer: Running, prefix: str, count: int, size: int) -> None:
    """Create `count` blobs of `size` bytes. If the last one is there, all are, and nothing is done."""
    body = b"x" * size
    with peer.client() as ask:
        if ask("GET", f"{prefix}{count - 1}") == 200:
            return

    def work(first: int) -> None:
        with peer.client() as ask:
            for number in range(first, count, _FILLERS):
                status = ask(peer.create, f"{prefix}{number}", body)
                if status not in (200, 201, 204):
                    raise RuntimeError(f"{peer.name}: {peer.create} answered {status}")

    with ThreadPoolExecutor(_FILLERS) as threads:
        list(threads.map(work, range(_FILLERS)))


def _get(size: int, count: int, connections: int, how: str = "") -> Case:
    """Read `count` blobs in turn."""

    def run(peer: Running, seconds: float) -> Values:
        prefix = f"get-{size}-{how.strip()}"
        fill(peer, prefix, count, size)
        return _measured(peer, lambda: load.read(peer, peer.prefix + prefix, count, connections, seconds))

    return Case(f"GET {_size(size)}{how}, {_clients(connections)}", "per_s", run)


def _hot_get(size: int, connections: int) -> Case:
    return _get(size, _MIDDLE[size], connections)


def _cold_get(size: int, connections: int) -> Case:
    """More blobs than our cache holds: they are read from the page cache, and verified."""
    return _get(size, _COLD_BYTES // size, connections, " cold")


def _create(size: int, connections: int) -> Case:
    def run(peer: Running, seconds: float) -> Values:
        prefix = f"{peer.prefix}new-{size}-{connections}-{time.monotonic_ns()}-"
        # Else not one of sixteen bodies of 64 MiB would have come to its end.
        seconds = max(seconds, 2 * connections * size / _SLOW_BYTES_S)
        return _measured(peer, lambda: load.write(peer, peer.create, prefix, size, connections, seconds))

    return Case(f"create {_size(size)}, {_clients(connections)}", "per_s", run)


def _on_all_cores(case: Case) -> Case:
    return Case(f"{case.name}, all cores", case.headline, case.run)


def _replace(size: int, connections: int) -> Case:
    def run(peer: Running, seconds: float) -> Values:
        fill(peer, "old-", 200, size)
        prefix = peer.prefix + "old-"
        return _measured(
            peer,
            lambda: load.write(peer, peer.replace, prefix, size, connections, seconds, count=200),
        )

    return Case(f"replace {_size(size)}, {_clients(connections)}", "per_s", run)


def _delete(connections: int) -> Case:
    """Deletes a fixed number of blobs. With a fixed time, most requests would find nothing to delete."""

    def run(peer: Running, seconds: float) -> Values:
        count = round((300 if peer.is_slow else 3000) * seconds)
        prefix = f"del-{time.monotonic_ns()}-"
        fill(peer, prefix, count, KIB)
        return _measured(peer, lambda: load.delete(peer, peer.prefix + prefix, count, connections))

    return Case(f"delete, {_clients(connections)}", "per_s", run)


def _mixed(size: int, connections: int) -> Case:
    def run(peer: Running, seconds: float) -> Values:
        fill(peer, "mix-", 200, size)
        prefix = peer.prefix + "mix-"
        return _measured(
            peer, lambda: load.mixed(peer, peer.replace, prefix, size, 200, connections, seconds)
        )

    return Case(f"90 % GET, 10 % replace, {_size(size)}, {_clients(connections)}", "per_s", run)


def _size(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def _clients(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"


# Each list is for an empty directory: all blobs of all would need more than 65,536 ids.
GROUPS = [
    [
        _get(KIB, 1000, 1),
        _get(KIB, 1000, 16),
        _get(KIB, 1000, 128),
        *(_hot_get(size, clients) for size in _MIDDLE for clients in (1, 16)),
        *(_cold_get(size, clients) for size in _MIDDLE for clients in (1, 16)),
    ],
    [_create(KIB, 1), _create(KIB, 16), _create(KIB, 64), _create(4 * KIB, 16)],
    [_create(size, clients) for size in _MIDDLE for clients in (1, 16)],
    [_replace(KIB, 16), _delete(16), _mixed(KIB, 16)],
]
CASES = [case for group in GROUPS for case in group]

# Server and load share all cores: what a server gains by a second one, or loses.
ON_ALL_CORES = [_on_all_cores(_create(KIB, clients)) for clients in (1, 16)]
