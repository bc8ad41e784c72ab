"""The pieces of a part, of which one is written while the next comes in."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import threading
from pathlib import Path

import pytest

from common import durable
from common.errors import StorageFailed
from services.engines.local.disk import multipart_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.multipart_folder import Placed
from services.store import Content
from tests.engines.makers import anything
from tests.engines.test_multiparts import send
from tests.store.test_multiparts import MIB, A, B
from tests.support.stores import opened


def test_the_next_piece_of_a_part_comes_in_while_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, may_write, begun = durable.write_some_at, threading.Event(), []

    def late(fd: int, data: bytes, offset: int) -> int:
        assert may_write.wait(60)
        return real(fd, data, offset)

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            part = await parts.begin_part("a", upload.id, 1, 3 * MIB)
            await part.write(A[:MIB])  # it returns, though nothing is written
            await asyncio.sleep(0)
            assert part.takes(A[MIB : MIB + 9])
            may_write.set()
            await part.write(A[MIB + 9 :])
            await part.write(B[:MIB])
            done = await part.commit()
            await parts.complete_multipart("a", upload.id, [done], anything)
            assert await store.read("a") == A + B[:MIB]

    monkeypatch.setattr(durable, "write_some_at", late)
    monkeypatch.setattr(durable, "begin_write_back", lambda fd, offset, size: begun.append((offset, size)))
    asyncio.run(go())
    assert begun[0][0] == 0  # before the sync, which then waits for little


@pytest.mark.parametrize(
    ("broken", "told"), [(OSError(errno.EIO, "the disk failed"), StorageFailed), (MemoryError(), MemoryError)]
)
def test_a_piece_of_a_part_that_could_not_be_written_fails_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Exception, told: type[Exception]
) -> None:
    real = durable.write_some_at

    def failing(fd: int, data: bytes, offset: int) -> int:
        if offset == 0:
            raise broken
        return real(fd, data, offset)

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            part = await parts.begin_part("a", upload.id, 1, len(A))
            with monkeypatch.context() as patch:
                patch.setattr(durable, "write_some_at", failing)
                await part.write(A[:MIB])
                with contextlib.suppress(told):  # told here, or by the commit
                    await part.write(A[MIB:])
                with pytest.raises(told):
                    await part.commit()
            assert await parts.list_parts("a", upload.id) == []
            done = await send(parts, upload, 1, A)
            await parts.complete_multipart("a", upload.id, [done], anything)
            assert await store.read("a") == A

    asyncio.run(go())


@pytest.mark.parametrize("with_sha256", [False, True])
@pytest.mark.parametrize("declared", [None, len(A), len(A) + MIB])
def test_all_bytes_of_a_part_are_written_before_the_one_sync_that_comes_before_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: int | None, with_sha256: bool
) -> None:
    """Also where fewer came than were declared, and where its SHA-256 is asked for on the way."""
    done: list[str] = []
    real_write, real_sync, real_append = (
        durable.write_some_at,
        durable.sync_file,
        multipart_folder.append,
    )

    def write(fd: int, data: bytes, offset: int) -> int:
        done.append("write")
        return real_write(fd, data, offset)

    def sync(fd: int) -> None:
        done.append("sync")
        real_sync(fd)

    def append(data_dir: Layout, upload_id: str, placed: Placed) -> None:
        done.append("line")
        real_append(data_dir, upload_id, placed)

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            part = await parts.begin_part("a", upload.id, 1, declared, with_sha256=with_sha256)
            with monkeypatch.context() as patch:
                patch.setattr(durable, "write_some_at", write)
                patch.setattr(durable, "sync_file", sync)
                patch.setattr(multipart_folder, "append", append)
                await part.write(A[: MIB // 2])
                if with_sha256:
                    assert await part.sha256() == hashlib.sha256(A[: MIB // 2]).digest()
                await part.write(A[MIB // 2 :])
                if with_sha256:
                    assert await part.sha256() == hashlib.sha256(A).digest()
                placed = await part.commit()
            assert [name for name in done if name != "write"] == ["sync", "line", "sync"]
            assert done.index("sync") == len(done) - 3  # all writes come before it
            await parts.complete_multipart("a", upload.id, [placed], anything)
            assert await store.read("a") == A

    asyncio.run(go())
