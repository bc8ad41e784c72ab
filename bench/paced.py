"""GETs at a steady rate, alone and beside an upload, timed by the system: without what delays the client.

wrk asks as fast as it can. Where it shares its core with another client, most of its 99th percentile is how
long it waits for that core. Here a time runs from the moment at which a request is sent, or should be while
all connections wait for answers, to the moment at which the system got the answer (SO_TIMESTAMPNS). So it
does not matter when the client gets to run. All servers are measured in the same way.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from bench import cases
from bench.large import upload
from bench.load import Result
from bench.measure import GIB, KIB, Case, Values, p50_p99
from bench.peers import Running

_SO_TIMESTAMPNS = 35  # Python has no name for it
_TIME = struct.Struct("@qq")  # seconds and nanoseconds
_PER_S = 1000
_CONNECTIONS = 16
_COUNT = 1000


class _Client:
    """One connection, with one request under way at most."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.since = 0.0  # when the time of its request began

    def ask(self, target: str, waits_since: float | None) -> None:
        """Send one. `waits_since`: when it should have been sent, if only the server kept it waiting."""
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self.since = waits_since or time.time()
        self.sock.sendall(request)

    def answer(self) -> tuple[float, bool]:
        """(the seconds that the answer took, whether it was 200). It is small: it comes in one piece."""
        data, about, _, _ = self.sock.recvmsg(65536, 64)
        for level, kind, value in about:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, ns = _TIME.unpack(value)
                return seconds + ns / 1e9 - self.since, data[9:12] == b"200"
        raise RuntimeError("the server closed a connection, or the system says no times")


def read(peer: Running, prefix: str, count: int, connections: int, per_s: int, seconds: float) -> Result:
    """GET `per_s` of `count` small blobs under `prefix` each second, by number."""
    clients = [_Client(peer.port) for _ in range(connections)]
    free = deque(clients)
    times_us: list[float] = []
    errors = 0
    waiting: deque[float] = deque()  # those for which no connection was free, since when
    number, began, wanted = 0, time.time(), int(per_s * seconds)
    with selectors.DefaultSelector() as ready:
        for client in clients:
            ready.register(client.sock, selectors.EVENT_READ, client)
        while len(times_us) < wanted:
            now = time.time()
            while number + len(waiting) < min(wanted, int((now - began) * per_s)):
                if free:
                    free.popleft().ask(f"{prefix}{number % count}", None)
                    number += 1
                else:
                    waiting.append(now)
            due_in_s = max(0.0, began + (number + len(waiting) + 1) / per_s - time.time())
            for key, _ in ready.select(due_in_s if number + len(waiting) < wanted else None):
                took_s, is_right = key.data.answer()
                times_us.append(took_s * 1e6)
                errors += not is_right
                if waiting:
                    key.data.ask(f"{prefix}{number % count}", waiting.popleft())
                    number += 1
                else:
                    free.append(key.data)
    for client in clients:
        client.sock.close()
    return Result(wanted, wanted / (time.time() - began), errors, *p50_p99(times_us))


@contextlib.contextmanager
def _nothing(peer: Running) -> Iterator[None]:
    yield


@contextlib.contextmanager
def _uploading(peer: Running) -> Iterator[None]:
    """One upload of 1 GiB after the other. Raises RuntimeError if one fails."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            upload(peer, f"beside-{time.monotonic_ns()}", GIB)

    with ThreadPoolExecutor(1) as threads:
        uploads = threads.submit(run)
        try:
            yield
        finally:
            is_over.set()
        uploads.result()


def _case(what: str, disturbance: Callable[[Running], contextlib.AbstractContextManager[None]]) -> Case:
    def run(peer: Running, seconds: float) -> Values:
        cases.fill(peer, "steady-", _COUNT, KIB)
        with disturbance(peer):
            return read(peer, f"{peer.prefix}steady-", _COUNT, _CONNECTIONS, _PER_S, seconds).values()

    return Case(f"GET 1 KiB, {_PER_S:,} a second, {what}", "p99_us", run)


CASES = [_case("quiet", _nothing), _case("while 1 GiB after 1 GiB comes in", _uploading)]
