"""The store on one directory: the order of writes of a location, and what readers and uploads can rely on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from common import durable
from common.config import Config
from common.errors import AlreadyExists, BlobkeepError, NotFound, SyncFailed
from common.states import State
from services.engine import Events
from services.engines.local.disk import blob_folder, directory
from services.engines.local.disk.blob import Blob
from services.engines.local.journal import file as journal_file
from services.engines.local.journal import format as journal
from services.engines.local.recovery import reconcile
from services.engines.local.serving.store import LocalStore
from services.engines.local.upkeep.collector import Collector
from services.store import Blob as AnyBlob
from services.store import Condition, Content
from tests.cuts.recorder import ListLog, recording
from tests.support.rules import DataDirectory

STAGED = os.urandom(200_000)  # over small_body_bytes: on disk while it comes in


class Opened:
    """A store on the directory of a test, and the errors that it reported as fatal."""

    def __init__(self, root: str, **options: Any) -> None:
        config = Config(dir=root, **options)
        self.data_dir = directory.open_directory(root, config.id_bits, owner=True)
        self.fatal: list[BlobkeepError] = []
        self.store = LocalStore(
            self.data_dir, reconcile.reconcile(self.data_dir), config, Events(), self.fatal.append
        )


@asynccontextmanager
async def opened(data: DataDirectory, **options: Any) -> AsyncIterator[Opened]:
    made = Opened(data.root, **options)
    try:
        yield made
    finally:
        await made.store.close()


def anyhow(blob: AnyBlob | None, damaged: bool) -> None:
    """A condition that always holds."""


def creates(blob: AnyBlob | None, damaged: bool) -> None:
    if blob is not None:
        raise AlreadyExists("it is there")


async def put(store: LocalStore, location: str, body: bytes, condition: Condition = anyhow) -> Blob:
    upload = await store.begin(location, condition, Content("text/plain"), len(body))
    await upload.write(body)
    return (await upload.commit())[0]


async def read(store: LocalStore, location: str) -> bytes:
    reading = await store.open(location)
    try:
        return b"".join([bytes(p) async for p in reading.chunks(0, reading.blob.size - 1)])
    finally:
        reading.close()


Scenario = Callable[[Opened], Awaitable[None]]


def run(data: DataDirectory, scenario: Scenario, **options: Any) -> None:
    async def main() -> None:
        async with opened(data, **options) as made:
            await scenario(made)

    asyncio.run(main())


@pytest.mark.parametrize("body", [b"small", STAGED], ids=["small", "staged"])
@pytest.mark.parametrize("sync", ["journal", "folder", "none"])
def test_a_create_gets_409_only_if_another_one_succeeds(data: DataDirectory, body: bytes, sync: str) -> None:
    async def scenario(made: Opened) -> None:
        first = await made.store.begin("a", creates, Content("text/plain"), None)
        second = await made.store.begin("a", creates, Content("text/plain"), None)
        third = await made.store.begin("a", creates, Content("text/plain"), None)
        for upload in (first, second, third):
            await upload.write(body)
        await first.abort("the client left")
        assert (await second.commit())[0].size == len(body)
        with pytest.raises(AlreadyExists):
            await third.commit()
        assert await read(made.store, "a") == body
        with pytest.raises(AlreadyExists):
            await made.store.begin("a", creates, Content("text/plain"), None)

    run(data, scenario, sync=sync)


@pytest.mark.parametrize("body", [b"small", STAGED], ids=["small", "staged"])
def test_an_aborted_update_keeps_the_old_value_and_blocks_nothing(data: DataDirectory, body: bytes) -> None:
    async def scenario(made: Opened) -> None:
        await put(made.store, "a", b"old")
        upload = await made.store.begin("a", anyhow, Content("text/plain"), 10**6)
        await upload.write(body)
        pending = [i for i in directory.ids_in(made.data_dir) if i not in made.store.index.blobs.ids]
        await upload.abort("the client\nleft")
        await upload.abort("twice")
        for blob_id in pending:
            record = blob_folder.read_record(made.data_dir, blob_id)
            assert record.state is State.FAILURE
            assert record.events[-1].message == "Upload failed: the client left"
        assert await read(made.store, "a") == b"old"
        await put(made.store, "a", b"new")
        assert await read(made.store, "a") == b"new"
        assert (await made.store.usage()).uploads == 0

    run(data, scenario)


def test_a_reader_reads_what_it_opened_to_the_end(data: DataDirectory) -> None:
    async def scenario(made: Opened) -> None:
        body = os.urandom(3 << 20)
        await put(made.store, "a", body)
        reading = await made.store.open("a")
        pieces = reading.chunks(0, len(body) - 1)
        got = bytes(await anext(pieces))
        await made.store.delete("a", anyhow)
        gc = Collector(made.data_dir, 5.0)
        assert gc.run_once()
        gc.close()
        got += b"".join([bytes(piece) async for piece in pieces])
        reading.close()
        assert got == body
        with pytest.raises(NotFound):
            await made.store.open("a")

    run(data, scenario)


def test_an_id_that_comes_back_between_lookup_and_open_gives_no_other_blob_s_bytes(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two steps the blob is replaced, its folder is collected, and its id goes to another
    location.
    """

    async def scenario(made: Opened) -> None:
        old = await put(made.store, "a", b"old")
        loop = asyncio.get_running_loop()
        really_open = blob_folder.open_data

        async def meanwhile() -> None:
            await put(made.store, "a", b"new")
            gc = Collector(made.data_dir, 5.0)
            assert gc.run_once()
            gc.close()
            made.store.ids.take = lambda: old.id if blob_folder.take(made.data_dir, old.id) else -1  # type: ignore[method-assign]
            assert (await put(made.store, "b", b"other")).id == old.id

        def open_late(*args: Any) -> int:
            monkeypatch.setattr(blob_folder, "open_data", really_open)
            asyncio.run_coroutine_threadsafe(meanwhile(), loop).result(120)
            return really_open(*args)

        monkeypatch.setattr(blob_folder, "open_data", open_late)
        assert await read(made.store, "a") == b"new"

    run(data, scenario)


