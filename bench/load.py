"""The load: wrk, pinned to the second core, with one script for reads and one for writes."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

LOAD_CORE = "1"

# Reads walk through the blobs; every connection of wrk's one thread shares the counter.
_READ = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "{prefix}" .. (n % {count}))
end
"""
# Writes: a name is never used twice ({unique}), or the same few are replaced or deleted again and again.
_WRITE = """
local n = 0
local body = string.rep("x", {size})
request = function()
  n = n + 1
  return wrk.format("{method}", "{prefix}" .. ({unique} and n or n % {count}), nil, body)
end
"""
# Nine reads, then a replacement.
_MIXED = """
local n = 0
local body = string.rep("x", {size})
request = function()
  n = n + 1
  if n % 10 == 0 then return wrk.format("{method}", "{prefix}" .. (n % {count}), nil, body) end
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
    """What one run of wrk measured. Rates a second, times in microseconds."""

    requests: int
    rate: float
    errors: int
    p50_us: int
    p99_us: int


def read(url: str, prefix: str, count: int, connections: int, seconds: float) -> Result:
    """GET of `count` blobs under `prefix`, by number."""
    return _wrk(_READ.format(prefix=prefix, count=count), url, connections, seconds)


def write(
    url: str, method: str, prefix: str, size: int, connections: int, seconds: float, *, count: int = 0
) -> Result:
    """POST, PUT or DELETE with bodies of `size` bytes: new names each time, or `count` names in turn."""
    unique = "false" if count else "true"
    script = _WRITE.format(method=method, prefix=prefix, size=size, count=count or 1, unique=unique)
    return _wrk(script, url, connections, seconds)


def mixed(
    url: str, method: str, prefix: str, size: int, count: int, connections: int, seconds: float
) -> Result:
    """Nine GETs to one replacement."""
    return _wrk(
        _MIXED.format(method=method, prefix=prefix, size=size, count=count), url, connections, seconds
    )


def _wrk(script: str, url: str, connections: int, seconds: float) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "load.lua")
        path.write_text(script + _REPORT)
        command = [
            "taskset",
            "-c",
            LOAD_CORE,
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
        ]
        done = subprocess.run([*command, "-s", path, url], capture_output=True, text=True, check=True)
    found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk said:\n{done.stdout}{done.stderr}")
    requests, duration_us, status, socket, p50, p99 = map(int, found.groups())
    return Result(requests, requests / duration_us * 1e6, status + socket, p50, p99)
