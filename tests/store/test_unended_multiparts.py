"""Uploads in parts that were completed, and that the disk ends later: their blobs stay until then."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from common.errors import BlobkeepError, UnknownUpload
from services.engines.local.disk import multipart_folder
from services.engines.local.disk.layout import Layout
from services.store import Content
from tests.engines.makers import anything
from tests.store.test_multiparts import A, B, C, folders, number, three_parts
from tests.support import rules
from tests.support.stores import opened


class Ending:
    """Whether the disk lets an upload be ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._real = multipart_folder.end

    def fails(self, error: int) -> None:
        def refused(*_: object) -> None:
            raise OSError(error, os.strerror(error))

        self._monkeypatch.setattr(multipart_folder, "end", refused)

    def works(self) -> None:
        self._monkeypatch.setattr(multipart_folder, "end", self._real)


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Ending:
    return Ending(monkeypatch)


def test_nobody_replaces_the_blob_until_its_upload_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blob alone says that its upload is complete. If another write came between, and then a kill, a
    completion that is sent again would undo that write: the torture saw a deleted blob come back.
    """
    order: list[str] = []
    ending, may_end = threading.Event(), threading.Event()
    real = multipart_folder.end

    def end(*args: object) -> None:
        ending.set()
        assert may_end.wait(60)
        real(*args)  # type: ignore[arg-type]
        order.append("over")

    monkeypatch.setattr(multipart_folder, "end", end)

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload, done = await three_parts(store)
            completion = parts.complete_multipart("a", upload.id, sorted(done, key=number), anything)
            completing = asyncio.create_task(completion)
            assert await asyncio.to_thread(ending.wait, 60)
            assert await store.read("a") == A + B + C  # it is durable, so it is shown

            async def delete() -> None:
                await store.store.delete("a", anything)
                order.append("deleted")

            deleting = asyncio.create_task(delete())
            await asyncio.sleep(0)
            try:  # its batch comes after the delete's, if that has one
                await store.store.write_whole("b", anything, Content(), b"b")
            finally:
                may_end.set()
            await asyncio.gather(completing, deleting)

    asyncio.run(go())
    assert order == ["over", "deleted"]
    assert not rules.broken_rules(str(tmp_path))


def test_an_upload_that_could_not_be_ended_is_ended_later(tmp_path: Path, ending: Ending) -> None:
    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload, done = await three_parts(store)
            ending.fails(errno.EMFILE)
            await parts.complete_multipart("a", upload.id, sorted(done, key=number), anything)
            assert folders(tmp_path) == [upload.id]
            ending.works()
            await parts.sweep(3600.0)
            assert folders(tmp_path) == []
            assert await store.read("a") == A + B + C

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


@pytest.mark.parametrize("replaces", [False, True])
def test_the_blob_stays_until_an_upload_that_could_not_be_ended_is(
    tmp_path: Path, ending: Ending, replaces: bool
) -> None:
    """Else, after a kill, nobody would know that it is complete: sent again, it would be completed twice."""

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts

            async def change() -> None:
                if replaces:
                    await store.store.write_whole("a", anything, Content(), b"new")
                else:
                    await store.store.delete("a", anything)

            upload, done = await three_parts(store)
            ending.fails(errno.EIO)
            await parts.complete_multipart("a", upload.id, sorted(done, key=number), anything)
            with pytest.raises(BlobkeepError):
                await change()
            assert await store.read("a") == A + B + C
            ending.works()
            await change()
            assert folders(tmp_path) == []
            await parts.sweep(3600.0)
            assert folders(tmp_path) == []

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_an_upload_that_the_disk_does_not_end_keeps_no_other_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = multipart_folder.end
    refused: set[str] = set()

    def end(data_dir: Layout, upload_id: str) -> None:
        if upload_id in refused:
            raise OSError(errno.EIO, "the disk failed")
        real(data_dir, upload_id)

    monkeypatch.setattr(multipart_folder, "end", end)

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            completed, done = await three_parts(store)
            refused.add(completed.id)
            await parts.complete_multipart("a", completed.id, sorted(done, key=number), anything)
            left = await parts.create_multipart("b", Content())
            refused.add(left.id)
            await parts.create_multipart("c", Content())
            assert await parts.sweep(0.0) == 1  # the last one
            assert sorted(folders(tmp_path)) == sorted((completed.id, left.id))
            refused.clear()
            assert await parts.sweep(0.0) == 1
            assert folders(tmp_path) == []

    asyncio.run(go())


def test_a_start_does_not_fail_for_a_completed_upload_that_the_disk_does_not_end(
    tmp_path: Path, ending: Ending
) -> None:
    """Its blob is served, and stays until the upload is over."""

    async def go() -> None:
        ending.fails(errno.EIO)
        async with opened(str(tmp_path)) as store:
            upload, done = await three_parts(store)
            await store.store.multiparts.complete_multipart(
                "a", upload.id, sorted(done, key=number), anything
            )
        async with opened(str(tmp_path)) as store:
            assert await store.read("a") == A + B + C
            with pytest.raises(UnknownUpload):
                await store.store.multiparts.find_multipart("a", upload.id)
            with pytest.raises(BlobkeepError):
                await store.store.delete("a", anything)
            ending.works()
            await store.store.delete("a", anything)
            assert folders(tmp_path) == []

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_what_the_sweep_ended_is_no_longer_to_be_done(tmp_path: Path, ending: Ending) -> None:
    """Else the next start would list all names, as if a blob might be on the disk that nobody knows."""

    async def go() -> None:
        ending.fails(errno.EIO)
        async with opened(str(tmp_path), "index") as store:
            upload, done = await three_parts(store)
            await store.store.multiparts.complete_multipart(
                "a", upload.id, sorted(done, key=number), anything
            )
            await store.store.multiparts.sweep(0.0)
            assert not store.store.names.is_settled()
            ending.works()
            await store.store.multiparts.sweep(0.0)
            assert folders(tmp_path) == []
            assert store.store.names.is_settled()
            assert await store.read("a") == A + B + C

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))
