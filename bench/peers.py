"""The programs that are measured: Blobkeep, and the peers that are installed. Each is started on a new
directory.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import swift

SERVER_CORE = 0
LOAD_CORE = 1
ALL_CORES = os.sched_getaffinity(0)  # before this process moves to the core of the load
_START_S = 60.0
ROOT = Path(__file__).resolve().parent.parent

Ask = Callable[..., int]
"""(method, blob's name, body) -> status, on one connection that is kept."""


@dataclass(frozen=True)
class Kind:
    """How requests to a peer look. `prefix`: what comes before a blob's name; `lua_headers`: a Lua
    expression.
    """

    prefix: str = "/"
    create: str = "PUT"
    replace: str = "PUT"
    lua_headers: str = "nil"
    is_slow: bool = False
    is_ours: bool = False


KINDS = {
    "blobkeep": Kind("/store/", "POST", is_ours=True),
    "blobkeep, stock Tornado": Kind("/store/", "POST", is_ours=True),
    "nginx": Kind(),
    "go server": Kind("/store/", "POST"),
    "swift": Kind(swift.PREFIX, lua_headers=swift.LUA_HEADERS, is_slow=True),
    "wsgidav": Kind(is_slow=True),
    "copyparty": Kind("/", is_slow=True),
}


@dataclass
class Running:
    """A started peer."""

    name: str
    kind: Kind
    port: int
    process: psutil.Process
    folder: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def prefix(self) -> str:
        """What comes before a blob's name."""
        return self.kind.prefix

    @property
    def create(self) -> str:
        """The method that creates."""
        return self.kind.create

    @property
    def replace(self) -> str:
        """The method that replaces."""
        return self.kind.replace

    @property
    def lua_headers(self) -> str:
        """The fields of a write, for wrk."""
        return self.kind.lua_headers

    @property
    def is_slow(self) -> bool:
        """True for a slow peer, which gets a tenth of the requests."""
        return self.kind.is_slow

    def processes(self) -> list[psutil.Process]:
        """The server, and those that it started."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """CPU time so far, of its processes together, and of those that have ended."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def rss_bytes(self) -> int:
        """Resident memory, of its processes together."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def headers(self) -> dict[str, str]:
        """The fields of a write."""
        return swift.headers() if self.name == "swift" else {}

    def connect(self) -> http.client.HTTPConnection:
        """A new connection to it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    @contextlib.contextmanager
    def client(self) -> Iterator[Ask]:
        """A client with one connection."""
        connection = self.connect()

        def ask(method: str, name: str, body: bytes = b"") -> int:
            headers = {} if method in ("GET", "HEAD") else self.headers()
            connection.request(method, self.prefix + name, body or None, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status

        try:
            yield ask
        finally:
            connection.close()


def available(go_binary: str | None) -> list[str]:
    """The names of the peers that can be started here."""
    there = {
        "blobkeep": True,
        "blobkeep, stock Tornado": True,
        "nginx": bool(_program("nginx")),
        "go server": bool(go_binary),
        "swift": swift.installed() is not None,
        "wsgidav": bool(_program("wsgidav")),
        "copyparty": bool(_program("copyparty")),
    }
    return [name for name in KINDS if there[name]]


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def environment() -> dict[str, str]:
    """The environment of a peer. Python may keep compiled files, as an installed program does."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PATH": _path(), "BLOBKEEP_CONFIG": os.devnull}


def _program(name: str) -> str | None:
    return shutil.which(name, path=_path())


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def started(
    name: str,
    base: Path,
    go_binary: str | None = None,
    folder: Path | None = None,
    flags: tuple[str, ...] = (),
    cores: set[int] | None = None,
    workers: int = 1,
) -> Iterator[Running]:
    """Start peer `name` on a new folder below `base`, or on `folder`; stop it after. It runs on the server
    core, or on `cores`. `workers`: of nginx. The folder stays until the whole benchmark is over, since after
    many removals ext4 creates files ten times slower for a minute.
    """
    folder = folder or Path(tempfile.mkdtemp(dir=base))
    port = free_port()
    command = [*_command(name, port, folder, go_binary, workers), *flags]
    log = (folder.parent / f"{folder.name}.log").open("ab")
    child = subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        cwd=ROOT,
        env=environment(),
        preexec_fn=lambda: os.sched_setaffinity(0, cores or {SERVER_CORE}),
    )
    running = Running(name, KINDS[name], port, psutil.Process(child.pid), folder)
    try:
        _wait(running, child)
        yield running
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        log.close()


def _wait(running: Running, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException), running.client() as ask:
            if ask("GET", "absent") != 503:  # 503: Blobkeep is recovering
                return
        time.sleep(0.002)
    raise RuntimeError(f"{running.name} did not start: see {running.folder}.log")


def _command(name: str, port: int, folder: Path, go_binary: str | None, workers: int) -> list[str]:
    address = f"127.0.0.1:{port}"
    if name.startswith("blobkeep"):
        http_by = "tornado" if "stock" in name else "blobkeep"
        server = [sys.executable, "-m", "services.server", "--dir", str(folder), "-s", address]
        return [*server, "--http", http_by]
    if name == "nginx":
        return [_program(name) or name, "-c", str(_nginx_conf(port, folder, workers)), "-p", str(folder)]
    if name == "wsgidav":
        found = _program(name) or name
        at = ["--host=127.0.0.1", f"--port={port}", f"--root={folder}"]
        return [found, *at, "--auth=anonymous", "-q"]
    if name == "copyparty":
        found = _program(name) or name
        return [found, "-i", "127.0.0.1", "-p", str(port), "-v", f"{folder}::A", "--daw", "-q", "-j", "1"]
    if name == "swift":
        return swift.command(port, folder)
    if name == "go server" and go_binary:
        return [go_binary, "--dir", str(folder), "-s", address]
    raise ValueError(name)


def _nginx_conf(port: int, folder: Path, workers: int) -> Path:
    (folder / "data").mkdir()
    path = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(
        f"""{user} worker_processes {workers}; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on; client_max_body_size 0;
  client_body_temp_path {folder}/temp; keepalive_requests 100000000;
  server {{ listen 127.0.0.1:{port}; root {folder}/data; location / {{ dav_methods PUT DELETE; }} }} }}
"""
    )
    return path
