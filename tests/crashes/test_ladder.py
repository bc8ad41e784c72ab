"""The crash ladder: a process dies at its first disk call, at its second, ... until it does not die. Each
step is a forked process, which dies before or after the call, or in the middle of a write. Then another
process recovers the directory. What was acknowledged is there byte for byte. What was not is there completely
or not at all. Nothing else changed, and the directory keeps the rules.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from services.engines.local.disk import blob_folder, directory
from services.engines.local.recovery import reconcile
from services.engines.local.upkeep.collector import Collector
from services.store import Content
from tests.crashes.ladder import steps
from tests.support import rules
from tests.support.campaign import choose
from tests.support.disk_calls import CHANGES, DIED, Death, standing_between
from tests.support.index_states import SYNCS
from tests.support.operations import OLD, OPERATIONS, Operation
from tests.support.stores import Opened, opened, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


def dies(run: Callable[[], None]) -> bool:
    """Call `run` in a forked process. True if it was killed. Fails the test if it ended in another way."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            run()
            status = 0
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, DIED), f"the process ended with {code}"
    return code == DIED


async def old_values(root: str, sync: str, id_bits: int) -> None:
    async with opened(root, sync, id_bits) as store:
        for location, body in OLD.items():
            await store.put(location, body)


def acknowledged_by(
    operation: Operation, death: Death, root: str, sync: str, id_bits: int
) -> tuple[bool, bool]:
    """Run the operation in a process of its own. Gives (whether it died, whether it had acknowledged)."""
    ear, mouth = os.pipe()

    async def work() -> None:
        store = Opened(root, sync, id_bits)
        with standing_between(death, CHANGES):
            await operation(store)
            os.write(mouth, b"acknowledged")
            await store.store.close()  # a checkpoint, in which it may die, too

    died = dies(lambda: asyncio.run(work()))
    os.close(mouth)
    with os.fdopen(ear, "rb") as file:
        return died, bool(file.read())


async def judge(
    root: str, sync: str, id_bits: int, allowed: dict[str, list[bytes | None]], what: object
) -> None:
    """Another process recovers the directory. Each location must have one of its allowed values."""
    async with opened(root, sync, id_bits) as store:
        found = await store.values()
        for location, values in allowed.items():
            assert found.get(location) in values, (location, found.get(location), what)
        assert set(found) <= set(allowed), what
        assert not store.found.quarantined, what
        await store.put("after", b"the crash")
        await store.delete("after")


Rung = tuple[Operation, str, int, bool]


def rungs_of(syncs: Iterable[str]) -> list[Rung]:
    return [
        (operation, sync, id_bits, late)
        for operation in OPERATIONS
        for sync in syncs
        for id_bits in (16, 32)
        for late in (False, True)
    ]


RUNGS = [
    *choose("crashes", rungs_of(("journal", "index", "folder", "none")), 6),
    *choose("crashes of indexes", rungs_of(SYNCS[1:]), 1),
]


def name_of(rung: Rung) -> str:
    operation, sync, id_bits, late = rung
    return f"{operation.__name__}-{sync}-{id_bits}-{'after' if late else 'before'}"


@pytest.mark.parametrize("rung", RUNGS, ids=name_of)
def test_a_process_that_dies_at_each_disk_call_loses_nothing(rung: Rung, base: Path) -> None:
    operation, sync, id_bits, late = rung
    before = str(base / "before")
    asyncio.run(old_values(before, sync, id_bits))
    touched = OPERATIONS[operation]
    for step in steps(base):
        at, root = step.at, step.root
        shutil.copytree(before, root)
        step.died, acknowledged = acknowledged_by(operation, Death(at, late=late), root, sync, id_bits)
        allowed: dict[str, list[bytes | None]] = {"new": [None]}
        allowed.update((location, [body]) for location, body in OLD.items())
        for location, new in touched.items():
            allowed[location] = [new] if acknowledged else [*allowed[location], new]
        asyncio.run(judge(root, sync, id_bits, allowed, (at, acknowledged)))


# --- death during recovery, the gc and quarantine ---


