"""A SeaweedFS of the test run's own, on loopback; clients of its bucket, each with its own prefix."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import tempfile
from pathlib import Path

from services.engines.objects import development
from services.engines.objects.client import BucketClient
from services.engines.objects.development import ACCESS_KEY, BUCKET, SECRET_KEY, Ports
from services.engines.objects.meter import Meter
from services.engines.objects.settings import Settings, StoreCredentials
from tests.support.processes import wait_for


class Seaweed:
    """One process; returns once it answers."""

    def __init__(self, folder: Path) -> None:
        self.ports = Ports(*development.free_ports())
        self._folder = folder
        self._log = (folder / "log").open("ab")
        self.start()
        asyncio.run(self.client().put("made", b"", None))  # the first object makes the bucket

    def start(self) -> None:
        """Start it, also after a kill; returns once it answers."""
        # Its unix sockets are in the folder, so the folder's path must be short.
        self.popen = subprocess.Popen(
            development.command(str(self._folder), self.ports),
            env=development.environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        wait_for(lambda: self.popen.poll() is not None or development.is_ready(self.ports), 240, "SeaweedFS")
        assert self.popen.poll() is None, (self._folder / "log").read_text()[-2000:]

    def settings(self, prefix: str | None = None) -> Settings:
        """The settings of a client, with a prefix of its own unless one is given."""
        return Settings(
            bucket=BUCKET,
            endpoint=self.ports.endpoint,
            prefix=f"{secrets.token_hex(6)}/" if prefix is None else prefix,
            credentials=StoreCredentials(ACCESS_KEY, SECRET_KEY),
        )

    def client(self) -> BucketClient:
        return BucketClient(self.settings(), Meter())

    def kill(self) -> None:
        """kill -9. What it has acknowledged stays."""
        self.popen.kill()
        self.popen.wait(120)

    def end(self) -> None:
        self.kill()
        self._log.close()


def start() -> tuple[Seaweed, tempfile.TemporaryDirectory[str]]:
    """One in a folder under /tmp. The second value removes the folder (`cleanup`)."""
    folder = tempfile.TemporaryDirectory(prefix="bk-weed-", dir="/tmp")
    return Seaweed(Path(folder.name)), folder
