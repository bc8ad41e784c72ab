"""`copy FROM TO`: make one engine hold what another holds, while the first is served.

FROM and TO are each a directory, a configuration file (its engine), or the word `objects` (the options of
this command). Each pass copies what is new or changed, and deletes from TO what FROM no longer has. It may be
interrupted at any time. `--final` is the last pass: nobody may write to FROM any more, and TO may then be
served. docs/objects.md describes the switch-over.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import asdict, replace

import msgspec

from common import config
from common.config import Config
from common.errors import BlobkeepError
from common.progress import Progress
from services.engine import Admin
from services.read_all import all_bytes
from services.rules.locations import RECORDS
from services.store import Content, Store, unconditional
from services.tools import exits
from services.tools.copying import NOTE, CopyCounts, SnapshotSource, Source, StoreSource, copy_all
from services.tools.exits import CommandFailed
from services.tools.output import Output, size
from services.tools.storage import Storage, open_engine

HELP = "make one engine hold what another holds, while the first is served"
OBJECTS = "objects"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `copy`."""
    about = "a directory, a configuration file, or the word objects (the options of this command)"
    parser.add_argument("source", metavar="FROM", help=about)
    parser.add_argument("target", metavar="TO", help="the same; a directory is made where there is none")
    parser.add_argument(
        "--final",
        action="store_true",
        help="the last pass: no server of FROM runs any more; TO may be served",
    )
    parser.add_argument(
        "--even-damaged",
        action="store_true",
        help="with --final: though FROM has damaged blobs, which stay there",
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """One pass; 1 if something was not copied, or --final met a write."""
    source, target = _place(args.source, args.config), _place(args.target, args.config)
    if _identity(source) == _identity(target):
        raise CommandFailed(exits.USAGE, "FROM and TO are the same place.")
    if source.engine == "local":
        Storage(source)  # before TO is made
    return asyncio.run(_run(source, target, args, out))


async def _run(source: Config, target: Config, args: argparse.Namespace, out: Output) -> int:
    failed: list[BlobkeepError] = []
    async with (
        _open_target(target, failed) as (store, _),
        _open_source(source, final=args.final) as (origin, total),
    ):
        await _claim(store, source, target)
        with Progress("copy", "bytes") as progress:
            counts = await copy_all(origin, store, lambda done: progress(done, max(done, total)))
        if failed:
            raise failed[0]
        is_done = args.final and (not counts.problems or args.even_damaged)
        if is_done and isinstance(origin, StoreSource):  # of an object store nobody can be kept out
            origin.problems.clear()
            again = await copy_all(origin, store, lambda done: None)
            if not again.is_settled:
                raise CommandFailed(
                    exits.NOT_WELL,
                    "Somebody still writes to FROM: stop every server of it, then --final again.",
                )
        if is_done:
            await store.delete(NOTE, unconditional)
    return _tell(counts, source, target, is_final=is_done, wanted_final=args.final, out=out)


def _tell(
    counts: CopyCounts, source: Config, target: Config, *, is_final: bool, wanted_final: bool, out: Output
) -> int:
    out.document({"from": _identity(source), "to": _identity(target), **asdict(counts), "final": is_final})
    out.line(
        f"{counts.copied:,} copied ({size(counts.bytes)}), {counts.same:,} were there, "
        f"{counts.deleted:,} deleted, {counts.changed:,} changed meanwhile"
    )
    for sentence in counts.problems:
        out.line(sentence)
    if is_final:
        out.line(f"{_identity(target)} is whole, and may be served.")
    elif wanted_final:
        out.line("TO may not be served yet: mend what is damaged, or say --even-damaged.")
    else:
        out.line("Run it again for what changes; then stop the servers of FROM, and run it with --final.")
    return exits.NOT_WELL if counts.problems or (wanted_final and not is_final) else exits.OK


def _place(text: str, options: Config) -> Config:
    if text == OBJECTS:
        return replace(options, engine="objects")
    if os.path.isfile(text):
        return config.load(["--config", text], "server")
    return replace(options, engine="local", dir=text)


def _identity(place: Config) -> str:
    """A name for a place: the same for the same place, and readable."""
    if place.engine == "objects":
        return f"objects:{place.objects_endpoint}/{place.objects_bucket}/{place.objects_prefix}"
    return os.path.realpath(place.dir)


@contextlib.asynccontextmanager
async def _open_target(place: Config, failed: list[BlobkeepError]) -> AsyncIterator[tuple[Store, Admin]]:
    async with open_engine(place, failed.append, create=True) as opened:
        if opened is None:
            raise CommandFailed(exits.IN_USE, f"A server holds {place.dir}: nobody may serve TO yet.")
        yield opened


@contextlib.asynccontextmanager
async def _open_source(place: Config, *, final: bool) -> AsyncIterator[tuple[Source, int]]:
    """The source at a place, and its bytes, as far as known. With the lock, if `final`."""

    def fatal(err: BlobkeepError) -> None:
        raise err

    async with contextlib.AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_engine(place, fatal, create=False))
        if opened is not None:
            yield StoreSource(*opened), (await opened[0].usage()).bytes or 0
            return
        if final:
            raise CommandFailed(
                exits.IN_USE, f"A server still holds {place.dir}: stop it, then --final again."
            )
        taken = stack.enter_context(await asyncio.to_thread(Storage(place).snapshot))
        yield SnapshotSource(taken), taken.bytes


async def _claim(store: Store, source: Config, target: Config) -> None:
    """TO must be empty, or a copy of FROM that is not finished: nothing else may be deleted from it."""
    note = msgspec.json.encode({"copy_of": _identity(source)})
    if await store.stat(NOTE) is None:
        if (await store.list("", "", "", 1)).blobs or (await store.list(RECORDS, "", "", 1)).blobs:
            raise CommandFailed(
                exits.USAGE,
                f"{_identity(target)} holds blobs, and is no copy that was begun: use an empty place.",
            )
        await store.write_whole(NOTE, unconditional, Content("application/json"), note)
        return
    reading = await store.open(NOTE)
    try:
        found = await all_bytes(reading)
    finally:
        reading.close()
    if found != note:
        raise CommandFailed(
            exits.USAGE, f"{_identity(target)} is a copy of another place: {found.decode(errors='replace')}."
        )
