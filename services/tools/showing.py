"""`show`: everything that is known of one blob, its history in the colours of its states."""

from __future__ import annotations

import argparse

from common.errors import CorruptRecord
from common.states import WORD_OF_CODE
from common.times import rfc3339
from services.engines.local.disk import blob_folder, directory
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.upkeep import survey
from services.tools import exits, listing
from services.tools.exits import CommandFailed
from services.tools.output import Output, size, state


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `show`."""
    parser.add_argument(
        "blob", metavar="ID|LOCATION", help="a number is taken as an id where a blob has that id"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--id", action="store_true", help="it is an id")
    kind.add_argument("--location", action="store_true", help="it is a location")


def run(args: argparse.Namespace, out: Output) -> int:
    """Write what is known; 1 where the blob is damaged, 3 where there is none."""
    data_dir = directory.existing(args.dir)
    found: list[BlobRecord] = []
    if not args.location and (args.id or args.blob.isdecimal()):
        found = _by_id(data_dir, args.blob, must=args.id)
    live: dict[str, BlobRecord] = {}
    if not args.id:
        named = [
            entry
            for entry in survey.records(data_dir)
            if isinstance(entry, BlobRecord) and entry.location == (found[0].location if found else args.blob)
        ]
        live = survey.live_among(named)
        found = found or sorted(named, key=lambda blob: -blob.seq)
    damaged = [
        entry
        for entry in survey.quarantined(data_dir)
        if entry.note is not None and not entry.note.released and entry.note.location == args.blob
    ]
    if not found and not damaged:
        raise CommandFailed(exits.NOT_THERE, f"There is no blob {args.blob!r}: `ls` lists what is there.")
    served = {blob.id for blob in live.values()}
    out.document(
        {
            "blobs": [_document(data_dir, blob, blob.id in served) for blob in found],
            "quarantined": [
                {"name": entry.name, "path": entry.path, "reason": entry.note.reason if entry.note else None}
                for entry in damaged
            ],
        }
    )
    for blob in found:
        _write(data_dir, blob, blob.id in served, out)
    for entry in damaged:
        reason = entry.note.reason if entry.note else "unknown"
        out.line(state("damaged"), f": in quarantine as {entry.name}: {reason}")
    return exits.NOT_WELL if damaged else exits.OK


def _by_id(data_dir: Layout, text: str, *, must: bool) -> list[BlobRecord]:
    """The blob with that id; none where there is no such, unless it `must` be."""
    if text.isdecimal() and int(text) < 1 << data_dir.id_bits:
        try:
            return [blob_folder.read_record(data_dir, int(text))]
        except FileNotFoundError:
            pass
        except CorruptRecord as err:
            raise CommandFailed(exits.NOT_WELL, f"Blob {text}: {err} `check` quarantines it.") from err
        except OSError as err:
            raise CommandFailed(
                exits.NOT_WELL, f"Blob {text}: its state cannot be read: {err.strerror}."
            ) from err
    if must:
        raise CommandFailed(exits.NOT_THERE, f"No blob has id {text}.")
    return []


def _document(data_dir: Layout, blob: BlobRecord, served: bool) -> dict[str, object]:
    history = [
        {"time": event.at, "state": WORD_OF_CODE[event.code], "message": event.message}
        for event in reversed(blob.events)
    ]
    return {**listing.about(blob, served), "folder": data_dir.folder(blob.id), "history": history}


def _write(data_dir: Layout, blob: BlobRecord, served: bool, out: Output) -> None:
    out.line(f"blob {blob.id} of {blob.location}")
    word = listing.word(blob)
    out.line("  state     ", state(word), " (served)" if served else "")
    if blob.sha256:
        out.line(f"  size      {size(blob.size)}")
        out.line(f"  sha256    {blob.sha256.hex()}")
    if blob.modified_ns:
        out.line(f"  modified  {rfc3339(blob.modified_ns)}")
    out.line(f"  type      {blob.type}" + (f", encoding {blob.encoding}" if blob.encoding else ""))
    out.line(f"  number    {blob.seq}")
    out.line(f"  folder    {data_dir.folder(blob.id)}")
    out.line("  history, newest first")
    for event in reversed(blob.events):
        name = WORD_OF_CODE[event.code]
        out.line(f"    {event.at} - ", state(name), f" - {event.message}")
