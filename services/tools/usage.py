"""`du`: what takes the room of a data directory, by state and by the first part of the locations."""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from dataclasses import dataclass

from common.progress import Progress
from services.engines.local.disk import directory, layout
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.upkeep import survey
from services.tools import exits, listing
from services.tools.output import Output, size, state


@dataclass
class Room:
    """`count`: blobs, or files; `data_bytes`: lengths of files; `disk_bytes`: what the disk gave for them."""

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


# What of ours is worth a line, and what it is.
_OURS = {
    layout.QUARANTINE_NAME: "in quarantine",
    layout.GONE_NAME: "being removed by the gc",
    layout.EXPORTS_NAME: "snapshots of exports",
    layout.JOURNAL_NAME + ".0": "journal",
    layout.JOURNAL_NAME + ".1": "journal, its other file",
    layout.RESERVE_NAME: "reserve, for deletes on a full disk",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `du`."""
    parser.add_argument("--depth", type=int, default=1, help="how many parts of a location make a group (1)")
    parser.add_argument("--top", type=int, default=20, help="how many groups to show (20)")


def run(args: argparse.Namespace, out: Output) -> int:
    """Write what takes room."""
    data_dir = directory.existing(args.dir)
    states: dict[str, Room] = defaultdict(Room)
    groups: dict[str, Room] = defaultdict(Room)
    found = []
    with Progress("reading", "folders") as progress:
        for entry in survey.records(data_dir, progress):
            data_bytes, disk_bytes = _room_of(data_dir.folder(entry.id))
            if isinstance(entry, BlobRecord):
                found.append(entry)
                states[listing.word(entry)].add(data_bytes, disk_bytes)
                groups[_group(entry.location, args.depth)].add(data_bytes, disk_bytes)
            else:
                states["damaged"].add(data_bytes, disk_bytes)
    ours = {text: _room_of(data_dir.ours(name)) for name, text in _OURS.items()}
    _write(data_dir, states, groups, ours, args.top, out)
    return exits.OK


def _group(location: str, depth: int) -> str:
    """`a/` of `a/b/c` at depth 1; the location itself where it has no more parts."""
    parts = location.split("/")
    return location if len(parts) <= depth else "/".join(parts[:depth]) + "/"


def _room_of(path: str) -> tuple[int, int]:
    """(length, bytes on disk) of a file, or of all in a folder; zeros where it is not there."""
    try:
        about = os.lstat(path)
        is_folder = os.path.isdir(path) and not os.path.islink(path)
        below = [_room_of(f"{path}/{name}") for name in os.listdir(path)] if is_folder else []
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0
    length = 0 if is_folder else about.st_size
    return length + sum(b[0] for b in below), about.st_blocks * 512 + sum(b[1] for b in below)


def _write(
    data_dir: Layout,
    states: dict[str, Room],
    groups: dict[str, Room],
    ours: dict[str, tuple[int, int]],
    top: int,
    out: Output,
) -> None:
    disk = os.statvfs(data_dir.root)
    free_bytes, total_bytes = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    folders = sum(room.count for room in states.values())
    ids_left = (1 << data_dir.id_bits) - folders
    largest = sorted(groups.items(), key=lambda item: (-item[1].disk_bytes, item[0]))
    out.document(
        {
            "states": {name: room.document() for name, room in states.items()},
            "ours": {text: {"data_bytes": b[0], "disk_bytes": b[1]} for text, b in ours.items()},
            "groups": [{"group": name, **room.document()} for name, room in largest[:top]],
            "disk": {"free_bytes": free_bytes, "total_bytes": total_bytes},
            "ids_left": ids_left,
        }
    )
    out.table(
        ["state", "blobs", "bytes", "on disk"],
        [
            [state(name), room.count, room.data_bytes, room.disk_bytes]
            for name, room in sorted(states.items())
        ],
    )
    for text, (_, disk_bytes) in ours.items():
        if disk_bytes:
            out.line(f"{text}: {size(disk_bytes)}")
    out.line(f"free on this disk: {size(free_bytes)} of {size(total_bytes)}")
    out.line(f"ids left: {ids_left:,}")
    if largest:
        out.line("")
        out.table(
            ["blobs", "on disk", "location"],
            [[room.count, room.disk_bytes, name] for name, room in largest[:top]],
        )
    if len(largest) > top:
        out.line(f"and {len(largest) - top:,} more groups (--top, --depth)")
