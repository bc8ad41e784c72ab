"""The load: wrk with small scripts. Where a fixed number of requests is needed, clients of our own."""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import Values, p50_p99

if TYPE_CHECKING:
    from bench.peers import Running

# Reads walk through the blobs; every connection of wrk's one thread shares the counter.
_READ = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "{prefix}" .. (n % {count}))
end
"""
# Writes: each name is used once ({unique}), or the same few names are replaced again and again.
_WRITE = """
local n = 0
local body = string.rep("x", {size})
request = function()
  n = n + 1
  return wrk.format("{method}", "{prefix}" .. ({unique} and n or n % {count}), {headers}, body)
end
"""
# Nine reads, then a replacement.
_MIXED = """
local n = 0
local body = string.rep("x", {size})
request = function()
  n = n + 1
  if n % 10 == 0 then
    return wrk.format("{method}", "{prefix}" .. (n % {count}), {headers}, body)
  end
  return wrk.format("GET", "{prefix}" .. (n % {count}))
end
"""
_REPORT = """
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write +
    summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Result:
    """What one run measured. Rates a second, times in microseconds."""

    requests: int
    rate: float
    errors: int
    p50_us: float
    p99_us: float

    def values(self) -> Values:
        """As a case gives them."""
        return {"p99_us": self.p99_us, "p50_us": self.p50_us, "per_s": self.rate, "errors": self.errors}


def read(peer: Running, prefix: str, count: int, connections: int, seconds: float) -> Result:
    """GET of `count` blobs under `prefix`, by number."""
    return _wrk(_READ.format(prefix=prefix, count=count), peer.url, connections, seconds)


def write(
    peer: Running, method: str, prefix: str, size: int, connections: int, seconds: float, *, count: int = 0
) -> Result:
    """POST or PUT with bodies of `size` bytes: new names each time, or `count` names in turn."""
    script = _WRITE.format(
        method=method,
        prefix=prefix,
        size=size,
        count=count or 1,
        unique="false" if count else "true",
        headers=peer.lua_headers,
    )
    return _wrk(script, peer.url, connections, seconds)


def mixed(
    peer: Running, method: str, prefix: str, size: int, count: int, connections: int, seconds: float
) -> Result:
    """Nine GETs to one replacement."""
    script = _MIXED.format(method=method, prefix=prefix, size=size, count=count, headers=peer.lua_headers)
    return _wrk(script, peer.url, connections, seconds)


def delete(peer: Running, prefix: str, count: int, connections: int) -> Result:
    """DELETE each of `count` blobs under `prefix` once. wrk cannot do that: it stops by time, not by
    number.
    """
    names = iter(range(count))
    began: dict[socket.socket, float] = {}
    times_us: list[float] = []
    errors = 0
    head = "".join(f"{name}: {value}\r\n" for name, value in peer.headers().items())
    with selectors.DefaultSelector() as ready:

        def ask_next(sock: socket.socket) -> None:
            number = next(names, None)
            if number is None:
                ready.unregister(sock)
                sock.close()
                return
            began[sock] = time.perf_counter()
            sock.sendall(f"DELETE {prefix}{number} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())

        since = time.perf_counter()
        for _ in range(connections):
            sock = socket.create_connection(("127.0.0.1", peer.port))
            ready.register(sock, selectors.EVENT_READ)
            ask_next(sock)
        while ready.get_map():
            for key, _ in ready.select():
                sock = key.fileobj  # type: ignore[assignment]
                answer = sock.recv(65536)  # both its head and its body are small
                times_us.append((time.perf_counter() - began[sock]) * 1e6)
                errors += answer[9:12] not in (b"200", b"204")
                if not answer or b"onnection: close" in answer:
                    ready.unregister(sock)
                    sock.close()
                    sock = socket.create_connection(("127.0.0.1", peer.port))
                    ready.register(sock, selectors.EVENT_READ)
                ask_next(sock)
    seconds = time.perf_counter() - since
    return Result(len(times_us), len(times_us) / seconds, errors, *p50_p99(times_us))


def _wrk(script: str, url: str, connections: int, seconds: float) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "load.lua")
        path.write_text(script + _REPORT)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(path)]
        command += ["--timeout", "60s", url]  # it counts what takes more than 2 s as an error, else
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk said:\n{done.stdout}{done.stderr}")
    requests, duration_us, status, socket, p50, p99 = map(int, found.groups())
    return Result(requests, requests / duration_us * 1e6, status + socket, p50, p99)
