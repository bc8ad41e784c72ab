"""The index on disk shows what the folders have, in every state in which it can be found."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from services.engines.local.disk.layout import Layout
from services.engines.local.disk.locks import StateLock
from services.engines.local.index.format import IndexDamaged
from services.engines.local.recovery import restart
from services.engines.local.upkeep.verifier import Verifier
from tests.support.campaign import choose, chooser, tally
from tests.support.stores import Opened, opened, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


# --- in every state ---

Values = dict[str, bytes | None]


async def write_some(store: Opened, seed: int, want: Values, count: int = 40) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        number = rng.randrange(12)
        at = f"{number % 4}/{number}"  # three in a folder, so that now and then the last one is deleted
        if want.get(at) is not None and rng.random() < 0.4:
            await store.delete(at)
            del want[at]
        else:
            want[at] = rng.randbytes(rng.randrange(1, 600))
            await store.put(at, want[at] or b"")


async def copied(folder: str, to: str) -> None:
    """Copy a directory, or its index, of a store that runs. Runs are merged behind it, and a kill would leave
    the files of one moment: so it is copied again until none came or went meanwhile."""

    def names() -> list[str]:
        index = folder if folder.endswith(".index") else f"{folder}/.index"
        return sorted(os.listdir(index))

    while True:
        before = names()
        try:
            shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.sock"))
        except shutil.Error:
            if names() == before:
                raise
        if names() == before:
            return
        shutil.rmtree(to)
        await asyncio.sleep(0.01)


async def killed(root: str, copy: str, old: str, *, clean: bool) -> Values:
    """`copy` gets what a killed or stopped server leaves, and `old` an earlier index."""
    want: Values = {}
    async with opened(root, "index") as store:
        await write_some(store, 1, want)
        if clean:
            shutil.copytree(f"{root}/.index", old)
        else:
            await write_some(store, 2, want)
            await copied(f"{root}/.index", old)
            await write_some(store, 3, want, 200)
            await copied(root, copy)
    if clean:
        shutil.copytree(root, copy)
    return want


async def start_on(root: str, want: Values, what: object, believed: bool | None = None) -> None:
    """A start finds everything, and so does the next. `believed`: whether they use the index."""
    for again in (False, True):
        async with opened(root, "index") as store:
            assert await store.values() == want, what
            if again or believed is not None:
                assert store.found.by_index == (again or believed), what
            assert not store.found.quarantined, what


@pytest.mark.parametrize("clean", [False, True], ids=["killed", "stopped"])
def test_in_every_state_of_the_index_a_start_finds_the_same(base: Path, clean: bool) -> None:
    copy, old = str(base / "copy"), str(base / "old")
    want = asyncio.run(killed(str(base / "data"), copy, old, clean=clean))

    def right(index: Path) -> None: ...

    def missing(index: Path) -> None:
        shutil.rmtree(index)

    def without_manifest(index: Path) -> None:
        (index / "manifest").unlink()

    def without_runs(index: Path) -> None:
        for run in index.glob("*.run"):
            run.unlink()

    def from_before(index: Path) -> None:
        shutil.rmtree(index)
        shutil.copytree(old, index)

    def of_zeros(index: Path) -> None:
        for path in index.iterdir():
            path.write_bytes(bytes(path.stat().st_size))

    def cut(index: Path) -> None:
        for path in index.iterdir():
            os.truncate(path, path.stat().st_size // 2)

    def a_file(index: Path) -> None:
        shutil.rmtree(index)
        index.touch()

    def litter(index: Path) -> None:
        (index / "0123456789abcdef.run").write_bytes(b"x" * 100)
        (index / "manifest.tmp").write_bytes(b"x" * 100)

    states: list[tuple[Callable[[Path], None], bool | None]] = [
        (right, True),
        (missing, False),
        (without_manifest, False),
        (without_runs, False),
        (from_before, None),
        (of_zeros, False),
        (cut, False),
        (litter, True),
    ]
    for make, believed in states:
        root = str(base / make.__name__)
        shutil.copytree(copy, root)
        make(Path(root) / ".index")
        asyncio.run(start_on(root, want, make.__name__, believed))
        shutil.rmtree(root)
    root = str(base / "a file")
    shutil.copytree(copy, root)
    a_file(Path(root) / ".index")

    async def without() -> None:
        async with opened(root, "index") as store:
            assert await store.values() == want
            await write_some(store, 5, dict(want))

    asyncio.run(without())
    assert (Path(root) / ".index").is_file()


def test_no_byte_of_the_index_turns_unseen(base: Path) -> None:
    """Each byte is changed in turn: a start and all reads give what is there, or the server stops."""
    copy = str(base / "copy")
    want = asyncio.run(killed(str(base / "data"), copy, str(base / "old"), clean=False))
    names = sorted(os.listdir(f"{copy}/.index"))
    places = [(name, at) for name in names for at in range(os.path.getsize(f"{copy}/.index/{name}"))]
    rng = chooser("index on disk")
    root = str(base / "turned")
    for name, at in choose("index on disk", places, 24):
        shutil.copytree(copy, root)
        with open(f"{root}/.index/{name}", "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ (1 << rng.randrange(8))]))
        tally("bytes turned", 1)

        async def serve(what: object = (name, at)) -> None:
            for _ in range(2):
                async with opened(root, "index") as store:
                    try:
                        for location in [*want, "nothing there"]:
                            assert await store.read(location) == want.get(location), what
                        assert await store.values() == want, what
                        assert not store.fatal, what
                        return
                    except IndexDamaged:
                        assert store.fatal, what
            raise AssertionError(f"{what}: a second start did not help")

        asyncio.run(serve())
        shutil.rmtree(root)


# --- whose it is ---


def believed_by(root: str) -> bool:
    """True if a start on `root` uses the index, by its stamp, as a server does."""
    lock = StateLock(root, "test")
    lock.acquire(0.0)
    try:
        found, _ = restart.restart(Layout(root, 16), lock)
        return found.by_index
    finally:
        lock.release()


def test_an_index_is_of_one_directory_and_one_holder_of_the_lock(base: Path) -> None:
    root = str(base / "data")

    async def make() -> None:
        async with opened(root, "index") as store:
            await store.put("a", b"a")

    asyncio.run(make())
    assert not believed_by(root)  # its stamp is that of the tests
    assert believed_by(root)
    assert believed_by(root)
    with StateLock(root, "somebody else") as lock:
        lock.acquire(0.0)
    assert not believed_by(root)
    assert believed_by(root)
    shutil.copytree(root, base / "copy")
    assert not believed_by(str(base / "copy"))
    (base / "data").rename(base / "moved")
    root = str(base / "moved")
    assert believed_by(root)  # the same directory under another name
    shutil.rmtree(base / "moved" / ".index")
    shutil.copytree(base / "copy" / ".index", base / "moved" / ".index")
    assert not believed_by(root)
    assert believed_by(root)
    (base / "moved" / ".lock").unlink()
    assert not believed_by(root)
    assert believed_by(root)
    os.truncate(base / "moved" / ".journal.0", 0)
    (base / "moved" / ".journal.1").unlink()
    assert not believed_by(root)
    restart.without_index(Layout(root, 16))
    assert not believed_by(root)


def test_the_recovery_worker_leaves_a_server_with_an_index_the_time_to_come_back(base: Path) -> None:
    root = str(base / "data")

    async def make() -> None:
        async with opened(root, "index") as store:
            await store.put("a", b"a")

    asyncio.run(make())
    assert not believed_by(root)
    patient = Verifier(Layout(root, 16), 5.0, 1e9, patience_s=3600.0)
    assert patient.reconcile_if_free() is None
    assert patient.reconcile_if_free() is None
    assert believed_by(root)  # that process only checked whether the lock is free
    hasty = Verifier(Layout(root, 16), 5.0, 1e9)
    found = hasty.reconcile_if_free()
    assert found is not None
    assert len(found.live) == 1
    assert not believed_by(root)
    keeper = Verifier(Layout(root, 16), 5.0, 1e9, keeps_index=True)
    found = keeper.reconcile_if_free()
    assert found is not None
    assert found.by_index
    assert believed_by(root)


def has_index(root: str) -> bool:
    return os.path.exists(f"{root}/.index/manifest")


def test_what_is_written_past_the_journal_gives_the_index_up(base: Path) -> None:
    root = str(base / "data")

    async def run() -> None:
        async with opened(root, "index") as store:
            for n in range(30):
                await store.put(f"{n}", b"x" * 500)
            await store.store.committer.call(lambda: None)
            assert has_index(root)
            journaling = store.store.committer._journaling
            with mock.patch.object(journaling, "fits", return_value=False):
                await store.delete("3")
            assert not has_index(root)
            await store.put("new", b"new")
        assert has_index(root)
        async with opened(root, "index") as store:
            assert store.found.by_index
            values = await store.values()
            assert "3" not in values
            assert len(values) == 30

    asyncio.run(run())
