"""An I/O error is not corruption: a blob that the disk does not give stays where it is, answers 503, and
comes back.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from common import durable
from common.errors import AlreadyExists, NotFound, Unreadable
from common.states import MSG_CREATED, MSG_WRITING, State
from services.engines.local.disk import blob_folder, layout, quarantine, record
from services.engines.local.recovery import reconcile
from services.engines.local.serving import unread
from services.engines.local.upkeep import scrubber
from services.engines.local.upkeep.check import check
from services.engines.local.upkeep.verifier import Verifier
from tests.disk.test_reconcile import make_original
from tests.support.disk_calls import standing_between
from tests.support.rules import DataDirectory
from tests.support.stores import Opened, opened, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


class Refused:
    """Fails open and stat of files whose paths end so: `times` times, or until the list is emptied."""

    def __init__(self, *ends: str, error: int = errno.EIO, times: int = 1 << 30) -> None:
        self.ends, self.error, self.left = set(ends), error, times
        self.refused = 0
        self._mutex = threading.Lock()

    def before(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        ends = tuple(f"/{end}" for end in self.ends)  # whole names, since 605 is not 2605
        if name in ("open", "stat", "listdir") and f"/{args[0]}".endswith(ends or "\0"):
            with self._mutex:
                if self.left:
                    self.left -= 1
                    self.refused += 1
                    raise OSError(self.error, os.strerror(self.error))
        return args

    def after(self, name: str) -> None:
        """Nothing to do."""


@contextmanager
def refusing(*ends: str, error: int = errno.EIO, times: int = 1 << 30) -> Iterator[Refused]:
    plan = Refused(*ends, error=error, times=times)
    with standing_between(plan, frozenset({"open", "stat", "listdir"})):
        yield plan


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the pauses between two tries."""
    monkeypatch.setattr(reconcile, "READ_AGAIN_AFTER_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(unread, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(unread, "LONGEST_PAUSE_S", 0.02)


def state_of(blob_id: int) -> str:
    return f"{blob_id}/{layout.STATE_NAME}"


def overwrite(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


async def made(root: str, *locations: str) -> list[int]:
    async with opened(root, "folder") as store:
        return [(await store.put(at, at.encode() * 100)).id for at in locations]


async def answers_for(store: Opened, location: str) -> None:
    """It answers no 404, and cannot be created or deleted."""
    with pytest.raises(Unreadable):
        await store.store.stat(location)
    with pytest.raises(Unreadable):
        await store.read(location)
    with pytest.raises(Unreadable):
        await store.put(location, b"anew")
    with pytest.raises(Unreadable):
        await store.delete(location)


@pytest.mark.parametrize("error", [errno.EIO, errno.EUCLEAN, errno.EACCES, errno.EBADMSG])
def test_a_state_that_the_disk_does_not_give_stays_and_is_served_again(
    data: DataDirectory, error: int
) -> None:
    async def run() -> None:
        blob_id, other = await made(data.root, "a", "other")
        with refusing(state_of(blob_id), error=error) as refused:
            async with opened(data.root) as store:
                assert store.found.unreadable.keys() == {blob_id}
                assert store.found.quarantined == []
                assert layout.DATA_NAME in os.listdir(f"{data.root}/{blob_id}")
                assert os.listdir(f"{data.root}/{layout.QUARANTINE_NAME}") == []
                await answers_for(store, "a")
                assert await store.read("other") == b"other" * 100
                await store.put("other", b"updated")
                await store.delete("other")
                usage = await store.store.usage()
                assert (usage.blobs, usage.damaged, usage.unread) == (0, 0, 1)
                refused.ends.clear()
                await until(lambda: store.store.index.blobs.get("a"), "the blob's return")
                assert await store.read("a") == b"a" * 100
                with pytest.raises(NotFound):
                    await store.store.open("other")
                await store.put("a", b"goes on")
                assert (await store.store.usage()).unread == 0
        async with opened(data.root) as store:
            assert await store.values() == {"a": b"goes on"}
        assert other != blob_id

    asyncio.run(run())


def test_an_error_that_passes_is_not_even_noticed(data: DataDirectory) -> None:
    async def run() -> None:
        (blob_id,) = await made(data.root, "a")
        with refusing(state_of(blob_id), times=3) as refused:
            async with opened(data.root) as store:
                assert await store.read("a") == b"a" * 100
        assert refused.refused == 3

    asyncio.run(run())


def test_a_restart_finds_what_the_start_before_could_not_read(data: DataDirectory) -> None:
    async def run() -> None:
        (blob_id,) = await made(data.root, "a")
        with refusing(state_of(blob_id)):
            async with opened(data.root) as store:
                await answers_for(store, "a")
        async with opened(data.root) as store:
            assert await store.values() == {"a": b"a" * 100}

    asyncio.run(run())


def test_a_third_of_all_reads_that_fail_at_a_start_lose_nothing(data: DataDirectory) -> None:
    async def run() -> None:
        locations = [f"x{number}" for number in range(60)]
        ids = await made(data.root, *locations)
        with refusing(*(state_of(one) for one in ids[::3])) as refused:
            async with opened(data.root) as store:
                assert len(store.found.unreadable) == 20
                refused.ends.clear()
                await until(lambda: len(store.store.index.blobs.ids) == 60, "all of them")
                assert await store.values() == {at: at.encode() * 100 for at in locations}

    asyncio.run(run())


def test_data_that_the_disk_does_not_give_is_an_error_and_no_damage(data: DataDirectory) -> None:
    async def run() -> None:
        (blob_id,) = await made(data.root, "a")
        with refusing(f"{blob_id}/{layout.DATA_NAME}"):
            async with opened(data.root) as store:
                for _ in range(2):
                    with pytest.raises(Unreadable):
                        await store.read("a")
                usage = await store.store.usage()
                assert (usage.blobs, usage.damaged, usage.read_errors) == (1, 0, 2)
                await store.put("b", b"another")
        async with opened(data.root) as store:
            assert await store.read("a") == b"a" * 100

    asyncio.run(run())


def test_a_read_that_ends_before_a_bad_sector_is_no_short_file(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gives the bytes before the error, and only the next call reports it."""

    async def run() -> None:
        async with opened(data.root, "folder") as store:
            blob = await store.put("a", b"a" * 300_000)
        bad = [True]
        real = os.preadv

        def preadv(fd: int, buffers: list[Any], offset: int, flags: int = 0) -> int:
            if flags:
                raise OSError(errno.EAGAIN, "not in the page cache")
            if bad[0] and offset >= 100_000:
                raise OSError(errno.EIO, "bad sector")
            return real(fd, [memoryview(buffers[0])[:100_000]] if bad[0] else buffers, offset)

        monkeypatch.setattr(os, "preadv", preadv)
        async with opened(data.root) as store:
            with pytest.raises(Unreadable):
                await store.read("a")
            tally = scrubber.ScrubTally()
            assert scrubber.check_blob(store.data_dir, blob.id, tally, lambda n: None) is None
            assert (len(tally.unreadable), tally.damaged) == (1, [])
            bad[0] = False
            assert await store.read("a") == b"a" * 300_000
            assert (await store.store.usage()).damaged == 0

    asyncio.run(run())


def test_an_update_and_a_delete_need_not_read_the_old_state(data: DataDirectory) -> None:
    async def run() -> None:
        async with opened(data.root) as store:
            first = await store.put("a", b"old")
            second = await store.put("b", b"old")
            with refusing(state_of(int(first.id)), state_of(int(second.id))):
                await store.put("a", b"new")
                await store.delete("b")
        async with opened(data.root) as store:
            assert await store.values() == {"a": b"new"}

    asyncio.run(run())


def pending_on_disk(store: Opened, blob_id: int, location: str) -> None:
    assert blob_folder.take(store.data_dir, blob_id)
    first = record.created(blob_id, location, 1, MSG_CREATED, 1, "text/plain", "")
    os.close(blob_folder.stage(store.data_dir, first.advanced(State.PENDING, MSG_WRITING, 2)))


def test_what_turns_out_to_be_no_blob_is_settled_while_serving(data: DataDirectory) -> None:
    """Blobs that turn out to be Pending, in Failure, damaged or removed by hand are treated as at a start."""
    data.rotten = True

    async def run() -> None:
        async with opened(data.root, "folder") as store:
            data_dir = store.data_dir
            failed = (await store.put("failed", b"x")).id
            rotten = (await store.put("rotten", b"x")).id
            cut = (await store.put("cut", b"x")).id
            removed = (await store.put("removed", b"x")).id
            interrupted = next(n for n in range(9) if n not in (failed, rotten, cut, removed))
            pending_on_disk(store, interrupted, "interrupted")
        blob_folder.fail(data_dir, blob_folder.read_record(data_dir, failed), "Deleted!", 1)
        ids = [failed, rotten, cut, removed, interrupted]
        with refusing(*(state_of(one) for one in ids)) as refused:
            async with opened(data.root) as store:
                assert len(store.found.unreadable) == 5
                for one in ids:
                    await answers_for(store, str(one))
                overwrite(data_dir.state(rotten), b"rot")
                os.truncate(data_dir.data(cut), 0)
                durable.remove_tree(data_dir.folder(removed), under=data_dir.root)
                refused.ends.clear()
                await until(lambda: not store.store.index.unreadable, "the judgement")
                usage = await store.store.usage()
                assert (usage.blobs, usage.damaged, usage.unread) == (0, 2, 0)
                named = {one.location for one in store.store.damage.listed(10)}
                assert named == {"cut", None}
                assert await store.read("failed") is None
                await store.put("cut", b"anew")
                assert (await store.store.usage()).damaged == 1
        assert blob_folder.read_record(data_dir, interrupted).state is State.FAILURE
        async with opened(data.root) as store:
            assert await store.values() == {"cut": b"anew"}
            assert (await store.store.usage()).damaged == 1

    asyncio.run(run())


@pytest.mark.parametrize("newer_is_unread", [True, False])
def test_of_two_the_higher_is_served_once_both_can_be_read(
    data: DataDirectory, newer_is_unread: bool
) -> None:
    async def run() -> None:
        async with opened(data.root, "folder") as store:
            older = await store.put("a", b"older")
            backup = blob_folder.read_file(store.data_dir.state(older.id))
            newer = await store.put("a", b"newer")
            overwrite(store.data_dir.state(older.id), backup)
        hidden = newer.id if newer_is_unread else older.id
        with refusing(state_of(hidden)) as refused:
            async with opened(data.root) as store:
                assert await store.read("a") == (b"older" if newer_is_unread else b"newer")
                refused.ends.clear()
                await until(lambda: not store.store.index.unreadable, "the judgement")
                assert await store.read("a") == b"newer"
                await store.delete("a")
        async with opened(data.root) as store:
            assert await store.values() == {}

    asyncio.run(run())


def test_a_note_without_a_location_is_not_the_last_word(data: DataDirectory) -> None:
    """As left by versions that took an I/O error for corruption."""
    data.rotten = True

    async def run() -> None:
        (blob_id,) = await made(data.root, "a")
        async with opened(data.root) as store:
            quarantine.move_in(store.data_dir, blob_id, None, 0, "cannot be read: Input/output error.")
        async with opened(data.root) as store:
            (blob,) = store.store.damage.listed(10)
            assert (blob.location, blob.quarantine) == ("a", f"{blob_id}-0")
            with pytest.raises(Exception, match="damaged"):
                await store.read("a")
            await store.put("a", b"anew")
        async with opened(data.root) as store:
            assert await store.values() == {"a": b"anew"}
            assert (await store.store.usage()).damaged == 0

    asyncio.run(run())


def test_what_lies_in_quarantine_without_a_location_counts_until_it_is_dropped(data: DataDirectory) -> None:
    data.rotten = True

    async def run() -> None:
        (blob_id,) = await made(data.root, "a")
        os.truncate(f"{data.root}/{state_of(blob_id)}", 50)
        for _ in range(2):
            async with opened(data.root) as store:
                assert await store.read("a") is None  # its location is not known any more
                assert (await store.store.usage()).damaged == 1
                (blob,) = store.store.damage.listed(10)
                assert (blob.location, blob.id, blob.quarantine) == (None, blob_id, f"{blob_id}-0")
        async with opened(data.root) as store:
            quarantine.drop(store.data_dir, f"{blob_id}-0")
            assert (await store.store.usage()).damaged == 0

    asyncio.run(run())


def test_an_original_blob_whose_data_cannot_be_read_waits_for_its_checksums(data: DataDirectory) -> None:
    async def run() -> None:
        async with opened(data.root, "folder") as store:
            blob = await store.put("a", b"of the original")
            make_original(store.data_dir, blob_folder.read_record(store.data_dir, blob.id))
        with refusing(f"{blob.id}/{layout.DATA_NAME}") as refused:
            async with opened(data.root) as store:
                assert store.found.unadopted.keys() == {"a"}
                await answers_for(store, "a")
                await store.put("b", b"others are not concerned")
                with pytest.raises(AlreadyExists):
                    await store.put("b", b"", only_new=True)
                assert await store.read("c") is None
                refused.ends.clear()
                await until(lambda: not store.store.index.unadopted, "adoption")
                assert await store.read("a") == b"of the original"
        async with opened(data.root) as store:
            assert store.found.adopted == 0
            assert len(await store.values()) == 2

    asyncio.run(run())


def test_the_recovery_worker_reads_again_what_the_disk_did_not_give(data: DataDirectory) -> None:
    async def run() -> None:
        (blob_id,) = await made(data.root, "a")
        worker = Verifier(layout.Layout(data.root, 16), 1.0, 1e9)
        with refusing(state_of(blob_id)) as refused:
            for _ in range(2):
                found = worker.reconcile_if_free()
                assert found is not None
                assert found.unreadable.keys() == {blob_id}
            report = check(layout.Layout(data.root, 16), dry_run=False)
            assert not report.is_well
            assert any("cannot be read" in line for line in report.damage())
            refused.ends.clear()
            found = worker.reconcile_if_free()
            assert found is not None
            assert list(found.live) == ["a"]
        assert worker.reconcile_if_free() is None

    asyncio.run(run())
