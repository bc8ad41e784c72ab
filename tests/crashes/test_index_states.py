"""The crash ladder of a start on an index that is right, old, torn, missing, of another directory, or turned.

The process dies at each disk call of the start, and of a write that follows it. The next start finds all the
same: an index that cannot be believed is made anew, and a half-made one is not believed.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from services.engines.local.disk.layout import Layout
from tests.crashes.ladder import steps
from tests.crashes.test_ladder import dies
from tests.support import index_states
from tests.support.campaign import choose
from tests.support.disk_calls import CHANGES, Death, standing_between
from tests.support.index_states import SYNCS
from tests.support.stores import Opened, leave_as_killed, opened, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

WANT = {"a": b"a2" * 50, "c": b"c" * 100, "d": b"d" * 100}
Rung = tuple[str, bool, int]
RUNGS = [(sync, killed, id_bits) for sync in SYNCS for killed in (False, True) for id_bits in (16, 32)]


def name_of(rung: Rung) -> str:
    sync, killed, id_bits = rung
    return f"{sync}-{'killed' if killed else 'stopped'}-{id_bits}"


async def fill(root: str, rung: Rung) -> None:
    """Two servers have written, and the index is in its state."""
    sync, killed, id_bits = rung
    async with opened(root, sync, id_bits) as store:
        for at in ("a", "b", "c"):
            await store.put(at, at.encode() * 100)
    async with opened(root, sync, id_bits) as store:
        await store.put("a", WANT["a"])
        await store.delete("b")
        await store.put("d", WANT["d"])
        if killed:
            leave_as_killed(store)
    index_states.put_into(Layout(root, id_bits), sync)


@pytest.mark.parametrize("rung", choose("index states", RUNGS, 1), ids=name_of)
@pytest.mark.parametrize("late", choose("index states late", [False, True], 1))
def test_a_start_that_dies_at_each_disk_call_comes_to_the_same_end(
    base: Path, rung: Rung, late: bool
) -> None:
    id_bits = rung[2]
    asyncio.run(fill(str(base / "before"), rung))
    for step in steps(base):
        at, root = step.at, step.root
        shutil.copytree(base / "before", root)

        async def serve(root: str = root, at: int = at) -> None:
            with standing_between(Death(at, late=late), CHANGES):
                store = Opened(root, "index", id_bits)
                await store.put("new", b"new")
                await store.store.close()

        step.died = dies(lambda serve=serve: asyncio.run(serve()))  # type: ignore[misc]
        for _ in range(2):
            found = asyncio.run(served_by(root, id_bits))
            assert found.pop("new", None) in ((None, b"new") if step.died else (b"new",)), at
            assert found == WANT, at


async def served_by(root: str, id_bits: int) -> dict[str, bytes | None]:
    async with opened(root, "index", id_bits) as store:
        assert not store.found.quarantined
        return await store.values()
