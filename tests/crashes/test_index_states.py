"""The crash ladder of a start on an index that is right, old, torn, missing, of another directory, or turned.

The process dies at each disk call of the start, and of a write that follows it. The next start finds all the
same: an index that cannot be believed is made anew, and a half-made one is not believed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from services.engines.local.index.manifest import Stamp
from tests.crashes.ladder import steps
from tests.crashes.test_ladder import base, dies
from tests.support.campaign import choose
from tests.support.disk_calls import CHANGES, Death, standing_between
from tests.support.stores import Opened, opened, small_journal

__all__ = ["base", "small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

Break = Callable[[Path, Path], None]  # the index, and how it was before the last writes
WANT = {"a": b"a2" * 50, "c": b"c" * 100, "d": b"d" * 100}


def right(index: Path, before: Path) -> None: ...


def old(index: Path, before: Path) -> None:
    shutil.rmtree(index)
    shutil.copytree(before, index)


def torn(index: Path, before: Path) -> None:
    for path in index.iterdir():
        os.truncate(path, path.stat().st_size // 2)


def missing(index: Path, before: Path) -> None:
    shutil.rmtree(index)


def turned(index: Path, before: Path) -> None:
    for path in index.iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)


def of_another(index: Path, before: Path) -> None:
    """Nothing is changed in it: the stamp of the directory is not the one it has."""


STATES: list[Break] = [right, old, torn, missing, turned, of_another]


async def fill(root: str, before: Path) -> None:
    async with opened(root, "index") as store:
        for at in ("a", "b", "c"):
            await store.put(at, at.encode() * 100)
    shutil.copytree(f"{root}/.index", before)
    async with opened(root, "index") as store:
        await store.put("a", WANT["a"])
        await store.delete("b")
        await store.put("d", WANT["d"])


@pytest.mark.parametrize("state", choose("index states", STATES, 1), ids=lambda state: state.__name__)
@pytest.mark.parametrize("late", choose("index states late", [False, True], 1))
def test_a_start_that_dies_at_each_disk_call_comes_to_the_same_end(
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: Break,
    late: bool,
) -> None:
    asyncio.run(fill(str(base / "before"), base / "index before"))
    state(base / "before" / ".index", base / "index before")
    if state is of_another:
        monkeypatch.setattr("tests.support.stores.SAME", Stamp(2, 2, 2))
    for step in steps(base):
        at, root = step.at, step.root
        shutil.copytree(base / "before", root)

        async def serve(root: str = root, at: int = at) -> None:
            with standing_between(Death(at, late=late), CHANGES):
                store = Opened(root, "index")
                await store.put("new", b"new")
                await store.store.close()

        step.died = dies(lambda serve=serve: asyncio.run(serve()))  # type: ignore[misc]
        for _ in range(2):
            found = asyncio.run(served_by(root))
            assert found.pop("new", None) in ((None, b"new") if step.died else (b"new",)), at
            assert found == WANT, (state.__name__, at)


async def served_by(root: str) -> dict[str, bytes | None]:
    async with opened(root, "index") as store:
        assert not store.found.quarantined
        return await store.values()
