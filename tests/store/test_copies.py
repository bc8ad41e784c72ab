"""Copies and moves of the local engine: one file and one commit, and nothing is lost if half of it fails."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import msgspec
import pytest

from common import durable
from common.errors import BlobkeepError, Damaged, NotFound
from services.engines.local.disk.blob import Blob
from services.engines.local.serving import copies, joining
from services.engines.local.serving.change import Change
from services.engines.local.serving.upload import LocalUpload
from tests.support import rules
from tests.support.stores import STAGED_BYTES, Opened, opened

BODY = os.urandom(STAGED_BYTES)


def anything(blob: object, damaged: bool) -> None:
    """Every condition holds."""


def inode(store: Opened, location: str) -> int:
    blob = store.store.peek(location, body=False)
    assert blob is not None
    return os.stat(store.data_dir.data(int(blob[0].id))).st_ino


@pytest.mark.parametrize("sync", ["journal", "folder"])
def test_large_blobs_share_a_file_and_outlive_each_other(tmp_path: Path, sync: str) -> None:
    async def go() -> None:
        async with opened(str(tmp_path), sync) as store:
            await store.put("s", BODY)
            first = inode(store, "s")
            await store.store.copy("s", anything, "t", anything, None)
            assert inode(store, "t") == first
            await store.store.copy("t", anything, "u", anything, None, move=True)
            assert inode(store, "u") == first
            await store.delete("s")
        assert not rules.broken_rules(str(tmp_path))  # with a pass of the gc
        async with opened(str(tmp_path), sync) as store:
            assert await store.values() == {"u": BODY}

    asyncio.run(go())


@pytest.mark.parametrize("size", [10, STAGED_BYTES])
@pytest.mark.parametrize("sync", ["journal", "folder"])
@pytest.mark.parametrize("half", ["new", "old"])
def test_a_move_of_which_a_half_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, sync: str, half: str
) -> None:
    """The disk refuses to prepare the new blob, or the end of the source. Neither may happen alone."""
    body = BODY[:size]
    real = Change.prepare

    def prepare(change: Change) -> None:
        if change.then is not None if half == "new" else change.after is not None:
            raise OSError(28, "No space left on device")
        real(change)

    async def go() -> None:
        async with opened(str(tmp_path), sync) as store:
            await store.put("s", body)
            await store.put("t", b"target")
            monkeypatch.setattr(Change, "prepare", prepare)
            with pytest.raises(BlobkeepError):
                await store.store.copy("s", anything, "t", anything, None, move=True)
            monkeypatch.setattr(Change, "prepare", real)
            assert await store.values() == {"s": body, "t": b"target"}
        async with opened(str(tmp_path), sync) as store:
            assert await store.values() == {"s": body, "t": b"target"}

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


@pytest.mark.parametrize("size", [10, STAGED_BYTES])
def test_a_source_that_is_written_meanwhile_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            await store.put("s", BODY[:size])
            written: list[object] = []
            real = copies._upload

            async def between(*args: object) -> LocalUpload | None:
                upload = await real(*args)  # type: ignore[arg-type]
                if not written:
                    written.append(await store.put("s", b"newer"))
                return upload

            monkeypatch.setattr(copies, "_upload", between)
            await store.store.copy("s", anything, "t", anything, None, move=True)
            assert await store.values() == {"t": b"newer"}

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_a_source_whose_file_is_gone_is_not_copied(tmp_path: Path) -> None:
    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            blob = await store.put("s", BODY)
            os.unlink(store.data_dir.data(blob.id))
            with pytest.raises(BlobkeepError):
                await store.store.copy("s", anything, "t", anything, None)
            with pytest.raises(NotFound):
                await store.store.open("t")

    asyncio.run(go())


@pytest.mark.parametrize("error", [errno.EPERM, errno.EACCES, errno.EXDEV])
@pytest.mark.parametrize("call", ["link", "open_in_place"])
def test_where_there_are_no_links_the_bytes_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    """For example a file of another user, which the server may only read."""
    real = getattr(durable, call)

    def refused(path: str, *others: str) -> object:
        if path.endswith("data.raw"):
            raise OSError(error, os.strerror(error))
        return real(path, *others)

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            await store.put("s", BODY)
            monkeypatch.setattr(durable, call, refused)
            await store.store.copy("s", anything, "t", anything, None, move=True)
            assert await store.values() == {"t": BODY}

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_a_source_called_damaged_while_it_is_copied_leaves_no_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader or the scrubber finds the blob corrupt when its file already has the second name. No
    upload may be left.
    """
    real = joining.linked

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            source = await store.put("s", BODY)

            async def between(*args: object, **options: object) -> LocalUpload | None:
                upload = await real(*args, **options)  # type: ignore[arg-type]
                store.store.report_damage(source, "rotten")
                return upload

            monkeypatch.setattr(f"{copies.__name__}.linked", between)
            with pytest.raises(Damaged):
                await store.store.copy("s", anything, "t", anything, None)
            assert store.store.uploads() == 0

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_an_index_that_makes_its_blobs_anew_does_not_look_like_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index on disk keeps a few thousand blobs in memory. Each look at another one makes a new object."""

    async def go() -> None:
        async with opened(str(tmp_path), "index") as store:
            for size in (10, STAGED_BYTES):
                await store.put("s", BODY[:size])
                looked_up = store.store.stat

                async def stat(location: str) -> Blob | None:
                    blob = await looked_up(location)  # noqa: B023
                    return blob and msgspec.structs.replace(blob)

                monkeypatch.setattr(store.store, "stat", stat)
                await store.store.copy("s", anything, "t", anything, None)
                await store.store.copy("s", anything, "t", anything, None, move=True)
                assert await store.values() == {"t": BODY[:size]}
                monkeypatch.undo()

    asyncio.run(go())
