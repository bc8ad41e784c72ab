"""`ls`: the blobs of a directory, or of a backup, by location. Both are read from disk."""

from __future__ import annotations

import argparse

from common.progress import Progress
from common.times import rfc3339, to_the_second
from services.rules.locations import is_record
from services.tools import exits, on_objects
from services.tools.output import Cell, Output, state
from services.tools.storage import Record, Storage, UnreadableFolder, open_backup, state_word

HELP = "list the blobs, by location"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `ls`."""
    parser.add_argument("prefix", nargs="?", default="", help="only locations that start with this")
    parser.add_argument("-l", "--long", action="store_true", help="id, size, time and type as well")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "-a",
        "--all",
        action="store_true",
        help="also Pending and Failure ones that still have a folder, and records of front ends",
    )
    which.add_argument("--tar", metavar="FILE", help="what is in this backup, in place of a directory")


def run(args: argparse.Namespace, out: Output) -> int:
    """Write the list; 1 if a state file cannot be read, or a backup is not complete."""
    if args.tar is not None:
        return _of_backup(args, out)
    if on_objects.is_asked(args.config):
        return on_objects.ls(args, out)
    storage = Storage(args.config)
    found: list[Record] = []
    unreadable: list[UnreadableFolder] = []
    with Progress("reading", "folders") as progress:
        for entry in storage.records(progress):
            if isinstance(entry, UnreadableFolder):
                unreadable.append(entry)
            elif entry.location.startswith(args.prefix):
                found.append(entry)
    live = storage.live_among(found)
    shown = found if args.all else [blob for blob in live.values() if not is_record(blob.location)]
    shown.sort(key=lambda blob: (blob.location, blob.seq))
    out.document(
        {
            "blobs": [as_json(blob, live.get(blob.location) is blob) for blob in shown],
            "unreadable": [{"id": entry.id, "reason": entry.reason} for entry in unreadable],
        }
    )
    _write(shown, args, out)
    for entry in unreadable:
        out.line(f"blob {entry.id}: its state cannot be read: {entry.reason}")
    return exits.NOT_WELL if unreadable else exits.OK


def _of_backup(args: argparse.Namespace, out: Output) -> int:
    with open_backup(args.tar) as backup, Progress("reading", "bytes") as progress:
        shown = [
            stored.record
            for stored in backup.blobs(progress)
            if stored.record.location.startswith(args.prefix) and not is_record(stored.record.location)
        ]
    shown.sort(key=lambda blob: blob.location)
    out.document({"blobs": [as_json(blob, False) for blob in shown], "problems": backup.problems})
    _write(shown, args, out)
    for sentence in backup.problems:
        out.line(sentence)
    return exits.NOT_WELL if backup.problems else exits.OK


def _write(shown: list[Record], args: argparse.Namespace, out: Output) -> None:
    if args.long or args.all:
        headings = ["id", "size", "modified", "type", "location"]
        out.table(["state", *headings] if args.all else headings, (_row(b, args.all) for b in shown))
    else:
        for blob in shown:
            out.line(blob.location)


def as_json(blob: Record, served: bool) -> dict[str, object]:
    """One blob in JSON; `served`: clients get it."""
    return {
        "location": blob.location,
        "id": blob.id,
        "state": state_word(blob),
        "served": served,
        "seq": blob.seq,
        "size": blob.size,
        "sha256": blob.sha256.hex() or None,
        "type": blob.type,
        "encoding": blob.encoding,
        "metadata": shown_metadata(blob),
        "modified": rfc3339(blob.modified_ns) if blob.modified_ns else None,
    }


def shown_metadata(blob: Record) -> dict[str, str]:
    """The metadata that clients gave the blob, without what front ends keep with it."""
    return {name: value for name, value in blob.metadata.items() if not name.startswith(".")}


def _row(blob: Record, with_state: bool) -> list[Cell]:
    time = to_the_second(rfc3339(blob.modified_ns)) if blob.modified_ns else "-"
    row: list[Cell] = [str(blob.id), blob.size, time, blob.type, blob.location]
    return [state(state_word(blob)), *row] if with_state else row
