"""The examples in conf/, checked as far as possible without the systems that they are for."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from pathlib import Path

from services.engines.objects.development import free_ports
from tests.support.environment import environment
from tests.support.processes import ROOT, wait_for
from tests.support.programs import needs
from tests.support.rules import DataDirectory, live_blobs

UNITS = sorted((ROOT / "conf" / "systemd").iterdir())


@needs("systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """The units, with the paths of programs on this machine, since systemd checks that they exist."""
    programs = Path(sys.executable).parent
    for unit in UNITS:
        text = unit.read_text().replace("/opt/blobkeep/bin/", f"{programs}/")
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    # It reports on every unit of this machine. Ours are in this folder.
    complaints = [line for line in done.stderr.splitlines() if "blobkeep" in line]
    assert not complaints
    assert done.returncode == 0, done.stderr


def test_every_unit_starts_what_is_there_with_the_options_that_it_needs() -> None:
    for unit in UNITS:
        text = unit.read_text()
        assert "not tried under a running systemd" in text, "it says how far it was tried"
        if unit.suffix != ".service":
            continue
        assert "Environment=BLOBKEEP_DIR=/var/lib/blobkeep" in text
        assert "Restart=always" in text
        assert "SystemCallErrorNumber=EPERM" in text, "otherwise a call outside the filter kills it"
        (start,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
        module = start.rpartition("services.")[2]
        assert start.endswith("/bin/blobkeep serve") or (ROOT / "services" / f"{module}.py").exists()


@needs("systemd-socket-activate")
def test_the_server_takes_the_sockets_that_systemd_passes_on(data: DataDirectory) -> None:
    """Two sockets. The first connection starts the server, waits for it, and gets an answer."""
    ports = free_ports(2)
    listen = [flag for port in ports for flag in ("-l", f"127.0.0.1:{port}")]
    settings = {"PYTHONPATH": str(ROOT), "BLOBKEEP_CONFIG": os.devnull}
    passed_on = [flag for name, value in settings.items() for flag in ("-E", f"{name}={value}")]
    server = [sys.executable, "-m", "services.server", "--dir", data.root, "-s", "127.0.0.1:1"]
    log = data.path.parent / "activate.log"
    with log.open("wb") as output:
        activate = subprocess.Popen(
            ["systemd-socket-activate", *listen, *passed_on, *server],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: log.read_text().count("Listening on") == 2, what="systemd-socket-activate")
        for port in ports:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            connection.request("POST", f"/store/{port}", b"x")
            assert connection.getresponse().status == 201
            connection.close()
    finally:
        activate.terminate()
        assert activate.wait(120) == 0, log.read_text()
    assert live_blobs(data.root) == {str(port): b"x" for port in ports}


@needs("docker-compose")
def test_the_compose_file_is_one(tmp_path: Path) -> None:
    command = ["docker-compose", "-f", str(ROOT / "conf" / "compose.yaml"), "config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "target: /data" in done.stdout or "blobs:/data" in done.stdout
