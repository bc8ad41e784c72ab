"""The commands that read a store, for blobs in an object store: `engine = "objects"`.

A directory is read from outside, file by file. An object store is read through the engine, as a server does.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from common.config import Config
from common.errors import BlobkeepError, Damaged, NotFound
from common.times import rfc3339, to_the_second
from services.engine import Admin
from services.read_all import all_blobs
from services.store import Blob, Description, Store
from services.tools import exits, export_of_store
from services.tools.exits import CommandFailed
from services.tools.output import Cell, Output, size, state
from services.tools.storage import Exported, check_engine, open_engine

_PAGE = 1000


def is_asked(config: Config) -> bool:
    """Whether the configuration names an object store."""
    return config.engine == "objects"


def check(args: argparse.Namespace, out: Output) -> int:
    """`check`: re-read everything; 1 where anything is damaged."""
    if out.as_json:
        raise CommandFailed(exits.USAGE, "The check of an object store writes lines, and no JSON.")
    return check_engine(args.config, dry_run=args.dry_run)


def ls(args: argparse.Namespace, out: Output) -> int:
    """`ls`: by location; with --all by id, in any state."""

    async def go(store: Store, admin: Admin) -> int:
        if args.all:
            found = [one async for one in _in_any_state(admin) if one.location.startswith(args.prefix)]
        else:
            found = [_described(blob) async for blob in all_blobs(store, args.prefix)]
        out.document({"blobs": [_about(one) for one in found]})
        if args.long or args.all:
            rows: list[list[Cell]] = [
                [
                    one.location,
                    str(one.id),
                    one.size or 0,
                    to_the_second(one.modified or "-"),
                    state(one.state),
                    one.type,
                ]
                for one in found
            ]
            out.table(["location", "id", "bytes", "modified", "state", "type"], rows)
        else:
            for one in found:
                out.line(one.location)
        return exits.OK

    return run(args.config, go)


def show(args: argparse.Namespace, out: Output) -> int:
    """`show`: one blob, with its history."""

    async def go(store: Store, admin: Admin) -> int:
        blob_id = args.blob
        if not args.id:
            try:
                blob = await store.stat(args.blob)
            except Damaged as err:
                out.document({"blobs": [{"location": args.blob, "state": "damaged", "reason": str(err)}]})
                out.line(args.blob, "  ", state("damaged"), f"  {err}")
                return exits.NOT_WELL
            if blob is not None:
                blob_id = str(blob.id)
            elif args.location:
                raise NotFound(f"There is no blob {args.blob!r}: `ls` lists what is there.")
        one = await admin.describe(blob_id)
        out.document({"blobs": [_about(one)]})
        out.line(f"{one.location}  ", state(one.state))
        for name, value in (
            ("id", one.id),
            ("size", size(one.size) if one.size is not None else None),
            ("type", one.type),
            ("etag", one.etag),
            ("modified", one.modified),
            *one.metadata.items(),
        ):
            if value is not None:
                out.line(f"  {name:9} {value}")
        for event in one.history:
            out.line(f"  {event.time}  ", state(event.state), f"  {event.message}")
        return exits.OK

    return run(args.config, go)


def du(args: argparse.Namespace, out: Output) -> int:
    """`du`: bytes of the blobs that are served, by the first parts of their locations."""

    async def go(store: Store, admin: Admin) -> int:
        groups: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        async for blob in all_blobs(store, ""):
            parts = blob.location.split("/")
            name = "/".join(parts[: args.depth]) + ("/" if len(parts) > args.depth else "")
            groups[name][0] += 1
            groups[name][1] += blob.size
        blobs, total = (sum(group[at] for group in groups.values()) for at in (0, 1))
        largest = sorted(groups.items(), key=lambda item: (-item[1][1], item[0]))[: args.top]
        out.document(
            {
                "blobs": blobs,
                "bytes": total,
                "groups": [{"prefix": name, "blobs": n, "bytes": of_it} for name, (n, of_it) in largest],
            }
        )
        out.table(["prefix", "blobs", "bytes"], [[name, n, of_it] for name, (n, of_it) in largest])
        out.line(
            f"{blobs:,} blobs, {size(total)}. What waits for the gc is not counted: ask the store itself."
        )
        return exits.OK

    return run(args.config, go)


def export(config: Config, fd: int, must_have_some: Callable[[], None]) -> Exported:
    """`export`: all blobs as a tar into an open descriptor; not synced. See export_of_store.write."""
    done: list[Exported] = []

    async def go(store: Store, admin: Admin) -> int:
        done.append(await export_of_store.write(store, admin, fd, must_have_some))
        return exits.OK

    run(config, go)
    return done[0]


def run(config: Config, go: Callable[[Store, Admin], Awaitable[int]]) -> int:
    """The status that `go` gives, with the store and what operators ask of it."""

    def fatal(err: BlobkeepError) -> None:
        raise err

    async def run() -> int:
        async with open_engine(config, fatal, create=False) as opened:
            assert opened is not None  # nobody owns an object store
            return await go(*opened)

    return asyncio.run(run())


async def _in_any_state(admin: Admin) -> AsyncIterator[Description]:
    after: str | None = None
    while page := await admin.list_by_id(None, after, _PAGE):
        for one in page:
            yield one
        after = str(page[-1].id)


def _described(blob: Blob) -> Description:
    return Description(
        *(blob.id, blob.location, "OK", 0, blob.size, f'"{blob.sha256.hex()}"', rfc3339(blob.modified_ns)),
        *(blob.type, blob.encoding, blob.metadata, []),
    )


def _about(one: Description) -> dict[str, object]:
    """As the view by id shows it."""
    found: dict[str, object] = msgspec.to_builtins(one)
    return {name: value for name, value in found.items() if name != "seq"}
