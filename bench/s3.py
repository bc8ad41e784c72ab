"""`python -m bench.s3`: our S3 beside that of SeaweedFS, with and without fsync, by one client that signs.

Requests are signed before the measurement begins. Their number is fixed, on 16 connections; the result is the
median of some rounds. The server has one core, the client another. On a busy machine the CPU time per request
tells more than the rate. The last lines have the ratios that are wanted.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import psutil

from bench.measure import KIB, MIB
from bench.peers import LOAD_CORE, SERVER_CORE, free_port
from services.engines.objects import development
from services.engines.objects.development import ACCESS_KEY, SECRET_KEY, Ports

BUCKET = "bench"
TOKEN = "bench-native"
"""Of the same client, for native requests."""
OURS, SEAWEEDFS, SEAWEEDFS_FSYNC = PEERS = ("blobkeep", "seaweedfs", "seaweedfs, fsync")
_CONNECTIONS = 16
_LARGE, _PART = 64 * MIB, 8 * MIB


class Figure(NamedTuple):
    """The result of a case: requests per second, and the server's CPU time for each, in seconds."""

    rate: float
    cpu_s: float


def cpu_s(process: psutil.Process) -> float:
    """CPU time so far of a process and its children, in seconds."""
    everyone = [process, *process.children(recursive=True)]
    # clock_getcpuclockid, of which Python has none: nanoseconds, where psutil has steps of 10 ms
    return sum(time.clock_gettime(~one.pid << 3 | 2) for one in everyone)


class Target(NamedTuple):
    """`case` of ours is to be `ratio` times as fast as `beside` of `peer`."""

    case: str
    ratio: float
    peer: str
    beside: str

    def line(self, figures: Mapping[str, Mapping[str, Figure]]) -> str:
        """What was found; empty if that was not measured."""
        ours, theirs = figures[self.case].get(OURS), figures[self.beside].get(self.peer)
        if ours is None or theirs is None:
            return ""
        found = ours.rate / theirs.rate
        verdict = "yes" if found >= self.ratio else "no"
        beside = self.peer if self.beside == self.case else self.beside
        return (
            f"{self.case}: {found:.2f} of {beside} (wanted {self.ratio}: {verdict}), "
            f"by CPU {theirs.cpu_s / ours.cpu_s:.2f}\n"
        )


