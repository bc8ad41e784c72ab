"""`import FILE.tar`: the blobs of an export, put into a directory that may have others.

They become new blobs, with new ids and histories, through the running server or the store. To get the same
directory back, ids and histories included, unpack the tar into an empty folder and serve that.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from common.errors import BadRequest, Damaged, TooLarge
from common.progress import Progress
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.open_target import add_create_argument, add_target_arguments, open_target
from services.tools.output import Output, size
from services.tools.storage import Backup, Stored, open_backup
from services.tools.target import OfferedBlob, PutOutcome, Target
from services.tools.task_pool import TaskPool

HELP = "put the blobs of an export into a directory"

_SMALL_BYTES = 1 << 20  # read whole, so that several can be stored at once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `import`."""
    parser.add_argument("file", help="a tar file made by `export`, or by tar of a data directory at rest")
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="only this blob; with a slash at its end, what is below it. May be given more than once",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="also where a location has other bytes now (else it keeps them)",
    )
    add_target_arguments(parser)
    add_create_argument(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Import; 1 if a blob was damaged or not taken, or the file is cut short."""
    with open_backup(args.file) as backup:
        return asyncio.run(_run(backup, args, out))


async def _run(backup: Backup, args: argparse.Namespace, out: Output) -> int:
    async with open_target(args.config, args) as target:
        run = _Import(target, args.only, replace=args.replace)
        with Progress("import", "bytes") as progress:
            await run.all(backup.blobs(progress))
    problems = [*run.problems, *backup.problems]
    counts = {outcome.value: run.outcomes[outcome] for outcome in PutOutcome}
    missing = [name for name in args.only if name not in run.met]
    if missing and not sum(counts.values()):
        raise CommandFailed(exits.NOT_THERE, f"{args.file} has no blob {missing[0]!r}: see `ls --tar`.")
    problems += [f"{args.file} has no blob {name!r}" for name in missing]
    out.document(
        {
            "into": target.name,
            **counts,
            "bytes": run.bytes,
            "problems": problems,
            "whole": backup.is_whole,
        }
    )
    out.line(f"into {target.name}: {size(run.bytes)} of data")
    for name, count in counts.items():
        out.line(
            f"{name:9} {count:,}" + (" (kept as they are: --replace)" if name == "differs" and count else "")
        )
    for sentence in problems:
        out.line(sentence)
    return exits.OK if backup.is_whole and not problems and not counts["differs"] else exits.NOT_WELL


class _Import:
    """`met`: which of the names that were asked for are in the file."""

    def __init__(self, target: Target, only: list[str], *, replace: bool) -> None:
        self._target = target
        self._only = only
        self._replace = replace
        self._puts = TaskPool(target.parallel)
        self.met: set[str] = set()
        self.outcomes: Counter[PutOutcome] = Counter()
        self.problems: list[str] = []
        self.bytes = 0

    async def all(self, blobs: Iterator[Stored]) -> None:
        """Every blob that is wanted."""
        async with self._puts:
            for stored in blobs:
                if self._is_wanted(stored.record.location):
                    await self._take(stored)

    def _is_wanted(self, location: str) -> bool:
        if not self._only:
            return True
        named = {
            name
            for name in self._only
            if location == name or (name.endswith("/") and location.startswith(name))
        }
        self.met |= named
        return bool(named)

    async def _take(self, stored: Stored) -> None:
        try:
            if stored.record.size > _SMALL_BYTES:
                await self._puts.until_empty()  # they would wait for it, and it for the tar
                await self._put(stored, stored.chunks)
                return
            whole = list(stored.chunks())
            await self._puts.start(lambda: self._put(stored, lambda: iter(whole)))
        except Damaged as err:
            self.problems.append(f"{stored.record.location!r}: not imported: {err}")

    async def _put(self, stored: Stored, chunks: Callable[[], Iterator[bytes]]) -> None:
        blob = stored.record
        incoming = OfferedBlob(
            *(blob.location, blob.size, chunks, blob.type, blob.encoding, blob.metadata, blob.sha256)
        )
        try:
            self.outcomes[await self._target.put(incoming, replace=self._replace)] += 1
            self.bytes += blob.size
        except (BadRequest, TooLarge) as err:  # this one is not wanted; others may be
            self.problems.append(f"{blob.location!r}: not imported: {err}")
