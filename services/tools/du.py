"""`du`: what takes the room of a data directory, by state and by the first part of the locations."""

from __future__ import annotations

import argparse
import os
from collections import defaultdict

from common.progress import Progress
from services.tools import exits, on_objects
from services.tools.output import Output, size, state
from services.tools.storage import Record, RoomTaken, Storage, state_word

HELP = "what takes the room"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `du`."""
    parser.add_argument("--depth", type=int, default=1, help="how many parts of a location make a group (1)")
    parser.add_argument("--top", type=int, default=20, help="how many groups to show (20)")


def run(args: argparse.Namespace, out: Output) -> int:
    """Write what takes room."""
    if on_objects.is_asked(args.config):
        return on_objects.du(args, out)
    storage = Storage(args.config)
    states: dict[str, RoomTaken] = defaultdict(RoomTaken)
    groups: dict[str, RoomTaken] = defaultdict(RoomTaken)
    with Progress("reading", "folders") as progress:
        for entry in storage.records(progress):
            data_bytes, disk_bytes = storage.room_of(entry)
            if isinstance(entry, Record):
                states[state_word(entry)].add(data_bytes, disk_bytes)
                groups[_group(entry.location, args.depth)].add(data_bytes, disk_bytes)
            else:
                states["damaged"].add(data_bytes, disk_bytes)
    _write(storage, states, groups, args.top, out)
    return exits.OK


def _group(location: str, depth: int) -> str:
    """`a/` of `a/b/c` at depth 1; the location itself where it has no more parts."""
    parts = location.split("/")
    return location if len(parts) <= depth else "/".join(parts[:depth]) + "/"


def _write(
    storage: Storage,
    states: dict[str, RoomTaken],
    groups: dict[str, RoomTaken],
    top: int,
    out: Output,
) -> None:
    ours = storage.room_of_ours()
    disk = os.statvfs(storage.place)
    free_bytes, total_bytes = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    folders = sum(room.count for room in states.values())
    ids_left = storage.ids_left(folders)
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
