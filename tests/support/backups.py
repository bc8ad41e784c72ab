"""What tests of exports and imports share."""

from __future__ import annotations

import tarfile
from pathlib import Path

from tests.support.processes import Server
from tests.support.rules import DataDirectory

GO_DATA = Path(__file__).resolve().parents[1] / "go-data"


def unpack(file: Path, folder: Path) -> DataDirectory:
    """Unpack the tar as a data directory, and check that it keeps every rule."""
    folder.mkdir(mode=0o700)
    with tarfile.open(file) as tar:
        tar.extractall(folder, filter="fully_trusted")
    unpacked = DataDirectory(folder)
    unpacked.check()
    return unpacked


def url(server: Server) -> tuple[str, str]:
    return "--url", f"http://127.0.0.1:{server.port}"
