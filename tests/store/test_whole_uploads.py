"""Bodies up to 1 MiB that come quickly are held until they are complete, and written in one step."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from common import durable
from common.checksum import Hasher
from common.errors import AlreadyExists, Busy, NoSpace, SyncFailed
from services.engines.local.disk import blob_folder
from services.engines.local.disk.layout import DATA_NAME, DATA_TEMP_NAME, STATE_NAME, Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.journal.replay import replay
from services.engines.local.serving import upload
from services.engines.local.serving.shared_syncs import SharedSyncs
from services.engines.local.serving.upload import ALL_WHOLE_BYTES
from services.store import Content
from tests.support.processes import wait_for
from tests.support.rules import DataDirectory
from tests.support.stores import SMALL_BODY_BYTES, Opened, opened

BODY = os.urandom(3 * SMALL_BODY_BYTES)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No body counts as slow, however slow the machine is."""
    monkeypatch.setattr(upload, "STAGE_AFTER_S", 3600.0)


def anything(blob: object, damaged: bool) -> None: ...


@pytest.fixture
def never_staged(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_stage(data_dir: Layout, pending: BlobRecord) -> int:
        raise AssertionError("it was staged")

    monkeypatch.setattr(blob_folder, "stage", no_stage)


def folders(root: str) -> list[Path]:
    return [path for path in Path(root).iterdir() if path.name.isdigit()]


@pytest.mark.usefixtures("never_staged")
def test_it_is_never_pending_and_leaves_what_any_blob_does(data: DataDirectory) -> None:
    async def main() -> None:
        async with opened(data.root) as made:
            made.holds_whole()
            blob = await made.put("a", BODY, pieces=7)
            assert blob.sha256 == hashlib.sha256(BODY).digest()
            assert await made.read("a") == BODY
            (folder,) = folders(data.root)
            assert sorted(os.listdir(folder)) == sorted([DATA_NAME, STATE_NAME])
            record = blob_folder.read_record(made.data_dir, blob.id)
            assert [event.message for event in record.events][0::2] == [
                "Blob Created & Saved!",
                "Blob Data WR Complete!",
            ]
            assert made.store.whole_left_bytes == ALL_WHOLE_BYTES

    asyncio.run(main())


def test_the_disk_begins_before_the_bytes_are_hashed(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it works while they are hashed, and the sync waits for less."""
    body = os.urandom(1 << 20)
    order: list[object] = []

    def noted(owner: object, name: str, note: Callable[..., object]) -> None:
        real = getattr(owner, name)

        def call(*args: object) -> object:
            order.append(note(*args))
            return real(*args)

        monkeypatch.setattr(owner, name, call)

    async def main() -> None:
        async with opened(data.root) as made:
            made.holds_whole()
            await made.put("first", b"x")  # begins the journal
            noted(durable, "begin_write_back", lambda _fd, at, size: (at, size))
            noted(Hasher, "update", lambda _sums, _data: "hash")
            noted(durable, "sync_file", lambda _fd: "sync")
            await made.put("a", body, pieces=2)
            assert await made.read("a") == body

    asyncio.run(main())
    assert order[:4] == [(0, len(body)), "hash", "hash", "sync"]


@pytest.mark.usefixtures("never_staged")
def test_its_digest_is_known_before_the_commit_and_its_bytes_are_hashed_off_the_loop(
    data: DataDirectory,
) -> None:
    async def main() -> None:
        async with opened(data.root) as made:
            made.holds_whole()
            begun = await made.store.begin("a", anything, Content("a/b"), len(BODY))
            await begun.write(BODY)
            assert await begun.sha256() == hashlib.sha256(BODY).digest()
            assert [os.listdir(folder) for folder in folders(data.root)] == [[DATA_TEMP_NAME]]
            await begun.commit()
            assert await made.read("a") == BODY

    asyncio.run(main())


def test_one_that_is_refused_or_given_up_leaves_no_folder(data: DataDirectory) -> None:
    async def main() -> None:
        async with opened(data.root) as made:
            made.holds_whole()
            racing = await made.store.begin("a", only_new, Content("a/b"), len(BODY))
            await racing.write(BODY)
            await made.put("a", b"first")
            with pytest.raises(AlreadyExists):
                await racing.commit()
            left = await made.store.begin("b", anything, Content("a/b"), len(BODY))
            await left.write(BODY)
            await left.sha256()
            await left.abort("its client went away")
            assert len(folders(data.root)) == 1
            assert made.store.whole_left_bytes == ALL_WHOLE_BYTES

    asyncio.run(main())


def only_new(blob: object, damaged: bool) -> None:
    if blob is not None:
        raise AlreadyExists("it is there")


def test_what_all_of_them_hold_has_a_bound(data: DataDirectory) -> None:
    async def main() -> None:
        async with opened(data.root, "none") as made:
            made.holds_whole()
            size, held = 1 << 20, []
            for number in range(ALL_WHOLE_BYTES // size + 1):
                begun = await made.store.begin(str(number), anything, Content("a/b"), size)
                await begun.write(bytes(SMALL_BODY_BYTES + 1))
                held.append(begun)
            assert [one.is_staged for one in held] == [False] * (len(held) - 1) + [True]
            assert len(held) > 16  # clients at a time: each that is staged costs two syncs and two steps more
            for one in held:
                await one.abort("enough")
            assert made.store.whole_left_bytes == ALL_WHOLE_BYTES

    asyncio.run(main())


def test_one_that_the_disk_had_no_room_for_counts_while_it_is_held(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes stay in memory, and were not counted any more: on a full disk there was no bound."""

    def no_room(data_dir: Layout, blob_id: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        async with opened(data.root) as made:
            made.holds_whole()
            begun = await made.store.begin("a", anything, Content("a/b"), len(BODY))
            await begun.write(BODY)
            with monkeypatch.context() as full:
                full.setattr(blob_folder, "begin_data", no_room)
                with pytest.raises(NoSpace):
                    await begun.sha256()
            assert made.store.whole_left_bytes == ALL_WHOLE_BYTES - len(BODY)
            await begun.commit()
            assert await made.read("a") == BODY
            assert made.store.whole_left_bytes == ALL_WHOLE_BYTES

    asyncio.run(main())


def test_a_crash_between_the_record_and_the_names_is_finished(data: DataDirectory, tmp_path: Path) -> None:
    """What the journal covers is under temporary names on disk. The replay gives it its real names."""

    async def main() -> None:
        store = Opened(data.root)
        store.holds_whole()
        blob = await store.put("a", BODY)
        shutil.copytree(data.root, tmp_path / "copy", ignore=shutil.ignore_patterns(".*.sock"))
        await store.close()
        found = Layout(str(tmp_path / "copy"), 16)
        folder = Path(found.folder(blob.id))
        os.rename(folder / DATA_NAME, folder / DATA_TEMP_NAME)
        assert replay(found).changed == 1
        assert (folder / DATA_NAME).read_bytes() == BODY
        assert replay(found).changed == 0

    asyncio.run(main())


def test_syncs_of_one_folder_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, begun, go_on, calls = SharedSyncs(), threading.Event(), threading.Event(), []

    def sync(path: str) -> None:
        calls.append(path)
        begun.set()
        assert go_on.wait(60)

    monkeypatch.setattr(durable, "sync_folder", sync)
    threads = [threading.Thread(target=shared.sync, args=("f",)) for _ in range(6)]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    wait_for(lambda: len(shared._changed._waiters) == 5, what="five that wait")  # type: ignore[attr-defined]
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert calls == ["f", "f"]  # uploads that came while the first ran share the second


@pytest.mark.parametrize("entry_is_there", [True, False])
def test_a_sync_of_the_parent_counts_if_it_began_after_the_folder_was_made(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, entry_is_there: bool
) -> None:
    """Another upload's sync, before the folder was made or while its bytes are hashed."""
    synced: list[str] = []

    async def main() -> None:
        async with opened(data.root) as made:
            made.holds_whole()
            await made.put("first", b"x")  # begins the journal
            others = made.store.parent_syncs

            def sync_folder(path: str, real: Callable[[str], None] = durable.sync_folder) -> None:
                synced.append(path)
                real(path)

            def take(real: Callable[[], int] = made.store.ids.take) -> int:
                if not entry_is_there:
                    others.sync(data.root)
                return real()

            def update(sums: Hasher, some: bytes, real: Callable[..., None] = Hasher.update) -> None:
                if entry_is_there:
                    others.sync(data.root)
                real(sums, some)

            with monkeypatch.context() as patch:
                patch.setattr(durable, "sync_folder", sync_folder)
                patch.setattr(made.store.ids, "take", take)
                patch.setattr(Hasher, "update", update)
                blob = await made.put("a", BODY)
            folder = made.data_dir.folder(blob.id)
            again = [] if entry_is_there else [data.root]
            assert synced == [data.root, folder, *again]

    asyncio.run(main())


def test_a_failed_sync_of_a_folder_is_told_to_all_and_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, calls = SharedSyncs(), []

    def sync(path: str) -> None:
        calls.append(path)
        raise SyncFailed("no")

    monkeypatch.setattr(durable, "sync_folder", sync)
    for _ in range(2):
        with pytest.raises(SyncFailed):
            shared.sync("f")
    assert calls == ["f"]


def test_one_that_was_given_up_is_never_committed(data: DataDirectory) -> None:
    """The server stopped while a request's digest was computed. Before, the commit came after the
    upload's end, with bytes that were never synced, and in a folder that could belong to another blob.
    """

    async def main() -> None:
        async with opened(data.root) as made:
            made.holds_whole()
            await made.put("a", b"first")
            begun = await made.store.begin("a", anything, Content("a/b"), len(BODY))
            await begun.write(BODY)
            await begun.sha256()
            await begun.abort("the server stops")
            with pytest.raises(Busy):
                await begun.commit()
            assert await made.read("a") == b"first"

    asyncio.run(main())