class Signer:
    """Signs requests to one host (Signature Version 4). `server`: the process that answers."""

    def __init__(self, port: int, server: psutil.Process) -> None:
        self.port = port
        self.server = server
        self._host = f"127.0.0.1:{port}"

    def head(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        payload: str = "",
        fields: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """The head of a request for `target`, which is encoded, its query sorted.

        `payload`: what to sign in place of the body's SHA-256. `fields`: more fields, signed, in lower case.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
        path, _, query = target.partition("?")
        query = "&".join(part if "=" in part else part + "=" for part in query.split("&") if part)
        hashed = payload or hashlib.sha256(body).hexdigest()
        signed = {**fields, "host": self._host, "x-amz-content-sha256": hashed, "x-amz-date": stamp}
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{hashed}"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = b"AWS4" + SECRET_KEY.encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        sent = "".join(f"{name}: {value}\r\n" for name, value in signed.items() if name != "host")
        return (
            f"{method} {target} HTTP/1.1\r\nHost: {self._host}\r\n{sent}Content-Length: {len(body)}\r\n"
            # as SDKs do, so that no two heads are the same
            f"amz-sdk-invocation-id: {os.urandom(16).hex()}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}\r\n\r\n"
        ).encode()

    def ask(self, method: str, target: str, body: bytes = b"") -> bytes:
        """One request on a connection of its own; the answer. Raises RuntimeError unless it is 2xx."""
        return self.send(self.head(method, target, body), body)

    def connect(self) -> socket.socket:
        """A connection for any number of requests, one after the other."""
        sock = socket.create_connection(("127.0.0.1", self.port))
        # As SDKs do: else the body of a completion waits up to 40 ms for its head to be acknowledged.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def send(self, head: bytes, body: bytes) -> bytes:
        """The same for a request that was signed before."""
        with self.connect() as sock:
            return self.send_over(sock, head, body)

    def send_over(self, sock: socket.socket, head: bytes, body: bytes) -> bytes:
        """The same over a connection that stays open."""
        sock.sendall(head)
        sock.sendall(body)
        answer = _answer(sock)
        if answer[9:10] != b"2":
            raise RuntimeError(f"{head[:100]!r}: {answer[:300]!r}")
        return answer


def _answer(sock: socket.socket) -> bytes:
    """A whole answer."""
    data = b""
    while not _is_whole(data):
        if not (more := sock.recv(1 << 20)):
            break
        data += more
    return data


def _is_whole(data: bytes) -> bool:
    """Whether an answer with a Content-Length, or a chunked one, has come to its end."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = data.find(b"ontent-Length: ", 0, end)
    if at >= 0:
        return len(data) >= end + 4 + int(data[at + 15 : data.find(b"\r", at)])
    return data.endswith(b"0\r\n\r\n") or b"ransfer-Encoding" not in data[:end]


def rate(port: int, server: psutil.Process, requests: list[bytes], connections: int = _CONNECTIONS) -> Figure:
    """Requests per second, with one under way on each connection. Raises RuntimeError for an error."""
    left = iter(requests)
    poll = select.epoll()
    socks: dict[int, socket.socket] = {}
    before_s = cpu_s(server)
    began = time.perf_counter()
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
        sock.sendall(next(left))
    came: dict[int, bytes] = {}
    while socks:
        for fd, _ in poll.poll():
            sock = socks[fd]
            more = sock.recv(1 << 20)
            answer = came.pop(fd) + more if fd in came else more
            if more and not _is_whole(answer):
                came[fd] = answer
                continue
            if answer[9:10] != b"2":
                raise RuntimeError(f"answered {answer[-300:]!r}")
            if (request := next(left, None)) is None:
                poll.unregister(fd)
                socks.pop(fd).close()
            else:
                sock.sendall(request)
    took_s = time.perf_counter() - began
    poll.close()
    return Figure(len(requests) / took_s, (cpu_s(server) - before_s) / len(requests))


def _per_mib(signer: Signer, began: float, before_s: float) -> Figure:
    mib = _LARGE / MIB
    return Figure(mib / (time.perf_counter() - began), (cpu_s(signer.server) - before_s) / mib)


def put_small(signer: Signer, count: int) -> Figure:
    """PUT of 1 KiB a second."""
    body, run = b"x" * KIB, time.monotonic_ns()
    return rate(
        signer.port,
        signer.server,
        [signer.head("PUT", f"/{BUCKET}/p{run}-{n}", body) + body for n in range(count)],
    )


def get_small(signer: Signer, count: int) -> Figure:
    """GET of 1 KiB a second, of 200 objects in turn."""
    for n in range(200):
        signer.ask("PUT", f"/{BUCKET}/g{n}", b"x" * KIB)
    return rate(
        signer.port, signer.server, [signer.head("GET", f"/{BUCKET}/g{n % 200}") for n in range(count)]
    )


def put_large(signer: Signer, count: int) -> Figure:
    """MiB a second of one PUT of 64 MiB."""
    body = os.urandom(_LARGE)
    head = signer.head("PUT", f"/{BUCKET}/large", body)
    before_s, began = cpu_s(signer.server), time.perf_counter()
    signer.send(head, body)
    return _per_mib(signer, began, before_s)


def multipart(signer: Signer, count: int) -> Figure:
    """MiB a second of the same in parts of 8 MiB, four at once, from the first to the completion.

    The SHA-256 of each part is signed, so it is hashed twice: see docs/s3.md for what others send.
    """
    body = os.urandom(_PART)
    told = signer.ask("POST", f"/{BUCKET}/parts?uploads").decode()
    upload = told.partition("<UploadId>")[2].partition("<")[0]
    heads = {
        number: signer.head("PUT", f"/{BUCKET}/parts?partNumber={number}&uploadId={upload}", body)
        for number in range(1, _LARGE // _PART + 1)
    }
    tags: dict[int, str] = {}
    before_s, began = cpu_s(signer.server), time.perf_counter()

    def send(first: int) -> None:
        for number in range(first, _LARGE // _PART + 1, 4):
            head = signer.send(heads[number], body).decode("latin-1")
            tag = next(line for line in head.split("\r\n") if line.lower().startswith("etag:"))
            tags[number] = tag.partition(":")[2].strip()

    threads = [threading.Thread(target=send, args=(first,)) for first in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tags[n]}</ETag></Part>" for n in sorted(tags))
    said = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    signer.ask("POST", f"/{BUCKET}/parts?uploadId={upload}", said)
    return _per_mib(signer, began, before_s)


def put_native(signer: Signer, count: int) -> Figure:
    """MiB a second of one native create of 64 MiB; the host is not that of S3."""
    body = os.urandom(_LARGE)
    head = (
        f"POST /store/native-{time.monotonic_ns()} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with signer.connect() as sock:
        before_s, began = cpu_s(signer.server), time.perf_counter()
        signer.send_over(sock, head, body)
        return _per_mib(signer, began, before_s)


PUT_SMALL, GET_SMALL = "PUT 1 KiB, 16 connections, a second", "GET 1 KiB, 16 connections, a second"
IN_PARTS, NATIVE = "64 MiB in parts, MiB a second", "native PUT of 64 MiB, MiB a second"
CASES: dict[str, Callable[[Signer, int], Figure]] = {
    PUT_SMALL: put_small,
    GET_SMALL: get_small,
    "PUT 64 MiB, MiB a second": put_large,
    IN_PARTS: multipart,
    NATIVE: put_native,
}
TARGETS = (
    Target(PUT_SMALL, 3.0, SEAWEEDFS_FSYNC, PUT_SMALL),
    Target(PUT_SMALL, 1.5, SEAWEEDFS, PUT_SMALL),
    Target(GET_SMALL, 5.0, SEAWEEDFS_FSYNC, GET_SMALL),
    Target(GET_SMALL, 5.0, SEAWEEDFS, GET_SMALL),
    Target(IN_PARTS, 0.8, OURS, NATIVE),
)


@contextlib.contextmanager
def started(name: str, folder: Path, cores: frozenset[int] = frozenset({SERVER_CORE})) -> Iterator[Signer]:
    """A peer on an empty folder, on `cores`, with an empty bucket."""
    env = {**os.environ, "BLOBKEEP_CONFIG": os.devnull}
    ports = Ports(*development.free_ports())
    if name == OURS:
        keys = folder / "keys"
        keys.write_text(
            f'[[client]]\nname = "{ACCESS_KEY}"\nrole = "read-write"\ns3_secret = "{SECRET_KEY}"\n'
            f'hash = "sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"\n'
        )
        keys.chmod(0o600)
        port = free_port()
        command = [sys.executable, "-m", "services.server", "--dir", str(folder / "data")]
        command += ["-s", f"127.0.0.1:{port}", "--s3-hosts", "127.0.0.1", "--auth-file", str(keys)]
    else:
        port = ports.s3
        command, env = development.command(str(folder), ports), development.environment(env)
    child = subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("wb"),
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    signer = Signer(port, psutil.Process(child.pid))
    try:
        end = time.monotonic() + 60
        while True:
            try:
                signer.ask("PUT", f"/{BUCKET}")
                break
            except (OSError, RuntimeError):
                if time.monotonic() > end or child.poll() is not None:
                    raise
                time.sleep(0.2)
        if "fsync" in name:
            subprocess.run(
                [development.program(), "shell", f"-master=127.0.0.1:{ports.master}"],
                input=f"fs.configure -locationPrefix=/buckets/{BUCKET}/ -fsync=true -apply\n",
                text=True,
                capture_output=True,
                check=True,
            )
            time.sleep(1)  # its S3 gateway needs a moment to read that
        yield signer
    finally:
        child.terminate()
        child.wait(60)


def main() -> int:
    """Print a table, and with --json the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.s3", description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="of each rate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name has this")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    figures: dict[str, dict[str, Figure]] = {case: {} for case in CASES}
    for name in PEERS:
        with tempfile.TemporaryDirectory(prefix="bk-s3-") as folder, started(name, Path(folder)) as signer:
            for case, run in CASES.items():
                if options.only not in case or (case == NATIVE and name != OURS):
                    continue
                found = [run(signer, options.requests) for _ in range(options.rounds)]
                figures[case][name] = one = Figure(*map(statistics.median, zip(*found, strict=True)))
                sys.stdout.write(f"{name}: {case}: {one.rate:,.0f}, {one.cpu_s * 1e6:,.0f} us of CPU each\n")
    for target in TARGETS:
        sys.stdout.write(target.line(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
