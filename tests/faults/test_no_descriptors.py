"""No descriptor is left: an open that fails for that is no failed sync. The write is refused with 503.

The first open of a write fails, then the second, ... until none fails; each alone, and with all after it. The
old value stays, nothing is left over, the server does not stop, and the same write succeeds afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from common.errors import BlobkeepError, Busy, Damaged
from common.states import State
from services.engines.local.disk import blob_folder, directory
from services.engines.local.serving import damage, given_up
from services.store import Content
from tests.support import rules
from tests.support.campaign import choose
from tests.support.disk_calls import CHANGES, Fault, standing_between
from tests.support.index_states import SYNCS
from tests.support.operations import (
    NEW,
    OLD,
    STAGED,
    Operation,
    create,
    create_staged,
    create_whole,
    delete,
    update,
    update_staged,
)
from tests.support.stores import Opened, opened, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

TAKES_A_DESCRIPTOR = frozenset({"open", "listdir", "scandir"})


async def write_over_damage(store: Opened) -> None:
    await store.put("damaged", NEW)


async def delete_damage(store: Opened) -> None:
    await store.delete("damaged")


OPERATIONS: dict[Operation, dict[str, bytes | None]] = {
    create: {"new": NEW},
    create_staged: {"new": STAGED},
    update: {"old": NEW},
    update_staged: {"large": STAGED},
    delete: {"old": None},
    write_over_damage: {"damaged": NEW},
    delete_damage: {"damaged": None},
}


Rung = tuple[Operation, str, int, bool]


def rungs_of(syncs: Iterable[str]) -> list[Rung]:
    return [
        (operation, sync, id_bits, lasting)
        for operation in OPERATIONS
        for sync in syncs
        for id_bits in (16, 32)
        for lasting in (False, True)
    ]


RUNGS = [
    *choose("no descriptors", rungs_of(("journal", "folder")), 5),
    *choose("no descriptors beside indexes", rungs_of(SYNCS), 1),
]


def name_of(rung: Rung) -> str:
    operation, sync, id_bits, lasting = rung
    return f"{operation.__name__}-{sync}-{id_bits}-{'lasting' if lasting else 'once'}"


def spoil(path: str, content: bytes = b"rot") -> None:
    Path(path).write_bytes(content)


def content_of(path: str) -> bytes:
    return Path(path).read_bytes()


async def with_one_damaged(store: Opened) -> None:
    for location, body in OLD.items():
        await store.put(location, body)
    blob = await store.put("damaged", b"it will rot")
    spoil(store.data_dir.data(blob.id), b"it has rot!")
    with pytest.raises(Damaged):
        await store.read("damaged")
    await until(lambda: store.store.index.damaged["damaged"].name, "its quarantine")


async def value(store: Opened, location: str) -> bytes | None:
    try:
        return await store.read(location)
    except Damaged:
        return b"damaged"


@pytest.mark.parametrize("rung", RUNGS, ids=name_of)
def test_a_write_without_a_descriptor_is_refused_and_stops_nothing(rung: Rung, base: Path) -> None:
    operation, sync, id_bits, lasting = rung

    async def passes(root: str, at: int) -> bool:
        fault = Fault(at, errno.EMFILE, lasting=lasting)
        async with opened(root, sync, id_bits) as store:
            await with_one_damaged(store)
            folders = set(directory.ids_in(store.data_dir))
            with standing_between(fault, TAKES_A_DESCRIPTOR):
                try:
                    await operation(store)
                    refused = False
                except Busy:
                    refused = True
                finally:
                    fault.armed = False
            assert not store.fatal, (at, store.fatal)
            left = set(directory.ids_in(store.data_dir)) - folders
            for location, old in {**OLD, "damaged": b"damaged", "new": None}.items():
                if refused:
                    assert await value(store, location) == old, (at, location)
                elif location in OPERATIONS[operation]:
                    assert await value(store, location) == OPERATIONS[operation][location], (at, location)
            if refused and operation not in (create_staged, update_staged):
                assert not left, (at, left)
            if refused:
                await operation(store)
        async with opened(root, sync, id_bits) as store:
            for location, new in OPERATIONS[operation].items():
                assert await value(store, location) == new, (at, location)
        assert not rules.broken_rules(root)
        return not fault.hit

    for at in range(1, 100):
        root = str(base / f"{at}")
        if asyncio.run(passes(root, at)):
            return
        shutil.rmtree(root)
    raise AssertionError("the ladder has no end")


def pending(store: Opened) -> set[int]:
    """The ids of blobs that are neither complete nor in Failure, and those of folders without a state."""
    found = set()
    for blob_id in directory.ids_in(store.data_dir):
        try:
            if blob_folder.read_record(store.data_dir, blob_id).state is State.PENDING:
                found.add(blob_id)
        except FileNotFoundError:
            found.add(blob_id)
    return found


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("operation", [create_staged, create_whole])
def test_an_upload_that_was_given_up_is_ended_without_a_restart(
    operation: Operation, lasting: bool, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was no descriptor even to end it. So it stayed Pending, with its id and bytes, until the next
    start.
    """
    monkeypatch.setattr(given_up, "_TRY_AGAIN_S", 0.001)

    async def passes(root: str, at: int) -> bool:
        fault = Fault(at, errno.EMFILE, lasting=lasting)
        async with opened(root) as store:
            trying = asyncio.ensure_future(store.store.given_up.try_again())
            with standing_between(fault, TAKES_A_DESCRIPTOR):
                with contextlib.suppress(Busy):
                    await operation(store)
                fault.armed = False
                await until(lambda: not pending(store), "its end")
            trying.cancel()
            assert not store.fatal
        return not fault.hit

    for at in range(1, 100):
        if asyncio.run(passes(str(base / f"{at}"), at)):
            return
    raise AssertionError("the ladder has no end")