def test_updates_at_once_have_one_order_and_leave_one_blob(data: DataDirectory) -> None:
    async def scenario(made: Opened) -> None:
        await put(made.store, "a", b"first")
        blobs = await asyncio.gather(*(put(made.store, "a", b"%d" % number) for number in range(30)))
        last = max(blobs, key=lambda blob: blob.seq)
        assert await made.store.stat("a") == last
        assert await read(made.store, "a") == b"%d" % blobs.index(last)

    run(data, scenario)


def test_after_a_failed_sync_writes_fail_and_the_server_is_told_once(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(made: Opened) -> None:
        await put(made.store, "a", b"old")

        def fail(fd: int) -> None:
            raise SyncFailed("the disk failed")

        monkeypatch.setattr(durable, "sync_file", fail)
        for _ in range(2):
            with pytest.raises(SyncFailed):
                await put(made.store, "a", b"new")
        assert len(made.fatal) == 1
        assert await read(made.store, "a") == b"old"
        monkeypatch.undo()

    run(data, scenario)
    assert list(reconcile.reconcile(directory.open_directory(data.root, 16, owner=True)).live) == ["a"]


def test_the_gc_may_take_an_old_blob_before_the_commit_has_synced_it(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = durable.exchange
    collected: list[str | None] = []

    def collect_at_once(new: str, old: str) -> None:
        exchange(new, old)
        gc = Collector(directory.open_directory(data.root, 16, owner=False), 5.0, slice_folders=1 << 32)
        collected.append(gc.run_once())
        gc.close()

    async def scenario(made: Opened) -> None:
        await put(made.store, "a", b"old")
        monkeypatch.setattr(durable, "exchange", collect_at_once)
        await put(made.store, "a", b"new")
        assert any(collected)
        assert not made.fatal
        assert await read(made.store, "a") == b"new"

    run(data, scenario, sync="folder")


def test_a_blob_whose_folder_was_removed_by_hand_and_that_is_deleted_stays_so(data: DataDirectory) -> None:
    async def scenario(made: Opened) -> None:
        blob = await put(made.store, "a", b"body")
        blob_folder.discard(made.data_dir, blob.id)
        await made.store.delete("a", anyhow)
        entries = list(journal.entries_of(journal.scan_all(made.data_dir)))
        assert [(entry.id, entry.alive) for entry in entries] == [(blob.id, True), (blob.id, False)]

    run(data, scenario)


def test_a_commit_by_folders_leaves_nothing_in_the_journal(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would bring back a blob that this commit ends and the gc has removed."""
    monkeypatch.setattr(journal_file, "_MAX_BYTES", 1 << 20)

    async def scenario(made: Opened) -> None:
        await put(made.store, "a", b"small")
        await put(made.store, "a", b"x" * (2 << 20))
        assert [found.clean for found in journal.scan_all(made.data_dir)] == [True, True]

    run(data, scenario, small_body_bytes=4 << 20)


def test_the_state_of_an_aborted_upload_is_durable_before_its_name(data: DataDirectory) -> None:
    """Otherwise a power cut could leave an empty state file, which looks like damage."""

    async def scenario(made: Opened) -> None:
        upload = await made.store.begin("a", anyhow, Content("text/plain"), None)
        await upload.write(STAGED)
        log = ListLog()
        with recording(log):
            await upload.abort("its client went away")
        kinds = [op.kind for op in log.ops]
        assert kinds.index("begin") < kinds.index("end") < kinds.index("rename")

    run(data, scenario)
