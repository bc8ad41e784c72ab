"""`show`: everything that is known of one blob, its history in the colours of its states."""

from __future__ import annotations

import argparse

from common.errors import CorruptRecord
from common.states import WORD_OF_CODE
from common.times import rfc3339
from services.tools import exits, ls, on_objects
from services.tools.exits import CommandFailed
from services.tools.ls import shown_metadata
from services.tools.output import Output, size, state
from services.tools.storage import Record, Storage, state_word

HELP = "all that is known of one blob, with its history"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `show`."""
    parser.add_argument(
        "blob", metavar="ID|LOCATION", help="a number is taken as an id where a blob has that id"
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--id", action="store_true", help="it is an id")
    kind.add_argument("--location", action="store_true", help="it is a location")


def run(args: argparse.Namespace, out: Output) -> int:
    """Write what is known; 1 if the blob is damaged, 3 if there is none."""
    if on_objects.is_asked(args.config):
        return on_objects.show(args, out)
    storage = Storage(args.config)
    found: list[Record] = []
    if not args.location and (args.id or args.blob.isdecimal()):
        found = _by_id(storage, args.blob, must=args.id)
    live: dict[str, Record] = {}
    if not args.id:
        named = [
            entry
            for entry in storage.records()
            if isinstance(entry, Record) and entry.location == (found[0].location if found else args.blob)
        ]
        live = storage.live_among(named)
        found = found or sorted(named, key=lambda blob: -blob.seq)
    damaged = [
        entry
        for entry in storage.quarantined()
        if entry.note is not None and not entry.note.released and entry.note.location == args.blob
    ]
    if not found and not damaged:
        raise CommandFailed(exits.NOT_THERE, f"There is no blob {args.blob!r}: `ls` lists what is there.")
    served = {blob.id for blob in live.values()}
    out.document(
        {
            "blobs": [_document(storage, blob, blob.id in served) for blob in found],
            "quarantined": [
                {"name": entry.name, "path": entry.path, "reason": entry.note.reason if entry.note else None}
                for entry in damaged
            ],
        }
    )
    for blob in found:
        _write(storage, blob, blob.id in served, out)
    for entry in damaged:
        reason = entry.note.reason if entry.note else "unknown"
        out.line(state("damaged"), f": in quarantine as {entry.name}: {reason}")
    return exits.NOT_WELL if damaged else exits.OK


def _by_id(storage: Storage, text: str, *, must: bool) -> list[Record]:
    """The blob with that id, or none. Raises CommandFailed if there is none and `must` is set."""
    try:
        found = storage.by_id(text)
    except CorruptRecord as err:
        raise CommandFailed(exits.NOT_WELL, f"Blob {text}: {err} `check` quarantines it.") from err
    except OSError as err:
        raise CommandFailed(
            exits.NOT_WELL, f"Blob {text}: its state cannot be read: {err.strerror}."
        ) from err
    if found is None and must:
        raise CommandFailed(exits.NOT_THERE, f"No blob has id {text}.")
    return [] if found is None else [found]


def _document(storage: Storage, blob: Record, served: bool) -> dict[str, object]:
    history = [
        {"time": event.at, "state": WORD_OF_CODE[event.code], "message": event.message}
        for event in reversed(blob.events)
    ]
    expires_ns = storage.expires_ns(blob)
    return {
        **ls.as_json(blob, served),
        "expires": None if expires_ns is None else rfc3339(expires_ns),
        "folder": storage.folder(blob),
        "history": history,
    }


def _write(storage: Storage, blob: Record, served: bool, out: Output) -> None:
    out.line(f"blob {blob.id} of {blob.location}")
    word = state_word(blob)
    out.line("  state     ", state(word), " (served)" if served else "")
    if blob.sha256:
        out.line(f"  size      {size(blob.size)}")
        out.line(f"  sha256    {blob.sha256.hex()}")
    if blob.modified_ns:
        out.line(f"  modified  {rfc3339(blob.modified_ns)}")
    if (expires_ns := storage.expires_ns(blob)) is not None:
        out.line(f"  expires   {rfc3339(expires_ns)}")
    out.line(f"  type      {blob.type}" + (f", encoding {blob.encoding}" if blob.encoding else ""))
    out.line(f"  number    {blob.seq}")
    out.line(f"  folder    {storage.folder(blob)}")
    if metadata := shown_metadata(blob):
        out.line("  metadata")
        for name, value in metadata.items():
            out.line(f"    {name}: {value}")
    out.line("  history, newest first")
    for event in reversed(blob.events):
        name = WORD_OF_CODE[event.code]
        out.line(f"    {event.at} - ", state(name), f" - {event.message}")
