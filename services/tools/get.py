"""`get LOCATION [FILE]`: the bytes of one blob, from the running server or from disk."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable

from common import durable
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.new_file import write_new_file
from services.tools.open_target import add_target_arguments, open_target
from services.tools.output import Output, size

HELP = "read a blob, to stdout or into a file"

STDOUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `get`."""
    parser.add_argument("location", help="of the blob, such as photos/cat.jpg")
    parser.add_argument("file", nargs="?", default=STDOUT, help="replaced if it is there (default: stdout)")
    add_target_arguments(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Write the bytes; a file gets its name only when it is complete. 1: damaged, 3: no such blob."""
    if args.file == STDOUT:
        if out.as_json:
            raise CommandFailed(exits.USAGE, "--json goes with a FILE: stdout is for the blob's bytes.")
        asyncio.run(_fetch(args, lambda data: durable.write_all(sys.stdout.fileno(), data)))
        return exits.OK

    def fill(fd: int) -> int:
        asyncio.run(_fetch(args, lambda data: durable.write_all(fd, data)))
        return os.fstat(fd).st_size

    size_bytes = write_new_file(args.file, fill)
    out.document({"location": args.location, "file": args.file, "bytes": size_bytes})
    out.line(f"{args.file}: {size(size_bytes)}, every checksum right")
    return exits.OK


async def _fetch(args: argparse.Namespace, take: Callable[[bytes], None]) -> None:
    async with open_target(args.config, args) as target:
        await target.get(args.location, take)
