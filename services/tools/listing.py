"""`ls`: the blobs of a directory, by location, read from disk."""

from __future__ import annotations

import argparse

from common.progress import Progress
from common.states import WORD_OF_CODE
from common.times import rfc3339
from services.engines.local.disk import directory
from services.engines.local.disk.record import BlobRecord
from services.engines.local.upkeep import survey
from services.tools import exits
from services.tools.output import Cell, Output, state


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `ls`."""
    parser.add_argument("prefix", nargs="?", default="", help="only locations that start with this")
    parser.add_argument("-l", "--long", action="store_true", help="id, size, time and type as well")
    parser.add_argument(
        "-a", "--all", action="store_true", help="also Pending and Failure ones that still have a folder"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Write the list; 1 where a state file cannot be read."""
    data_dir = directory.existing(args.dir)
    found: list[BlobRecord] = []
    unreadable: list[survey.Unreadable] = []
    with Progress("reading", "folders") as progress:
        for entry in survey.records(data_dir, progress):
            if isinstance(entry, survey.Unreadable):
                unreadable.append(entry)
            elif entry.location.startswith(args.prefix):
                found.append(entry)
    live = survey.live_among(found)
    shown = found if args.all else list(live.values())
    shown.sort(key=lambda blob: (blob.location, blob.seq))
    out.document(
        {
            "blobs": [about(blob, live.get(blob.location) is blob) for blob in shown],
            "unreadable": [{"id": entry.id, "reason": entry.reason} for entry in unreadable],
        }
    )
    if args.long or args.all:
        headings = ["id", "size", "modified", "type", "location"]
        out.table(["state", *headings] if args.all else headings, (_row(b, args.all) for b in shown))
    else:
        for blob in shown:
            out.line(blob.location)
    for entry in unreadable:
        out.line(f"blob {entry.id}: its state cannot be read: {entry.reason}")
    return exits.NOT_WELL if unreadable else exits.OK


def word(blob: BlobRecord) -> str:
    """The blob's state as disk and wire call it."""
    return WORD_OF_CODE[blob.events[-1].code]


def about(blob: BlobRecord, served: bool) -> dict[str, object]:
    """One blob in JSON; `served`: clients get it."""
    return {
        "location": blob.location,
        "id": blob.id,
        "state": word(blob),
        "served": served,
        "seq": blob.seq,
        "size": blob.size,
        "sha256": blob.sha256.hex() or None,
        "type": blob.type,
        "encoding": blob.encoding,
        "modified": rfc3339(blob.modified_ns) if blob.modified_ns else None,
    }


def _row(blob: BlobRecord, with_state: bool) -> list[Cell]:
    time = rfc3339(blob.modified_ns)[:19] + "Z" if blob.modified_ns else "-"
    row: list[Cell] = [str(blob.id), blob.size, time, blob.type, blob.location]
    return [state(word(blob)), *row] if with_state else row
