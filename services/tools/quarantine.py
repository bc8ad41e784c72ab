"""`quarantine list|show|restore|drop`: the damaged blobs that were moved out of the way.

`restore` writes the blob anew at its location, through the running server or the store: a new id, a new
number, its checksums compared first. What was written or deleted there since is not undone by accident.
The folder in quarantine stays until `drop` removes it: an order that nobody but the operator gives.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from common import checksum
from common.config import Config
from common.errors import DAMAGE_ERRNOS, Damaged
from common.ours import open_ours
from common.states import State
from services.engines.local.disk import blob_folder, directory, layout
from services.engines.local.disk.layout import Layout
from services.engines.local.upkeep import survey
from services.engines.local.upkeep.survey import Quarantined
from services.rules.locations import check_location
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.incoming import Incoming, Outcome, verified
from services.tools.output import Output, size
from services.tools.owner import must_be_owner
from services.tools.targets import add_target_arguments, open_target


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """The arguments of `quarantine`, and its own commands."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="list|show|restore|drop")
    commands.add_parser("list", parents=[common], help="what is in quarantine, and why")
    show = commands.add_parser("show", parents=[common], help="one of them, and which of its bytes are good")
    show.add_argument("name", help="as `quarantine list` shows it, such as 13342-17")
    restore = commands.add_parser("restore", parents=[common], help="write it anew, if it is whole after all")
    restore.add_argument("name")
    restore.add_argument("--to", metavar="LOCATION", help="another location than its own")
    restore.add_argument(
        "--even-deleted", action="store_true", help="even where its location was deleted since"
    )
    add_target_arguments(restore)
    drop = commands.add_parser("drop", parents=[common], help="remove it for good")
    drop.add_argument("name", nargs="+")
    drop.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, out: Output) -> int:
    """Do what `args.action` says."""
    data_dir = directory.existing(args.dir)
    if args.action == "list":
        return _list(data_dir, out)
    if args.action == "drop":
        return _drop(data_dir, args, out)
    entry = _named(data_dir, args.name)
    if args.action == "show":
        return _show(entry, out)
    return asyncio.run(_restore(data_dir, entry, args, out))


def _named(data_dir: Layout, name: str) -> Quarantined:
    for entry in survey.quarantined(data_dir):
        if entry.name == name:
            return entry
    raise CommandFailed(exits.NOT_THERE, f"Nothing in quarantine is named {name!r}: see `quarantine list`.")


def _location(entry: Quarantined) -> str | None:
    if entry.note is not None and entry.note.location is not None:
        return entry.note.location
    return entry.record.location if entry.record is not None else None


def _about(entry: Quarantined) -> dict[str, object]:
    note = entry.note
    return {
        "name": entry.name,
        "path": entry.path,
        "location": _location(entry),
        "reason": note.reason if note else None,
        "time": note.time if note else None,
        "released": note.released if note else False,
        "size": entry.record.size if entry.record else None,
    }


def _list(data_dir: Layout, out: Output) -> int:
    entries = survey.quarantined(data_dir)
    out.document({"quarantined": [_about(entry) for entry in entries]})
    rows = [
        [
            entry.name,
            entry.note.time[:19] + "Z" if entry.note else "-",
            "written or deleted since" if entry.note and entry.note.released else "answers 500",
            _location(entry) or "unknown",
            entry.note.reason if entry.note else "its note cannot be read",
        ]
        for entry in entries
    ]
    if rows:
        out.table(["name", "since", "location is", "location", "reason"], rows)
    else:
        out.line("Nothing is in quarantine.")
    return exits.OK


def _show(entry: Quarantined, out: Output) -> int:
    bad = _bad_chunks(entry)
    out.document({**_about(entry), "bad_mib": bad, "whole": _damage(entry) is None})
    for name, value in _about(entry).items():
        out.line(f"{name:9} {value}")
    if bad is None:
        out.line("Its state or its data cannot be read: nothing tells which bytes are good.")
    elif bad:
        out.line("MiB of data.raw that are not what was written, counted from 0: " + " ".join(map(str, bad)))
    damage = _damage(entry)
    out.line(f"It is damaged: {damage}." if damage else "It is whole: `quarantine restore` writes it anew.")
    return exits.OK if damage is None else exits.NOT_WELL


