"""Somebody exchanged the folders of two blobs: what is in them is the other's, so it is kept as it is."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from common.errors import Busy, Damaged
from services.engines.local.disk import blob_folder, layout
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.recovery.reconcile import reconcile
from tests.disk.test_reconcile import put as put_by_hand
from tests.store.test_copies import anything
from tests.support.stores import STAGED_BYTES, leave_as_killed, opened, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


def exchange(data_dir: Layout, one: Blob, two: Blob) -> None:
    first, second, third = data_dir.folder(one.id), data_dir.folder(two.id), f"{data_dir.root}/third"
    os.rename(first, third)
    os.rename(second, first)
    os.rename(third, second)


def contents(data_dir: Layout, name: str) -> set[bytes]:
    return {path.read_bytes() for path in Path(data_dir.root).rglob(name)}


def states_in(data_dir: Layout) -> set[bytes]:
    return contents(data_dir, layout.STATE_NAME)


@pytest.mark.parametrize("sync", ["journal", "index"])
def test_a_state_of_another_blob_is_not_overwritten(tmp_path: Path, sync: str) -> None:
    """Found by the comparison behind a start, or told by the recovery worker while the server runs."""

    async def run() -> None:
        root = str(tmp_path / "data")
        async with opened(root, sync) as store:
            blobs = [await store.put(at, at.encode() * 100) for at in ("a", "b")]
            data_dir = store.data_dir
            if sync == "journal":
                exchange(data_dir, blobs[0], blobs[1])
                states = states_in(data_dir)
                for blob in blobs:
                    store.store.damage.report_state(blob, "it says another id")
                await until(lambda: not store.store.damage.tasks, "the quarantine")
                assert states_in(data_dir) == states
        if sync == "index":
            exchange(data_dir, blobs[0], blobs[1])
            states = states_in(data_dir)
        async with opened(root, sync) as store:
            if sync == "index":
                await store.store.comparison.run()
                await until(lambda: not store.store.damage.tasks, "the quarantine")
            for at in ("a", "b"):
                with pytest.raises(Damaged):
                    await store.read(at)
            assert states_in(data_dir) == states, "and an operator can put both back"
        shutil.rmtree(root)

    asyncio.run(run())


@pytest.mark.parametrize("is_write", [True, False])
def test_a_location_that_is_changed_before_the_comparison_ends_no_other_blob(
    tmp_path: Path, is_write: bool
) -> None:
    """A delete and an overwrite retire a blob by the id that the index has: its folder holds another."""

    async def run() -> None:
        root = str(tmp_path / "data")
        async with opened(root, "index") as store:
            blobs = [await store.put(at, at.encode() * 100) for at in ("a", "b")]
            data_dir = store.data_dir
        exchange(data_dir, blobs[0], blobs[1])
        states = states_in(data_dir)
        async with opened(root, "index") as store:
            change = store.put("a", b"new") if is_write else store.delete("a")
            with pytest.raises(Busy):
                await change
            assert states_in(data_dir) == states, "nothing is changed"
            await store.store.comparison.run()
            await until(lambda: not store.store.damage.tasks, "the quarantine")
            await (store.put("a", b"new") if is_write else store.delete("a"))
            assert await store.read("a") == (b"new" if is_write else None)
            with pytest.raises(Damaged):
                await store.read("b")
            assert b"b" * 100 in contents(data_dir, layout.DATA_NAME), "the other blob is kept in quarantine"

    asyncio.run(run())


def test_a_blob_whose_location_was_edited_is_not_ended_at_its_old_one(tmp_path: Path) -> None:
    async def run() -> None:
        root = str(tmp_path / "data")
        async with opened(root, "index") as store:
            blob = await store.put("a", b"a" * 100)
            data_dir = store.data_dir
        found = blob_folder.read_record(data_dir, blob.id)
        edited = msgspec.structs.replace(found, location="new", seq=found.seq + 1)
        blob_folder.write_record(data_dir, edited)
        async with opened(root, "index") as store:
            with pytest.raises(Busy):
                await store.delete("a")
            assert blob_folder.read_record(data_dir, blob.id) == edited

    asyncio.run(run())


@pytest.mark.parametrize("sync", ["journal", "index"])
@pytest.mark.parametrize("ends", [False, True])
def test_the_replay_writes_over_no_other_blob(tmp_path: Path, sync: str, ends: bool) -> None:
    """The journal has a blob, or its end, by the id: its folder holds another, which the journal has not."""

    async def run() -> None:
        root = str(tmp_path / "data")
        async with opened(root, sync) as store:
            other = await store.put("other", b"o" * 100)
            if ends:
                blob = await store.put("a", b"a" * 100)
            data_dir = store.data_dir
        async with opened(root, sync) as store:
            if ends:
                await store.delete("a")
            else:
                blob = await store.put("a", b"a" * 100)
            leave_as_killed(store)
        before = states_in(data_dir)
        exchange(data_dir, blob, other)
        async with opened(root, sync) as store:
            assert before <= states_in(data_dir)
            assert b"o" * 100 in contents(data_dir, layout.DATA_NAME)
            assert await store.read("a") == (None if ends else b"a" * 100)
        assert reconcile(data_dir).failures == [], "the gc would remove it"

    asyncio.run(run())


def by_hand(data_dir: Layout, location: str, seq: int) -> BlobRecord:
    """A blob that somebody put into the directory, newer than all others."""
    free = next(number for number in range(1 << 16) if not os.path.lexists(data_dir.folder(number)))
    return put_by_hand(data_dir, free, location, b"by hand", seq)


@pytest.mark.parametrize("is_edited", [False, True])
def test_a_rival_of_what_the_index_knows_ends_no_other_blob(tmp_path: Path, is_edited: bool) -> None:
    """A blob that was put there by hand is the newer one: the folder of the older holds another by now."""

    async def run() -> None:
        root = str(tmp_path / "data")
        async with opened(root, "index") as store:
            blobs = [await store.put(at, at.encode() * 100) for at in ("a", "b")]
            data_dir = store.data_dir
        newest = by_hand(data_dir, "a", blobs[1].seq + 1)
        if is_edited:
            found = blob_folder.read_record(data_dir, blobs[0].id)
            blob_folder.write_record(data_dir, msgspec.structs.replace(found, location="new"))
        else:
            exchange(data_dir, blobs[0], blobs[1])
        states = states_in(data_dir)
        async with opened(root, "index") as store:
            assert store.store.comparison.is_over is False
            assert await store.read("a") == b"by hand"
            await store.store.comparison.run()
            await until(lambda: not store.store.damage.tasks, "the quarantine")
            await until(lambda: not store.store.index.unreadable, "the judgement")
            assert await store.read("a") == b"by hand"
            assert blob_folder.read_record(data_dir, newest.id) == newest
            assert states_in(data_dir) == states, "none was ended"
            if is_edited:
                assert await store.read("new") == b"a" * 100

    asyncio.run(run())


def test_a_rival_that_is_found_behind_the_start_ends_no_other_blob(tmp_path: Path) -> None:
    async def run() -> None:
        root = str(tmp_path / "data")
        async with opened(root, "index") as store:
            blobs = [await store.put(at, at.encode() * 100) for at in ("a", "b")]
            data_dir = store.data_dir
        exchange(data_dir, blobs[0], blobs[1])
        async with opened(root, "index") as store:
            newest = by_hand(data_dir, "a", blobs[1].seq + 1)
            states = states_in(data_dir)
            store.store._unread.read_again(newest.id, "it came by hand")
            await until(lambda: not store.store.index.unreadable, "the judgement")
            assert await store.read("a") == b"by hand"
            assert states_in(data_dir) == states, "none was ended"
            assert not blob_folder.is_folder(data_dir.folder(blobs[0].id)), "it was judged, too"

    asyncio.run(run())


def test_what_is_to_be_marked_first_may_be_another_blob_by_then(tmp_path: Path) -> None:
    """Recovery could not mark an older blob of the location; then the folders were exchanged."""

    async def run() -> None:
        async with opened(str(tmp_path / "data")) as store:
            blobs = [await store.put(at, at.encode() * 100) for at in ("a", "b", "c")]
            data_dir = store.data_dir
            exchange(data_dir, blobs[0], blobs[1])
            states = states_in(data_dir)
            store.store.damage.unsettled["d"] = [blob.id for blob in blobs]
            await store.put("d", b"new")
            assert states <= states_in(data_dir)
            assert not store.store.damage.unsettled

    asyncio.run(run())


def test_a_copy_of_another_blob_is_not_made(tmp_path: Path) -> None:
    """It would have the checksums of the one that was asked for, so nobody could read it."""

    async def run() -> None:
        root = str(tmp_path / "data")
        async with opened(root, "index") as store:
            blobs = [await store.put(at, at.encode() * STAGED_BYTES) for at in ("a", "b")]
        exchange(store.data_dir, blobs[0], blobs[1])
        async with opened(root, "index") as store:
            with pytest.raises(Busy):
                await store.store.copy("a", anything, "t", anything, None)
            assert await store.read("t") is None

    asyncio.run(run())


def test_data_with_the_unborn_state_of_another_blob_is_kept(tmp_path: Path) -> None:
    """The journal may have that one: a power cut kept its data, and not the rename of its state."""

    async def run() -> None:
        async with opened(str(tmp_path / "data")) as store:
            blobs = [await store.put(at, at.encode() * 100) for at in ("a", "b")]
            data_dir = store.data_dir
        state = data_dir.state(blobs[0].id)
        os.rename(state, state + ".tmp")
        exchange(data_dir, blobs[0], blobs[1])
        reconcile(data_dir)
        assert b"a" * 100 in contents(data_dir, layout.DATA_NAME)

    asyncio.run(run())
