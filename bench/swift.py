"""OpenStack Swift's object server as a peer, started without a cluster. It is installed into an environment
of its own (`make bench-swift`), since its pins differ from ours.
"""

from __future__ import annotations

import gzip
import json
import struct
import time
from array import array
from pathlib import Path

_PYTHON = Path(__file__).resolve().parent.parent / ".venv-swift/bin/python"
PREFIX = "/disk/0/account/container/"
# Every write needs a time that is later than that of what it replaces.
LUA_HEADERS = (
    '{["X-Timestamp"]=string.format("%d.%05d", os.time() + math.floor(n / 100000), n % 100000),'
    '["Content-Type"]="a/b"}'
)


def headers() -> dict[str, str]:
    """The fields of a write by our own client. Its time is one second early, so that wrk's writes are
    always later.
    """
    return {"X-Timestamp": f"{time.time() - 2:.5f}", "Content-Type": "application/octet-stream"}


def installed() -> Path | None:
    """The interpreter that has Swift; None if it is not installed."""
    return _PYTHON if _PYTHON.exists() else None


def command(port: int, folder: Path) -> list[str]:
    """The program that serves `folder`; writes the configuration and the one-disk ring that it wants."""
    (folder / "devices/disk").mkdir(parents=True)
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = bench\n")
    (folder / "object-server.conf").write_text(
        f"""[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
devices = {folder}/devices
mount_check = false
swift_dir = {folder}
log_level = ERROR
[pipeline:main]
pipeline = object-server
[app:object-server]
use = egg:swift#object
"""
    )
    _write_ring(folder / "object.ring.gz", port)
    start = (
        "import sys, swift.common.utils as utils;"
        f"utils.SWIFT_CONF_FILE = {str(folder / 'swift.conf')!r};"
        "from swift.common.wsgi import run_wsgi; sys.exit(run_wsgi(sys.argv[1], 'object-server'))"
    )
    return [str(_PYTHON), "-c", start, str(folder / "object-server.conf")]


def _write_ring(path: Path, port: int) -> None:
    """A ring of one partition on one device, in the first version of its format."""
    device = {"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk"}
    device |= {"replication_ip": "127.0.0.1", "replication_port": port, "weight": 1.0, "meta": ""}
    head = json.dumps(
        {"devs": [device], "part_shift": 32, "replica_count": 1, "byteorder": "little"}
    ).encode()
    with gzip.open(path, "wb") as file:
        file.write(struct.pack("!4sH", b"R1NG", 1) + struct.pack("!I", len(head)) + head)
        file.write(array("H", [0]).tobytes())
