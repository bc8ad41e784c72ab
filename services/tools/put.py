"""`put FILE LOCATION`: one blob, through the running server or into the store."""

from __future__ import annotations

import argparse
import asyncio
import mimetypes
import os
import stat
import sys
from collections.abc import Iterator

from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.open_target import add_create_argument, add_target_arguments, open_target
from services.tools.output import Output
from services.tools.target import OfferedBlob, PutOutcome

HELP = "store a file as a blob"

STDIN = "-"
_PIECE_BYTES = 1 << 20
_ANY_TYPE = "application/octet-stream"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `put`."""
    parser.add_argument("file", help="- is stdin")
    parser.add_argument("location", help="where it will be, such as photos/cat.jpg")
    parser.add_argument("--type", help="the media type (default: guessed from the name)")
    parser.add_argument("--new", action="store_true", help="only where there is no blob yet")
    add_target_arguments(parser)
    add_create_argument(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Store it durably. With --new: 1 if there is a blob already."""
    guessed, _ = mimetypes.guess_type(args.location)
    fd = sys.stdin.fileno() if args.file == STDIN else _open(args.file)
    found = os.fstat(fd)
    is_file = stat.S_ISREG(found.st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0
    blob = OfferedBlob(
        args.location,
        found.st_size if is_file else None,
        lambda: _chunks(fd, again=is_file),
        args.type or guessed or _ANY_TYPE,
    )
    try:
        outcome = asyncio.run(_store(args, blob))
    finally:
        if args.file != STDIN:
            os.close(fd)
    if outcome is PutOutcome.DIFFERS or (args.new and outcome is PutOutcome.SAME):
        raise CommandFailed(exits.NOT_WELL, f"{args.location!r} is there already, and was left as it is.")
    out.document({"location": args.location, "outcome": outcome.value})
    out.line(f"{args.location}: {outcome.value}")
    return exits.OK


async def _store(args: argparse.Namespace, blob: OfferedBlob) -> PutOutcome:
    async with open_target(args.config, args) as target:
        return await target.put(blob, replace=not args.new)


def _open(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as err:
        raise CommandFailed(exits.NOT_THERE, f"There is no file {path}.") from err
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise CommandFailed(exits.USAGE, f"{path} is a folder: put stores one file.")
    return fd


def _chunks(fd: int, *, again: bool) -> Iterator[bytes]:
    if again:
        os.lseek(fd, 0, os.SEEK_SET)
    while data := os.read(fd, _PIECE_BYTES):
        yield data
