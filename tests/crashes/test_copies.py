"""The crash ladder of a copy and of a move: a server dies at its first disk call, at its second, ...

A move is done completely or not at all: the blob is at its old or at its new place. It may be at both only
with `sync = "folder"`, which has no common record for the two.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.crashes.ladder import steps
from tests.crashes.test_ladder import acknowledged_by, small_journal
from tests.store.test_copies import anything
from tests.support.campaign import choose
from tests.support.disk_calls import Death
from tests.support.index_states import SYNCS
from tests.support.operations import STAGED
from tests.support.stores import Opened, opened

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

SMALL, OLD = b"the source", b"the target"
# (move, large, sync, late). The first one tests that the two ends of a move are one record in the journal: a
# death right after a disk call would show two.
IN_ONE_RECORD = [(True, large, "journal", True) for large in (False, True)]
RUNGS = [
    *((True, large, "journal", False) for large in (False, True)),
    *((True, large, "folder", late) for large in (False, True) for late in (False, True)),
    *(
        (False, large, sync, late)
        for large in (False, True)
        for sync in ("journal", "folder")
        for late in (False, True)
    ),
]


def name_of(rung: tuple[bool, bool, str, bool]) -> str:
    move, large, sync, late = rung
    return "-".join(
        ("move" if move else "copy", "large" if large else "small", sync, "after" if late else "before")
    )


BESIDE_INDEXES = [
    (move, large, sync, late)
    for move in (False, True)
    for large in (False, True)
    for sync in SYNCS
    for late in (False, True)
]


@pytest.mark.parametrize(
    "rung",
    [
        *choose("moves", IN_ONE_RECORD, 1),
        *choose("copies", RUNGS, 1),
        *choose("copies beside indexes", BESIDE_INDEXES, 1),
    ],
    ids=name_of,
)
def test_a_server_that_dies_in_a_copy_or_move_loses_nothing(
    rung: tuple[bool, bool, str, bool], base: Path
) -> None:
    move, large, sync, late = rung
    body = STAGED if large else SMALL

    async def operation(store: Opened) -> None:
        await store.store.copy("s", anything, "t", anything, None, move=move)

    async def before(root: str) -> None:
        async with opened(root, sync) as store:
            await store.put("s", body)
            await store.put("t", OLD)

    async def found(root: str) -> dict[str, bytes | None]:
        async with opened(root, sync) as store:
            assert not store.found.quarantined
            return await store.values()

    unchanged: dict[str, bytes | None] = {"s": body, "t": OLD}
    done: dict[str, bytes | None] = {"t": body} if move else {"s": body, "t": body}
    allowed = [unchanged, done, *([{"s": body, "t": body}] if sync == "folder" else [])]
    for step in steps(base):
        at, root = step.at, step.root
        asyncio.run(before(root))
        step.died, acknowledged = acknowledged_by(operation, Death(at, late=late), root, sync, 16)
        values = asyncio.run(found(root))
        assert values in ([done] if acknowledged else allowed), (at, acknowledged, values)
