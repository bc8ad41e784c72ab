"""`make bench ENGINE=objects`: Blobkeep on SeaweedFS, beside the same SeaweedFS alone.

GET and create of 1 KiB and 1 MiB at 16 connections, through one server and through three, and straight to the
store by obstore: the same client library and the same machine for all. They take turns of a second, each
time in another order, since the store slows down while it merges what was written, and other work comes and
goes. A pass is one turn of each; its ratio is the median time of a call, divided by that of the store alone
in the same pass. The ratio in the table is the median of all passes.

A server that holds a blob in memory only asks the store whether it is unchanged. One more server holds none
(`hot_bytes = 0`): all its bytes come from the store. SeaweedFS is one process that does not sync, so it is as
fast as it can be, and the ratio as bad as it can be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import itertools
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import obstore
from obstore.store import HTTPStore, S3Store

from bench.peers import ROOT, free_port
from services.engines.objects import development
from services.engines.objects.development import ACCESS_KEY, BUCKET, SECRET_KEY, Ports

CONNECTIONS = 16
SIZES = {"1 KiB": 1 << 10, "1 MiB": 1 << 20}
_NAMES = 64
_TURN_S = 1.0
_STARTS_WITHIN_S = 60.0

Call = Callable[[str], Awaitable[object]]


class Peer(NamedTuple):
    """What is measured. `create` and `get` take a name."""

    name: str
    create: Callable[[str, bytes], Awaitable[object]]
    get: Call


class Figure(NamedTuple):
    """The result of one turn: calls per second, and the median time of a call in ms."""

    per_s: float
    p50_ms: float


Load = tuple[Call, Iterator[str]]
"""What to call, with which names."""

Pass = dict[str, Figure]
"""The figures of one turn of every peer, by its name."""


def _direct(ports: Ports) -> Peer:
    store = S3Store(
        config={
            "bucket": BUCKET,
            "endpoint": ports.endpoint,
            "region": "us-east-1",
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
        },
        client_options={"allow_http": True},
    )

    async def create(name: str, body: bytes) -> None:
        await obstore.put_async(store, f"direct/{name}", body, mode="create", use_multipart=False)

    async def get(name: str) -> None:
        await (await obstore.get_async(store, f"direct/{name}")).bytes_async()

    return Peer("the store alone", create, get)


def _blobkeep(ports: list[int], also: str = "") -> Peer:
    options = {"allow_http": True}
    stores = [HTTPStore.from_url(f"http://127.0.0.1:{p}/store", client_options=options) for p in ports]  # type: ignore[arg-type]
    turn = itertools.count()

    async def create(name: str, body: bytes) -> None:
        await obstore.put_async(stores[next(turn) % len(stores)], name, body, use_multipart=False)

    async def get(name: str) -> None:
        await (await obstore.get_async(stores[next(turn) % len(stores)], name)).bytes_async()

    return Peer(f"Blobkeep, {len(ports)} server{'s' if len(ports) > 1 else ''}{also}", create, get)


async def _measure(call: Call, names: Iterator[str], seconds: float) -> Figure:
    took: list[float] = []
    began = time.monotonic()

    async def client() -> None:
        while time.monotonic() - began < seconds:
            start = time.perf_counter()
            await call(next(names))
            took.append(time.perf_counter() - start)

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return Figure(len(took) / (time.monotonic() - began), statistics.median(took) * 1e3)


async def _round(peers: list[Peer], seconds: float) -> dict[str, list[Pass]]:
    """The passes of each case: in each, every peer was measured once, in another order than in the last."""
    found: dict[str, list[Pass]] = {}
    for size, length in SIZES.items():
        body = os.urandom(length)
        gets = {peer.name: await _kept(peer, body) for peer in peers}
        found[f"GET {size}"] = await _passes(peers, gets, seconds)
        creates = {peer.name: _creates(peer, body) for peer in peers}
        found[f"create {size}"] = await _passes(peers, creates, seconds)
    return found


async def _passes(peers: list[Peer], loads: dict[str, Load], seconds: float) -> list[Pass]:
    passes = []
    for number in range(1 + max(1, round(seconds / _TURN_S))):
        first = number % len(peers)
        taken: Pass = {}
        for peer in (*peers[first:], *peers[:first]):
            taken[peer.name] = await _measure(*loads[peer.name], _TURN_S)
        passes.append({peer.name: taken[peer.name] for peer in peers})
    return passes[1:]  # the first one warms all up


async def _kept(peer: Peer, body: bytes) -> Load:
    """GETs of a few blobs, again and again."""
    kept = [f"{secrets.token_hex(4)}-{number}" for number in range(_NAMES)]
    for name in kept:
        await peer.create(name, body)
    return peer.get, itertools.cycle(kept)


def _creates(peer: Peer, body: bytes) -> Load:
    return lambda name: peer.create(name, body), (secrets.token_hex(8) for _ in itertools.count())


@contextlib.contextmanager
def _servers(store: Ports, folder: Path, count: int, **options: str) -> Iterator[list[int]]:
    """Start so many servers on the store, with these options; gives their ports."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BLOBKEEP_")},
        "BLOBKEEP_CONFIG": os.devnull,
        "BLOBKEEP_ENGINE": "objects",
        "BLOBKEEP_OBJECTS_ENDPOINT": store.endpoint,
        "BLOBKEEP_OBJECTS_BUCKET": BUCKET,
        "BLOBKEEP_OBJECTS_PREFIX": "bench/",
        "BLOBKEEP_PUT_CREATES": "true",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        **{f"BLOBKEEP_{name.upper()}": value for name, value in options.items()},
    }
    ports = [free_port() for _ in range(count)]
    children = []
    with (folder / "log").open("ab") as log:
        for port in ports:
            where = ["--dir", str(folder / str(port)), "-s", f"127.0.0.1:{port}"]
            command = [sys.executable, "-m", "services.server", *where]
            children.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
    try:
        for port in ports:
            _wait(port)
        yield ports
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(30)


