"""The whole system of the product under supervisord, on a directory and a port of the test's own."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.environment import ROOT, environment
from tests.support.rules import DataDirectory

# a bound after any kill, since the machine may be busy; usually it takes a second or two
SERVES_WITHIN_S = 120.0


class System:
    """supervisord on a copy of the shipped configuration, with its sockets elsewhere.

    `server_module`: runs in place of services.server. `env`: options, BLOBKEEP_<NAME>.
    """

    def __init__(
        self, home: Path, env: dict[str, str] | None = None, server_module: str = "services.server"
    ) -> None:
        self._env = env or {}
        self._server_module = server_module
        self.data = DataDirectory(home / "data")
        self.home = home
        text = (ROOT / "supervisord.conf").read_text()
        text = text.replace("%(here)s/run", str(home)).replace("%(here)s", str(ROOT))
        text = text.replace("services.server", server_module)
        (home / "supervisord.conf").write_text(text)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.log = home / "log"
        self.start()

    def start(self) -> None:
        own = {"BLOBKEEP_LISTEN": f"127.0.0.1:{self.port}", "BLOBKEEP_DIR": str(self.data.path)}
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.home / "supervisord.conf")],
                cwd=ROOT,
                env=environment(**own, **self._env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ctl(self, *command: str) -> str:
        conf = str(self.home / "supervisord.conf")
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", conf, *command],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout

    def pids(self) -> dict[str, int]:
        """The pids of running processes by program. The kernel is asked, since supervisord may be dead."""
        found: dict[str, int] = {}
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "-m" not in words:  # the environment of each would take most of the time
                continue
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.environ().get("BLOBKEEP_DIR") == str(self.data.path):
                    module = words[words.index("-m") + 1]
                    name = "server" if module == self._server_module else module.removeprefix("services.")
                    found[name] = process.pid
        found.pop("supervisor.supervisord", None)
        return found

    def ask(self, method: str, location: str, body: bytes | None = None) -> tuple[int, bytes]:
        return self.ask_path(method, "/store/" + location, body)

    def ask_path(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SERVES_WITHIN_S)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def serves(self) -> bool:
        try:
            return self.ask("GET", "lasting") == (200, b"value")
        except (OSError, http.client.HTTPException):
            return False

    def end(self) -> None:
        self.popen.terminate()
        self.popen.wait(120)
