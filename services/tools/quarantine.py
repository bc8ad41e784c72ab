"""`quarantine list|show|restore|drop`: the damaged blobs that were moved out of the way.

`restore` compares the checksums, and writes the blob to its location again, through the running server or the
store, with a new id. It does not replace what was written or deleted there since, unless it is told to. The
folder in quarantine stays until the operator removes it with `drop`.
"""

from __future__ import annotations

import argparse
import asyncio

from common.config import Config
from common.times import to_the_second
from services.rules.locations import check_location
from services.tools import exits, on_objects, quarantine_on_objects, quarantine_texts
from services.tools.open_target import add_target_arguments, open_target
from services.tools.output import Output
from services.tools.parsing import Commands
from services.tools.storage import Quarantined, Storage, UnreadableFolder
from services.tools.target import OfferedBlob, PutOutcome

HELP = "damaged blobs: list, show, restore, drop"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `quarantine`, and its own commands."""
    commands = Commands(parser, "action", ("list", "show", "restore", "drop"))
    commands.add("list", "what is in quarantine, and why")
    show = commands.add("show", "one of them, and which of its bytes are good")
    show.add_argument("name", help="as `quarantine list` shows it, such as 13342-17")
    restore = commands.add("restore", "write it anew, if it is whole after all")
    restore.add_argument("name")
    restore.add_argument("--to", metavar="LOCATION", help="another location than its own")
    restore.add_argument(
        "--even-deleted", action="store_true", help="even where its location was deleted since"
    )
    add_target_arguments(restore)
    drop = commands.add("drop", "remove it for good")
    drop.add_argument("name", nargs="+")
    drop.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, out: Output) -> int:
    """Do what `args.action` says."""
    if on_objects.is_asked(args.config):
        return quarantine_on_objects.run(args, out)
    storage = Storage(args.config)
    if args.action == "list":
        return _list(storage, out)
    if args.action == "drop":
        return _drop(storage, args, out)
    entry = _named(storage, args.name)
    if args.action == "show":
        bad, damage = Storage.bad_chunks(entry), Storage.damage(entry)
        return quarantine_texts.say_examined(out, _about(entry), bad, damage or "")
    return asyncio.run(_restore(storage, entry, args, out))


def _named(storage: Storage, name: str) -> Quarantined:
    for entry in storage.quarantined():
        if entry.name == name:
            return entry
    raise quarantine_texts.no_such(name)


def _about(entry: Quarantined) -> dict[str, object]:
    note = entry.note
    return {
        "name": entry.name,
        "path": entry.path,
        "location": Storage.location_of(entry),
        "reason": note.reason if note else None,
        "time": note.time if note else None,
        "released": note.released if note else False,
        "size": entry.record.size if entry.record else None,
    }


def _list(storage: Storage, out: Output) -> int:
    entries = storage.quarantined()
    out.document({"quarantined": [_about(entry) for entry in entries]})
    rows = [
        [
            entry.name,
            to_the_second(entry.note.time) if entry.note else "-",
            "written or deleted since" if entry.note and entry.note.released else "answers 500",
            Storage.location_of(entry) or "unknown",
            entry.note.reason if entry.note else "its note cannot be read",
        ]
        for entry in entries
    ]
    quarantine_texts.say_list(out, rows)
    return exits.OK


async def _restore(storage: Storage, entry: Quarantined, args: argparse.Namespace, out: Output) -> int:
    record = entry.record
    damage = Storage.damage(entry)
    if damage is not None or record is None:
        raise quarantine_texts.not_whole(entry.name, damage or "its state cannot be read", entry.path)
    location = args.to or record.location
    if args.to is not None:
        check_location(args.to)
    if args.to is None and entry.note is not None and entry.note.released and not args.even_deleted:
        _refuse_if_deleted(storage, location)
    config: Config = args.config
    blob = OfferedBlob(
        location=location,
        size=record.size,
        chunks=lambda: storage.chunks(entry),
        media_type=record.type,
        encoding=record.encoding,
        metadata=record.metadata,
        sha256=record.sha256,
    )
    async with open_target(config, args) as target:
        outcome = await target.put(blob, replace=False)
    if outcome is PutOutcome.DIFFERS:
        raise quarantine_texts.written_since(location)
    out.document({"restored": entry.name, "location": location, "outcome": outcome.value})
    quarantine_texts.say_restored(out, entry.name, location, record.size, "the old folder")
    return exits.OK


def _refuse_if_deleted(storage: Storage, location: str) -> None:
    found = [entry for entry in storage.records() if not isinstance(entry, UnreadableFolder)]
    if location not in storage.live_among(found):
        raise quarantine_texts.deleted_since(location)


def _drop(storage: Storage, args: argparse.Namespace, out: Output) -> int:
    storage.must_be_owner()
    entries = [_named(storage, name) for name in args.name]
    if not args.yes:
        quarantine_texts.ask([(entry.name, Storage.location_of(entry)) for entry in entries])
    freed_bytes = sum(storage.drop(entry) for entry in entries)
    quarantine_texts.say_dropped(out, [entry.name for entry in entries], freed_bytes)
    return exits.OK
