"""Starts with uploads in parts that were completed, and that the disk does not end."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from common.errors import BlobkeepError, UnknownUpload
from services.engines.local.disk import multipart_folder
from tests.engines.makers import anything
from tests.store.test_multiparts import A, B, C, folders, number, three_parts
from tests.support import rules
from tests.support.stores import opened


def test_a_start_does_not_fail_for_a_completed_upload_that_the_disk_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blob is served, and stays until the upload is over."""
    real = multipart_folder.end

    def refused(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def go() -> None:
        monkeypatch.setattr(multipart_folder, "end", refused)
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
            monkeypatch.setattr(multipart_folder, "end", real)
            await store.store.delete("a", anything)
            assert folders(tmp_path) == []

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_what_the_sweep_ended_is_no_longer_to_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next start would list all names, as if a blob might be on the disk that nobody knows."""
    real = multipart_folder.end

    def refused(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def go() -> None:
        monkeypatch.setattr(multipart_folder, "end", refused)
        async with opened(str(tmp_path), "index") as store:
            upload, done = await three_parts(store)
            await store.store.multiparts.complete_multipart(
                "a", upload.id, sorted(done, key=number), anything
            )
            await store.store.multiparts.sweep(0.0)
            assert not store.store.names.is_settled()
            monkeypatch.setattr(multipart_folder, "end", real)
            await store.store.multiparts.sweep(0.0)
            assert folders(tmp_path) == []
            assert store.store.names.is_settled()
            assert await store.read("a") == A + B + C

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))