@pytest.mark.parametrize("at", range(1, 7))
def test_a_state_is_not_called_damaged_for_want_of_a_descriptor(
    at: int, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state file of a live blob is corrupt. It is written again, later if no descriptor is free now."""
    monkeypatch.setattr(damage, "_TRY_AGAIN_S", 0.001)

    async def main() -> None:
        async with opened(str(base / "data")) as store:
            blob = await store.put("a", b"a")
            path = store.data_dir.state(blob.id)
            spoil(path)
            fault = Fault(at, errno.EMFILE, lasting=False)
            with standing_between(fault, TAKES_A_DESCRIPTOR):
                store.store.damage.report_state(blob, "its checksum is wrong")
                await until(lambda: not store.store.damage.tasks, "the end of the repair")
            assert await store.read("a") == b"a"
            assert not store.fatal
            assert content_of(path) != b"rot"
        async with opened(str(base / "data")) as store:
            assert await store.read("a") == b"a"

    asyncio.run(main())


@pytest.mark.parametrize("at", range(1, 10))
def test_a_quarantine_without_a_descriptor_is_made_later(at: int, base: Path) -> None:
    """Until then the blob stays where it is and answers "damaged". A write of its location ends that."""

    async def main() -> None:
        async with opened(str(base / "data")) as store:
            blob = await store.put("a", b"good")
            spoil(store.data_dir.data(blob.id), b"rott")
            fault = Fault(at, errno.EMFILE, lasting=False)
            with standing_between(fault, TAKES_A_DESCRIPTOR):
                store.store.report_damage(blob, "seen")
                await until(lambda: not store.store.damage.tasks, "the end of the quarantine")
            assert await value(store, "a") == b"damaged"
            is_moved = blob.id not in directory.ids_in(store.data_dir)
            assert is_moved == bool(store.store.index.damaged["a"].name)
            assert not store.fatal
            await store.put("a", b"anew")
        async with opened(str(base / "data")) as store:
            assert await store.read("a") == b"anew"
            assert not store.found.damaged

    asyncio.run(main())


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("at", range(1, 8))
def test_an_upload_in_parts_that_cannot_be_begun_or_ended_is_as_it_was(
    at: int, lasting: bool, base: Path
) -> None:
    async def main() -> None:
        async with opened(str(base / "data")) as store:
            parts = store.store.multiparts
            kept = await parts.create_multipart("kept", Content())
            part = await parts.begin_part("kept", kept.id, 1, 4)
            await part.write(b"part")
            done = await part.commit()
            known = {kept.id}
            fault = Fault(at, errno.EMFILE, lasting=lasting)
            with standing_between(fault, TAKES_A_DESCRIPTOR):
                with contextlib.suppress(BlobkeepError):
                    known.add((await parts.create_multipart("new", Content())).id)
                try:
                    await parts.abort_multipart("kept", kept.id)
                    known.discard(kept.id)
                except BlobkeepError:
                    pass
                finally:
                    fault.armed = False
            assert not store.fatal
            assert {one.id for one in await parts.list_multiparts("", ("", ""), 10)} == known
        async with opened(str(base / "data")) as store:
            parts = store.store.multiparts
            assert {one.id for one in await parts.list_multiparts("", ("", ""), 10)} == known
            if kept.id in known:
                assert await parts.list_parts("kept", kept.id) == [done]

    asyncio.run(main())


def test_all_calls_that_take_a_descriptor_are_known() -> None:
    assert not TAKES_A_DESCRIPTOR & CHANGES