def _bad_chunks(entry: Quarantined) -> list[int] | None:
    """Which MiB of the data fail their checksum; None where that cannot be told."""
    record = entry.record
    if record is None or record.state is not State.COMPLETE or record.is_original:
        return None
    try:
        fd = _open_data(entry)
    except (OSError, Damaged):
        return None
    bad = []
    try:
        for chunk in range(checksum.chunk_count(record.size)):
            want = min(checksum.CHUNK_BYTES, record.size - chunk * checksum.CHUNK_BYTES)
            try:
                data = os.pread(fd, want, chunk * checksum.CHUNK_BYTES)
            except OSError as err:
                if err.errno not in DAMAGE_ERRNOS:
                    raise
                data = b""
            if len(data) != want or checksum.crc(data) != checksum.unpack_crc(record.crcs, chunk):
                bad.append(chunk)
    finally:
        os.close(fd)
    return bad


def _damage(entry: Quarantined) -> str | None:
    """What is wrong with it now; None where every checksum is right."""
    record = entry.record
    if record is None:
        return "its state cannot be read"
    if record.state is not State.COMPLETE or record.is_original:
        return "its state does not say that it was complete, with checksums"
    try:
        fd = _open_data(entry)
    except (OSError, Damaged) as err:
        return str(err)
    try:
        if (length := os.fstat(fd).st_size) != record.size:
            return f"data.raw has {length} bytes instead of {record.size}"
        for _ in verified(lambda n: os.read(fd, n), record):
            pass
    except (OSError, Damaged) as err:
        return str(err)
    finally:
        os.close(fd)
    return None


def _open_data(entry: Quarantined) -> int:
    return open_ours(f"{entry.path}/{layout.DATA_NAME}")


async def _restore(data_dir: Layout, entry: Quarantined, args: argparse.Namespace, out: Output) -> int:
    record = entry.record
    damage = _damage(entry)
    if damage is not None or record is None:
        raise CommandFailed(
            exits.NOT_WELL,
            f"{entry.name} is not restored, {damage}. What of it is still of use is in {entry.path}.",
        )
    location = args.to or record.location
    if args.to is not None:
        check_location(args.to)
    if args.to is None and entry.note is not None and entry.note.released and not args.even_deleted:
        _refuse_if_deleted(data_dir, location)
    fd = _open_data(entry)
    config: Config = args.config
    try:
        blob = Incoming(
            location,
            record.type,
            record.encoding,
            record.metadata,
            record.size,
            record.sha256,
            lambda: verified(lambda n: os.read(fd, n), record),
        )
        async with open_target(data_dir.root, config, args) as target:
            outcome = await target.put(blob, replace=False)
    finally:
        os.close(fd)
    if outcome is Outcome.DIFFERS:
        raise CommandFailed(
            exits.NOT_WELL,
            f"{location!r} was written anew since, and stands: restore with --to ANOTHER/LOCATION, "
            "or delete that one first.",
        )
    out.document({"restored": entry.name, "location": location, "outcome": outcome.value})
    out.line(f"{location} is served again ({size(record.size)}, every checksum right).")
    out.line(f"`quarantine drop {entry.name}` removes the old folder, which is kept until then.")
    return exits.OK


def _refuse_if_deleted(data_dir: Layout, location: str) -> None:
    found = [entry for entry in survey.records(data_dir) if not isinstance(entry, survey.Unreadable)]
    if location not in survey.live_among(found):
        raise CommandFailed(
            exits.NOT_WELL,
            f"{location!r} was deleted since: restoring would undo that. --even-deleted does, or give --to.",
        )


def _drop(data_dir: Layout, args: argparse.Namespace, out: Output) -> int:
    must_be_owner(data_dir.root)
    entries = [_named(data_dir, name) for name in args.name]
    if not args.yes:
        _ask(entries)
    freed_bytes = sum(blob_folder.drop_quarantined(data_dir, entry.name) for entry in entries)
    out.document({"dropped": [entry.name for entry in entries], "freed_bytes": freed_bytes})
    out.line(f"{len(entries)} removed, {size(freed_bytes)} freed.")
    return exits.OK


def _ask(entries: list[Quarantined]) -> None:
    if not sys.stdin.isatty():
        raise CommandFailed(exits.USAGE, "This removes what cannot be brought back: say --yes.")
    for entry in entries:
        sys.stderr.write(f"{entry.name} of {_location(entry)!r}\n")
    sys.stderr.write("Remove for good? A location that answers 500 for it will answer 404. [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandFailed(exits.NOT_WELL, "Nothing was removed.")
