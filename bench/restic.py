"""`python -m bench.restic`: the requests of a backup, sent to Blobkeep's REST server and to nginx, which
never syncs.

restic's own server has no Debian package. Like nginx it writes one file per request, and then syncs it. So it
can be no faster than nginx. There are five connections, as restic uses. Blobkeep compares each file with the
SHA-256 in its name, and answers when it is durable.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.measure import KIB, MIB
from bench.peers import LOAD_CORE, Running, started
from bench.s3 import Figure, rate

_PACK = 4 * MIB  # a little under what restic 0.14 sends
_CONNECTIONS = 5
_FLAGS = {"blobkeep": ("--restic",), "nginx": ()}


def _target(peer: Running, name: str) -> str:
    return f"/restic/r/data/{name}" if peer.name == "blobkeep" else f"/{name}"


def _upload(peer: Running, body: bytes) -> bytes:
    method = "POST" if peer.name == "blobkeep" else "PUT"
    target = _target(peer, hashlib.sha256(body).hexdigest())
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _ran(peer: Running, requests: list[bytes]) -> Figure:
    return rate(peer.port, peer.process, requests, _CONNECTIONS)


def packs(peer: Running, count: int) -> Figure:
    """Packs of 4 MiB, stored."""
    return _ran(peer, [_upload(peer, os.urandom(_PACK)) for _ in range(max(8, count // 25))])


def small(peer: Running, count: int) -> Figure:
    """Files of 1 KiB, stored: snapshots, locks, the ends of packs."""
    return _ran(peer, [_upload(peer, os.urandom(KIB)) for _ in range(count)])


def ranges(peer: Running, count: int) -> Figure:
    """Read 64 KiB of a pack, as check, mount and restore do."""
    body = os.urandom(_PACK)
    _ran(peer, [_upload(peer, body)] * _CONNECTIONS)
    target = _target(peer, hashlib.sha256(body).hexdigest())
    heads = [
        f"GET {target} HTTP/1.1\r\nHost: localhost\r\nRange: bytes={at}-{at + 65535}\r\n\r\n".encode()
        for at in (n * 65536 % _PACK for n in range(count))
    ]
    return _ran(peer, heads)


def whole(peer: Running, count: int) -> Figure:
    """Packs of 4 MiB, read."""
    bodies = [os.urandom(_PACK) for _ in range(8)]
    _ran(peer, [_upload(peer, body) for body in bodies])
    targets = [_target(peer, hashlib.sha256(body).hexdigest()) for body in bodies]
    heads = [f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for target in targets]
    return _ran(peer, heads * max(1, count // 50))


CASES: dict[str, Callable[[Running, int], Figure]] = {
    "upload 4 MiB": packs,
    "upload 1 KiB": small,
    "64 KiB of 4 MiB": ranges,
    "GET 4 MiB": whole,
}


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.restic", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="of each rate; fewer of large ones")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    with tempfile.TemporaryDirectory(prefix="bk-restic-") as base, contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(started(name, Path(base), flags=flags)) for name, flags in _FLAGS.items()
        ]
        for case, run in CASES.items():
            found: dict[str, list[Figure]] = {peer.name: [] for peer in peers}
            # in alternation, so that other load on the machine affects all peers
            for _ in range(options.rounds):
                for peer in peers:
                    found[peer.name].append(run(peer, options.requests))
            for name, figures in found.items():
                one = Figure(*map(statistics.median, zip(*figures, strict=True)))
                sys.stdout.write(
                    f"{case}: {name}: {one.rate:,.0f} a second, {one.cpu_s * 1e6:,.0f} us of CPU\n"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
