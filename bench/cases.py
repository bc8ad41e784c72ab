"""What is measured: each case a function of a running peer that returns one figure, and what it means."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import load
from bench.peers import Running

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True)
class Figure:
    """One measured value. `rate`: requests a second; `cpu_us`: the server's CPU a request; times in µs."""

    rate: float
    cpu_us: float
    p50_us: int
    p99_us: int
    errors: int


@dataclass(frozen=True)
class Case:
    """One row of the table. `prepare` is not measured."""

    name: str
    prepare: Callable[[Running], None]
    run: Callable[[Running, float], load.Result]

    def measure(self, peer: Running, seconds: float) -> Figure:
        """Prepare, run, and read the server's CPU time before and after."""
        self.prepare(peer)
        before = peer.cpu_seconds()
        result = self.run(peer, seconds)
        cpu_us = (peer.cpu_seconds() - before) / max(1, result.requests) * 1e6
        return Figure(result.rate, cpu_us, result.p50_us, result.p99_us, result.errors)


def _nothing(peer: Running) -> None:
    del peer


def _blobs(prefix: str, count: int, size: int) -> Callable[[Running], None]:
    def prepare(peer: Running) -> None:
        body = b"x" * size
        for number in range(count):
            status = peer.request(peer.create, f"{prefix}{number}", body)
            if status not in (200, 201, 204, 409):
                raise RuntimeError(f"{peer.name}: {peer.create} answered {status}")

    return prepare


def _get(size: int, count: int, connections: int) -> Case:
    name = f"GET {_size(size)}, {connections} connections"
    prefix = f"get-{size}-"
    return Case(
        name,
        _blobs(prefix, count, size),
        lambda peer, seconds: load.read(peer.url, peer.prefix + prefix, count, connections, seconds),
    )


def _create(size: int, connections: int) -> Case:
    def run(peer: Running, seconds: float) -> load.Result:
        prefix = f"{peer.prefix}new-{size}-{connections}-{time.monotonic_ns()}-"
        return load.write(peer.url, peer.create, prefix, size, connections, seconds)

    return Case(f"create {_size(size)}, {connections} connections", _nothing, run)


def _replace(size: int, connections: int) -> Case:
    count = 200
    return Case(
        f"replace {_size(size)}, {connections} connections",
        _blobs("old-", count, size),
        lambda peer, seconds: load.write(
            peer.url, peer.replace, peer.prefix + "old-", size, connections, seconds, count=count
        ),
    )


def _mixed(size: int, connections: int) -> Case:
    count = 200
    return Case(
        f"90 % GET, 10 % replace, {_size(size)}, {connections} connections",
        _blobs("mix-", count, size),
        lambda peer, seconds: load.mixed(
            peer.url, peer.replace, peer.prefix + "mix-", size, count, connections, seconds
        ),
    )


def _size(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


CASES = [
    _get(KIB, 1000, 1),
    _get(KIB, 1000, 16),
    _get(KIB, 1000, 128),
    _get(64 * KIB, 100, 16),
    _get(MIB, 20, 16),
    _create(KIB, 1),
    _create(KIB, 16),
    _create(KIB, 64),
    _create(4 * KIB, 16),
    _create(MIB, 16),
    _replace(KIB, 16),
    _mixed(KIB, 16),
]