def _wait(port: int) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    raise TimeoutError(f"no server on port {port}")


def page(rounds: list[dict[str, list[Pass]]], about: str) -> str:
    """The page: a table with the medians of all passes."""
    names = list(next(iter(rounds[0].values()))[0])
    lines = [
        "# Blobkeep on an object store, beside the store alone",
        "",
        *(__doc__ or "").strip().splitlines()[2:],
        "",
        about,
        "",
        "| case | " + " | ".join(f"{name}: per s, p50" for name in names) + " | ratio of p50 |",
        "|---" * (len(names) + 2) + "|",
    ]
    for case in rounds[0]:
        passes = [one for found in rounds for one in found[case]]
        cells, ratios = [], []
        for name in names:
            per_s = statistics.median(one[name].per_s for one in passes)
            p50_ms = statistics.median(one[name].p50_ms for one in passes)
            cells.append(f"{per_s:,.0f}, {p50_ms:.1f} ms")
            ratios.append(statistics.median(one[name].p50_ms / one[names[0]].p50_ms for one in passes))
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios[1:])
        lines.append(f"| {case} | " + " | ".join(cells) + f" | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, and write the table to stdout, and to --docs where that is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, in turns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--docs", type=Path, help="a folder: performance-objects.md is written there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bk-", dir="/tmp") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "store").mkdir()
        ports, _ = development.start(str(folder / "store"))
        servers = stack.enter_context(_servers(ports, folder, 3))
        cold = stack.enter_context(_servers(ports, folder, 1, hot_bytes="0"))
        peers = [
            _direct(ports),
            _blobkeep(servers[:1]),
            _blobkeep(servers),
            _blobkeep(cold, ", nothing held"),
        ]
        rounds = [asyncio.run(_round(peers, options.seconds)) for _ in range(options.rounds)]
    load = os.getloadavg()[0]
    about = f"{os.cpu_count()} cores for all of it, a load of {load:.0f} at the end, {options.rounds} rounds."
    text = page(rounds, about)
    sys.stdout.write(text)
    if options.docs:
        (options.docs / "performance-objects.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
