"""How much room each blob of a data directory takes, and each of our other files in it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from services.engines.local.disk import layout
from services.engines.local.disk.layout import Layout

# What of ours is worth a line, and what it is.
_OURS = {
    layout.QUARANTINE_NAME: "in quarantine",
    layout.GONE_NAME: "being removed by the gc",
    layout.EXPORTS_NAME: "snapshots of exports",
    layout.MULTIPART_NAME: "uploads in parts, under way",
    layout.JOURNAL_NAME + ".0": "journal",
    layout.JOURNAL_NAME + ".1": "journal, its other file",
    layout.RESERVE_NAME: "reserve, for deletes on a full disk",
}


@dataclass
class RoomTaken:
    """`count`: blobs, or files; `data_bytes`: lengths of files; `disk_bytes`: their room on the disk."""

    count: int = 0
    data_bytes: int = 0
    disk_bytes: int = 0

    def add(self, data_bytes: int, disk_bytes: int) -> None:
        """One more."""
        self.count += 1
        self.data_bytes += data_bytes
        self.disk_bytes += disk_bytes

    def document(self) -> dict[str, int]:
        """It in JSON."""
        return {"count": self.count, "data_bytes": self.data_bytes, "disk_bytes": self.disk_bytes}


def of_blob(data_dir: Layout, blob_id: int) -> tuple[int, int]:
    """(length of its files, bytes on disk) of one blob's folder; zeros where it is gone."""
    return _room_of(data_dir.folder(blob_id))


def of_ours(data_dir: Layout) -> dict[str, tuple[int, int]]:
    """By what it is: (length, bytes on disk) of what is ours beside the blobs."""
    return {text: _room_of(data_dir.ours(name)) for name, text in _OURS.items()}


def _room_of(path: str) -> tuple[int, int]:
    try:
        about = os.lstat(path)
        is_folder = stat.S_ISDIR(about.st_mode)
        below = [_room_of(f"{path}/{name}") for name in os.listdir(path)] if is_folder else []
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0
    length = 0 if is_folder else about.st_size
    return length + sum(b[0] for b in below), about.st_blocks * 512 + sum(b[1] for b in below)
