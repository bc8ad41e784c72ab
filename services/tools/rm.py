"""`rm LOCATION ...`: delete blobs; with -r everything below a location, too."""

from __future__ import annotations

import argparse
import asyncio

from common.errors import NotFound
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.open_target import add_target_arguments, open_target
from services.tools.output import Output
from services.tools.target import Target

HELP = "delete blobs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `rm`."""
    parser.add_argument("location", nargs="+", help="of a blob; with -r of a folder, such as photos/")
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="what is below each location, too: a/ and all in it"
    )
    add_target_arguments(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Delete; each delete is durable before the next. 3 if there was nothing to delete."""
    if args.recursive and not all(location.strip("/") for location in args.location):
        raise CommandFailed(exits.USAGE, "An empty location would mean every blob: name what to delete.")
    deleted, missing = asyncio.run(_delete(args))
    out.document({"deleted": deleted, "missing": missing})
    out.line(f"{len(deleted):,} deleted")
    for location in missing:
        out.line(f"{location!r} is not there")
    return exits.NOT_THERE if missing else exits.OK


async def _delete(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Delete them. Returns (what was deleted, which of the arguments were not there)."""
    deleted: list[str] = []
    missing: list[str] = []
    async with open_target(args.config, args) as target:
        for location in args.location:
            count = len(deleted)
            await _delete_one(target, location.rstrip("/") if args.recursive else location, deleted)
            if args.recursive:
                below = location.rstrip("/") + "/"
                for found in [found async for found in target.locations(below)]:
                    await _delete_one(target, found, deleted)
            if len(deleted) == count:
                missing.append(location)
    return deleted, missing


async def _delete_one(target: Target, location: str, deleted: list[str]) -> None:
    try:
        await target.delete(location)
    except NotFound:
        return
    deleted.append(location)