async def make_mess(root: str, id_bits: int) -> dict[str, bytes]:
    """A directory with one case of everything that recovery knows. Gives what must be served."""
    async with opened(root, "folder", id_bits) as store:
        older = await store.put("twice", b"older")
        kept = blob_folder.read_file(store.data_dir.state(older.id))
        await store.put("twice", b"newer")
        upload = await store.store.begin("pending", lambda blob, damaged: None, Content("text/plain"), None)
        await upload.write(bytes(9000))
        await store.put("deleted", b"x")
        await store.delete("deleted")
        torn = await store.put("torn", b"to be torn")
        short = await store.put("short", b"to be cut")
        await store.put("good", b"good")
        data_dir = store.data_dir
        upload._end()
    overwrite(data_dir.state(older.id), kept)
    overwrite(data_dir.state(torn.id), b"BLOB_BASE64_blobkeep1:eyJ")
    os.truncate(data_dir.data(short.id), 3)
    blob_folder.take(data_dir, 40_000)
    async with opened(root, "journal", id_bits) as store:
        await store.put("in the journal", b"only there")
        lost = await store.store.stat("in the journal")
        assert lost is not None
        journaling = store.store.committer._journaling
        assert journaling is not None
        journaling.empty = lambda: None  # type: ignore[method-assign]
    os.unlink(data_dir.data(lost.id))
    return {"twice": b"newer", "good": b"good", "in the journal": b"only there"}


def overwrite(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


@pytest.mark.parametrize("id_bits", [16, 32])
@pytest.mark.parametrize("late", choose("recovery", [False, True], 1))
def test_recovery_that_dies_at_each_disk_call_comes_to_the_same_end(
    base: Path, id_bits: int, late: bool
) -> None:
    served = asyncio.run(make_mess(str(base / "before"), id_bits))
    for step in steps(base):
        at, root = step.at, step.root
        shutil.copytree(base / "before", root)

        def recover(root: str = root, at: int = at) -> None:
            with standing_between(Death(at, late=late), CHANGES):
                reconcile.reconcile(directory.open_directory(root, id_bits, owner=True))

        step.died = dies(recover)
        found = asyncio.run(values_of(root, id_bits))
        assert found == served, at
        assert len(os.listdir(f"{root}/.quarantine")) == 2, at


async def values_of(root: str, id_bits: int) -> dict[str, bytes | None]:
    async with opened(root, "journal", id_bits) as store:
        return await store.values()


@pytest.mark.parametrize("id_bits", [16, 32])
@pytest.mark.parametrize("late", choose("gc", [False, True], 1))
def test_a_gc_that_dies_at_each_disk_call_harms_nobody(base: Path, id_bits: int, late: bool) -> None:
    async def failures(root: str) -> None:
        async with opened(root, "folder", id_bits) as store:
            await store.put("kept", b"kept")
            for number in range(3):
                await store.put(f"x{number}", b"x")
                await store.put(f"x{number}", b"y")
                await store.delete(f"x{number}")

    before = str(base / "before")
    asyncio.run(failures(before))
    for step in steps(base):
        at, root = step.at, step.root
        shutil.copytree(before, root)

        def collect(root: str = root, at: int = at) -> None:
            with standing_between(Death(at, late=late), CHANGES):
                Collector(rules.layout_of(root), 5.0, slice_folders=1 << 32).run_once()

        step.died = dies(collect)
        assert asyncio.run(values_of(root, id_bits)) == {"kept": b"kept"}, at


@pytest.mark.parametrize("id_bits", [16, 32])
def test_a_server_that_dies_while_it_quarantines_never_serves_the_damage(base: Path, id_bits: int) -> None:
    async def damage(root: str) -> None:
        async with opened(root, "journal", id_bits) as store:
            blob = await store.put("rotten", b"as it was")
            await store.put("kept", b"kept")
            data_dir = store.data_dir
        overwrite(data_dir.data(blob.id), b"as it is!")

    async def read_rotten(store: Opened) -> str:
        try:
            return repr(await store.read("rotten"))
        except Exception as err:  # noqa: BLE001 - its name is what is compared
            return type(err).__name__

    before = str(base / "before")
    asyncio.run(damage(before))
    for step in steps(base, rotten=True):
        at, root = step.at, step.root
        shutil.copytree(before, root)

        async def serve(root: str = root, at: int = at) -> None:
            async with opened(root, "journal", id_bits) as store:
                death = Death(at)
                with standing_between(death, CHANGES):
                    assert await read_rotten(store) == "Damaged"
                    await until(lambda: not store.store.damage.tasks, "quarantine")
                    death.at = -1

        async def serve_again(root: str = root) -> None:
            async with opened(root, "journal", id_bits) as store:
                assert await read_rotten(store) == "Damaged"
                assert await store.read("kept") == b"kept"
                await store.put("rotten", b"anew")
                await store.delete("rotten")
            async with opened(root, "journal", id_bits) as store:
                assert await read_rotten(store) == "None"

        step.died = dies(lambda: asyncio.run(serve()))
        asyncio.run(serve_again())
