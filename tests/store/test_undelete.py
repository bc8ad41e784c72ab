"""Deleted and replaced blobs are kept, read by id, and brought back, whatever the gc does meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common import durable
from common.errors import AlreadyExists, Damaged, NotFound
from common.states import MSG_DELETED, State
from services.engines.local.disk import blob_folder, directory, reserve
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.keeping import Keeping
from services.engines.local.disk.layout import Layout
from services.engines.local.serving.by_id import LocalAdmin
from services.engines.local.upkeep import kept as kept_module
from services.engines.local.upkeep.collector import Collector
from services.store import Blob as AnyBlob
from services.store import Content, Description
from tests.support.disk_calls import CHANGES, standing_between
from tests.support.rules import DataDirectory
from tests.support.stores import STAGED_BYTES, Opened, opened, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

DAY_S = 86_400.0
KEEPS: dict[str, Any] = {"keep_deleted_s": 7 * DAY_S}
BODIES = [b"", b"small", bytes(range(256)) * (STAGED_BYTES // 256)]


def anything(blob: AnyBlob | None, damaged: bool) -> None: ...


def only_new(blob: AnyBlob | None, damaged: bool) -> None:
    if blob is not None:
        raise AlreadyExists("it is there")


def admin(store: Opened) -> LocalAdmin:
    return LocalAdmin(store.data_dir, store.store)


def gc(data_dir: Layout, keep_s: float = 7 * DAY_S, **options: Any) -> Collector:
    return Collector(data_dir, 5.0, slice_folders=1 << 32, options=Keeping(deleted_s=keep_s), **options)


def gc_pass(data_dir: Layout, keep_s: float = 7 * DAY_S) -> None:
    one = gc(data_dir, keep_s)
    one.run_once()
    one.close()


async def kept(store: Opened, location: str) -> list[Description]:
    """The kept blobs of `location`, the newest first."""
    found = await admin(store).list_by_id("Failure", None, 10_000)
    return sorted(
        (one for one in found if one.location == location and one.kept_until is not None),
        key=lambda one: -one.seq,
    )


async def read_by_id(store: Opened, blob_id: int | str) -> bytes:
    reading = await admin(store).open(str(blob_id))
    try:
        return b"".join([bytes(piece) async for piece in reading.chunks(0, reading.blob.size - 1)])
    finally:
        reading.close()


async def undelete(store: Opened, one: Description) -> Blob:
    blob, _ = await admin(store).undelete(str(one.id), one.location, only_new)
    assert isinstance(blob, Blob)
    return blob


def rot(path: str) -> None:
    Path(path).write_bytes(b"as it is!")


def are_one_file(one: str, other: str) -> bool:
    return os.path.samefile(one, other)


@pytest.mark.parametrize("sync", ["journal", "folder"])
@pytest.mark.parametrize("id_bits", [16, 32])
@pytest.mark.parametrize("body", BODIES, ids=len)
def test_a_deleted_blob_is_read_by_id_and_brought_back(
    data: DataDirectory, sync: str, id_bits: int, body: bytes
) -> None:
    async def test() -> None:
        async with opened(data.root, sync, id_bits, **KEEPS) as store:
            old = await store.put("a", body)
            await store.delete("a")
            gc_pass(store.data_dir)
            assert await store.read("a") is None
            (one,) = await kept(store, "a")
            assert (one.id, one.size, one.etag) == (old.id, len(body), f'"{old.sha256.hex()}"')
            assert one.history[0].message == MSG_DELETED
            assert await read_by_id(store, one.id) == body
            new = await undelete(store, one)
            assert new.id != old.id
            assert (new.sha256, new.type, new.metadata) == (old.sha256, old.type, old.metadata)
            assert await store.read("a") == body
            assert (await admin(store).describe(str(new.id))).history[-1].message == (
                f"Blob Undeleted from {old.id}!"
            )
        async with opened(data.root, sync, id_bits, **KEEPS) as store:  # after a restart
            assert await store.read("a") == body
            gc_pass(store.data_dir, keep_s=0.0)  # the first name of its data is removed, the second stays
            assert await kept(store, "a") == []
            assert await store.read("a") == body

    asyncio.run(test())


def test_each_value_that_was_replaced_is_kept(data: DataDirectory) -> None:
    async def test() -> None:
        async with opened(data.root, **KEEPS) as store:
            for number in range(3):
                await store.put("a", b"value %d" % number)
            found = await kept(store, "a")
            assert [await read_by_id(store, one.id) for one in found] == [b"value 1", b"value 0"]
            with pytest.raises(AlreadyExists):
                await undelete(store, found[1])
            _, was_there = await admin(store).undelete(str(found[1].id), "a", anything)
            assert was_there
            assert await store.read("a") == b"value 0"
            assert [await read_by_id(store, one.id) for one in await kept(store, "a")] == [
                b"value 2",
                b"value 1",
                b"value 0",
            ]

    asyncio.run(test())


def test_a_live_blob_is_read_by_id_too(data: DataDirectory) -> None:
    async def test() -> None:
        async with opened(data.root) as store:
            blob = await store.put("a", b"live")
            assert await read_by_id(store, blob.id) == b"live"
            with pytest.raises(NotFound):
                await admin(store).undelete(str(blob.id), "a", anything)
            await store.delete("a")  # nothing is kept
            with pytest.raises(NotFound):
                await admin(store).open(str(blob.id))
            with pytest.raises(NotFound):
                await admin(store).undelete(str(blob.id), "a", anything)

    asyncio.run(test())


def test_an_upload_that_never_was_whole_is_not_brought_back(data: DataDirectory) -> None:
    async def test() -> None:
        async with opened(data.root, **KEEPS) as store:
            upload = await store.store.begin("a", anything, Content("text/plain"), None)
            await upload.write(bytes(STAGED_BYTES))
            await upload.abort("the client left")
            (one,) = await admin(store).list_by_id("Failure", None, 10)
            assert one.kept_until is None
            with pytest.raises(NotFound):
                await admin(store).open(str(one.id))
            gc_pass(store.data_dir)
            assert await admin(store).list_by_id("Failure", None, 10) == []

    asyncio.run(test())


def test_kept_bytes_that_rotted_are_never_sent(data: DataDirectory) -> None:
    data.rotten = True

    async def test() -> None:
        async with opened(data.root, **KEEPS) as store:
            old = await store.put("a", b"as it was")
            await store.delete("a")
            rot(store.data_dir.data(old.id))
            with pytest.raises(Damaged):
                await read_by_id(store, old.id)
            (one,) = await kept(store, "a")
            await undelete(store, one)
            with pytest.raises(Damaged):
                await store.read("a")

    asyncio.run(test())


def test_a_file_system_without_second_names_gets_a_copy(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(old: str, new: str) -> None:
        raise OSError(errno.EPERM, "no links here")

    async def test() -> None:
        async with opened(data.root, **KEEPS) as store:
            body = bytes(range(256)) * 5000
            old = await store.put("a", body)
            await store.delete("a")
            monkeypatch.setattr(durable, "link", refused)
            new = await undelete(store, (await kept(store, "a"))[0])
            assert await store.read("a") == body
            assert not are_one_file(store.data_dir.data(old.id), store.data_dir.data(new.id))

    asyncio.run(test())


def test_an_undelete_that_fails_in_its_middle_leaves_no_upload(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it fails for: one that stayed would hold its id, and a place among the uploads, for ever."""

    def refused(old: str, new: str) -> None:
        raise OSError(errno.EPERM, "no links here")

    def out_of_memory(*_: object) -> int:
        raise MemoryError

    async def test() -> None:
        async with opened(data.root, **KEEPS) as store:
            await store.put("a", bytes(range(256)) * 5000)
            await store.delete("a")
            monkeypatch.setattr(durable, "link", refused)
            monkeypatch.setattr(durable, "write_some_at", out_of_memory)
            with pytest.raises(MemoryError):
                await undelete(store, (await kept(store, "a"))[0])
            assert not store.store.uploads()

    asyncio.run(test())


