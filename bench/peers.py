"""What is measured: Blobkeep, and those peers that are installed. Each is started on a new directory."""

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

SERVER_CORE = "0"
_START_S = 30.0
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Running:
    """A started peer. `prefix`: what comes before a blob's name; `create`, `replace`: its methods."""

    name: str
    port: int
    prefix: str
    create: str
    replace: str
    process: psutil.Process
    folder: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """CPU time so far, of its processes together."""
        total = 0.0
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def rss_bytes(self) -> int:
        """Resident memory, of its processes together."""
        return sum(p.memory_info().rss for p in [self.process, *self.process.children(recursive=True)])

    def request(self, method: str, name: str, body: bytes = b"") -> int:
        """One request; its status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, self.prefix + name, body if method != "GET" else None)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


def available(go_binary: str | None) -> list[str]:
    """The names of the peers that can be started here."""
    names = ["blobkeep", "blobkeep on stock Tornado"]
    if _nginx():
        names.append("nginx")
    if shutil.which("wsgidav", path=_path()):
        names.append("wsgidav")
    if go_binary:
        names.append("go server")
    return names


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _nginx() -> str | None:
    return shutil.which("nginx", path=_path())


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def started(
    name: str, base: Path, go_binary: str | None = None, folder: Path | None = None
) -> Iterator[Running]:
    """Start peer `name` on a new folder below `base`, or on `folder`; stop it after."""
    own = folder is None
    folder = folder or Path(tempfile.mkdtemp(dir=base))
    port = free_port()
    command, prefix, create, replace = _command(name, port, folder, go_binary)
    log = (folder.parent / f"{folder.name}.log").open("wb")
    child = subprocess.Popen(
        ["taskset", "-c", SERVER_CORE, *command],
        stdout=log,
        stderr=log,
        cwd=ROOT,
        env={**os.environ, "PATH": _path()},
    )
    running = Running(name, port, prefix, create, replace, psutil.Process(child.pid), folder)
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
        if own:
            shutil.rmtree(folder, ignore_errors=True)


def _wait(running: Running, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(OSError):
            running.request("GET", "absent")
            return
        time.sleep(0.02)
    raise RuntimeError(f"{running.name} did not start: see {running.folder}.log")


def _command(name: str, port: int, folder: Path, go_binary: str | None) -> tuple[list[str], str, str, str]:
    """(command, prefix of a blob's path, method that creates, method that replaces)"""
    if name.startswith("blobkeep"):
        http = "tornado" if "stock" in name else "blobkeep"
        command = [sys.executable, "-m", "services.server", "--dir", str(folder), "-s", f"127.0.0.1:{port}"]
        return [*command, "--http", http], "/store/", "POST", "PUT"
    if name == "nginx":
        return (
            [_nginx() or "nginx", "-c", str(_nginx_conf(port, folder)), "-p", str(folder)],
            "/",
            "PUT",
            "PUT",
        )
    if name == "wsgidav":
        wsgidav = shutil.which("wsgidav", path=_path()) or "wsgidav"
        command = [
            wsgidav,
            "--host=127.0.0.1",
            f"--port={port}",
            f"--root={folder}",
            "--auth=anonymous",
            "-q",
        ]
        return command, "/", "PUT", "PUT"
    if name == "go server" and go_binary:
        return [go_binary, "--dir", str(folder), "-s", f"127.0.0.1:{port}"], "/store/", "POST", "PUT"
    raise ValueError(name)


def _nginx_conf(port: int, folder: Path) -> Path:
    (folder / "data").mkdir()
    path = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(
        f"""{user} worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on; client_max_body_size 0;
  client_body_temp_path {folder}/temp; keepalive_requests 100000000;
  server {{ listen 127.0.0.1:{port}; root {folder}/data; location / {{ dav_methods PUT DELETE; }} }} }}
"""
    )
    return path
