"""The writes that faults and crashes interrupt, and what each leaves if it succeeds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from services.engines.local.serving.data_writer import PAST_CACHE_BYTES
from services.engines.local.serving.lent_pieces import PIECE_BYTES
from tests.support.stores import STAGED_BYTES, Opened

Operation = Callable[[Opened], Awaitable[None]]

OLD = {"old": b"old value", "large": b"L" * STAGED_BYTES, "other": b"not touched"}
NEW = b"the new value"
STAGED = os.urandom(STAGED_BYTES)
LENT = STAGED * (PIECE_BYTES // STAGED_BYTES + 1)


async def create(store: Opened) -> None:
    await store.put("new", NEW, only_new=True)


async def create_staged(store: Opened) -> None:
    await store.put("new", STAGED, only_new=True, pieces=3)


async def update(store: Opened) -> None:
    await store.put("old", NEW)


async def update_staged(store: Opened) -> None:
    await store.put("large", STAGED, pieces=3)


async def create_whole(store: Opened) -> None:
    """A body that is held in memory until it is complete, and then written in one step."""
    store.holds_whole()
    await store.put("new", STAGED, only_new=True, pieces=3)


async def update_whole(store: Opened) -> None:
    store.holds_whole()
    await store.put("large", STAGED, pieces=3)


async def create_lent(store: Opened) -> None:
    """Two pieces, received into memory of the upload, and written past the page cache where that is possible.
    More was declared than comes, as for that."""
    await store.put_lent("new", LENT, PAST_CACHE_BYTES)


async def delete(store: Opened) -> None:
    await store.delete("old")


async def several(store: Opened) -> None:
    """One batch of the committer: each location has the first value or none, independent of the others."""
    results = await asyncio.gather(
        store.put("new", NEW), store.put("old", NEW), store.delete("large"), return_exceptions=True
    )
    failed = [r for r in results if isinstance(r, BaseException)]
    if failed:
        raise Partly(list(results)) from failed[0]


class Partly(Exception):
    """Some of several operations failed. `results` are in the order of the operations."""

    def __init__(self, results: list[object]) -> None:
        super().__init__(repr(results))
        self.results = results


async def checkpoint(store: Opened) -> None:
    """Operations that empty the journal."""
    await store.store.committer.call(lambda: None)


# What each leaves if it succeeds.
OPERATIONS: dict[Operation, dict[str, bytes | None]] = {
    create: {"new": NEW},
    create_staged: {"new": STAGED},
    update: {"old": NEW},
    update_staged: {"large": STAGED},
    create_whole: {"new": STAGED},
    update_whole: {"large": STAGED},
    create_lent: {"new": LENT},
    delete: {"old": None},
    several: {"new": NEW, "old": NEW, "large": None},
    checkpoint: {},
}