# --- against the gc ---


class _InBetween:
    """Runs `act` once, before disk call number `at` of those that change anything."""

    def __init__(self, at: int, act: Any) -> None:
        self.at, self.act, self.calls, self.done = at, act, 0, False

    def before(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.calls += 1
        if self.calls == self.at and not self.done:
            self.done = True
            self.act()
        return args

    def after(self, name: str) -> None: ...


@pytest.mark.parametrize("sync", ["journal", "folder"])
@pytest.mark.parametrize("body", BODIES[1:], ids=len)
def test_a_gc_between_any_two_steps_of_an_undelete(tmp_path: Path, sync: str, body: bytes) -> None:
    """A whole gc pass, which removes the kept blob, before each disk call of the undelete in turn."""
    outcomes: set[bool] = set()

    async def test(root: str, at: int) -> bool:
        async with opened(root, sync, **KEEPS) as store:
            old = await store.put("a", body)
            await store.delete("a")
            (one,) = await kept(store, "a")
            between = _InBetween(at, lambda: gc_pass(store.data_dir, keep_s=0.0))
            with standing_between(between, CHANGES):
                try:
                    await undelete(store, one)
                    back = True
                except NotFound:
                    back = False
            gc_pass(store.data_dir, keep_s=0.0)
            assert await store.read("a") == (body if back else None)
            assert old.id not in directory.ids_in(store.data_dir)
            outcomes.add(back)
            return between.done

    for at in range(1, 100):
        data = DataDirectory(tmp_path / str(at))
        reached = asyncio.run(test(data.root, at))
        data.check()
        if not reached:
            assert outcomes == {True, False}
            return
    raise AssertionError("it has no end")


def test_an_undelete_between_any_two_steps_of_the_gc(tmp_path: Path) -> None:
    """A whole undelete before each disk call in turn of the gc pass that removes the kept blob."""
    outcomes: set[bool] = set()

    async def test(root: str, at: int) -> bool:
        loop = asyncio.get_running_loop()
        async with opened(root, **KEEPS) as store:
            await store.put("a", b"kept")
            await store.delete("a")
            (one,) = await kept(store, "a")

            def try_it() -> None:
                try:
                    asyncio.run_coroutine_threadsafe(undelete(store, one), loop).result(60)
                    outcomes.add(True)
                except NotFound:
                    outcomes.add(False)

            between = _InBetween(at, try_it)

            def collect() -> None:
                with standing_between(between, CHANGES):
                    gc_pass(store.data_dir, keep_s=0.0)

            await asyncio.to_thread(collect)
            live = await store.store.stat("a")
            if live is not None:
                gc_pass(store.data_dir, keep_s=0.0)
                assert await store.read("a") == b"kept"
            return between.done

    for at in range(1, 100):
        data = DataDirectory(tmp_path / str(at))
        reached = asyncio.run(test(data.root, at))
        data.check()
        if not reached:
            assert outcomes == {True, False}
            return
    raise AssertionError("it has no end")


@pytest.mark.parametrize("call", ["open_in_place", "link"])
def test_an_id_that_came_back_with_another_blob_is_not_taken_for_the_kept_one(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    async def test() -> None:
        async with opened(data.root, **KEEPS) as store:
            old = await store.put("a", b"secret")
            await store.delete("a")
            (one,) = await kept(store, "a")
            real = getattr(durable, call)

            def instead(path: str, *args: str) -> Any:
                if path != store.data_dir.data(old.id):
                    return real(path, *args)
                gc_pass(store.data_dir, keep_s=0.0)
                assert blob_folder.take(store.data_dir, old.id)
                Path(path).write_bytes(b"others")
                return real(path, *args)

            monkeypatch.setattr(durable, call, instead)
            with pytest.raises(NotFound):
                await undelete(store, one)
            assert await store.read("a") is None
            remove(store.data_dir, old.id)
            assert directory.ids_in(store.data_dir) == []

    asyncio.run(test())


def remove(data_dir: Layout, blob_id: int) -> None:
    os.unlink(data_dir.data(blob_id))
    os.rmdir(data_dir.folder(blob_id))


# --- how long ---


def states(data_dir: Layout) -> dict[int, State]:
    return {i: blob_folder.read_record(data_dir, i).state for i in directory.ids_in(data_dir)}


@contextlib.contextmanager
def at_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    """Put the gc's clock forward by so much."""
    real = time.time_ns
    with monkeypatch.context() as changed:
        changed.setattr(time, "time_ns", lambda: real() + int(seconds * 1e9))
        yield


def test_the_gc_waits_for_its_time_and_no_longer(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def make() -> tuple[Layout, int]:
        async with opened(data.root, **KEEPS) as store:
            blob = await store.put("a", b"x" * 1000)
            await store.put("b", b"stays")
            await store.delete("a")
            return store.data_dir, blob.id

    data_dir, old = asyncio.run(make())
    one = gc(data_dir)
    one.run_once()
    assert one.about_pass.kept == 1
    assert one.about_pass.kept_bytes == 1000
    with at_time(monkeypatch, 7 * DAY_S - 60):
        one.run_once()
        assert states(data_dir)[old] is State.FAILURE
    with at_time(monkeypatch, 7 * DAY_S + 60):
        assert one.run_once() is not None
    assert old not in states(data_dir)
    assert (one.about_pass.kept, one.about_pass.kept_bytes) == (0, 0)
    one.close()


async def replaced_and_deleted(root: str, count: int) -> tuple[Layout, list[int]]:
    """Blobs of one location, each replaced by the next, the last one deleted. Gives the directory and
    their ids.
    """
    async with opened(root, **KEEPS) as store:
        ids = [(await store.put("a", b"%d" % number)).id for number in range(count)]
        await store.delete("a")
        return store.data_dir, ids


def test_kept_ones_are_given_up_oldest_first_when_ids_run_out(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir, ids = asyncio.run(replaced_and_deleted(data.root, 6))
    one = gc(data_dir)
    one.run_once()
    assert sorted(states(data_dir)) == sorted(ids)  # in its first pass it learns what there is
    names = len(os.listdir(data_dir.root))
    monkeypatch.setattr(kept_module, "IDS", names)
    monkeypatch.setattr(kept_module, "IDS_SHARE", names // 2)  # so that two are too many
    one.run_once()
    assert sorted(states(data_dir)) == sorted(ids[2:])
    one.run_once()
    assert sorted(states(data_dir)) == sorted(ids[2:])
    one.close()


def test_kept_ones_are_given_up_for_an_upload_that_found_no_room(data: DataDirectory) -> None:
    data_dir, ids = asyncio.run(replaced_and_deleted(data.root, 3))
    one = gc(data_dir)
    one.run_once()
    free_bytes = os.statvfs(data_dir.root).f_bavail * os.statvfs(data_dir.root).f_frsize
    reserve.want_room(data_dir, free_bytes + (1 << 30))
    one.run_once()
    assert states(data_dir) == {}  # all of them together would free less than that
    assert len(ids) == 3
    assert not os.path.exists(data_dir.ours(".room-wanted"))
    one.close()
