"""A large upload is written past the page cache, while its pieces are hashed."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from typing import Any

import pytest

from common import durable
from common.checksum import Bytes, Hasher
from services.engines.local.disk.past_cache import set_past_cache
from services.engines.local.serving.data_writer import PAST_CACHE_BYTES
from services.engines.local.serving.lent_pieces import PIECE_BYTES
from tests.store.test_lent_pieces import BODY, PAGE, begun, fill
from tests.support.disk_calls import WriteAtItsEnd
from tests.support.rules import DataDirectory
from tests.support.stores import opened


def is_past_cache(fd: int) -> bool:
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)


def can_go_past_cache(folder: str) -> bool:
    """Whether the file system does. Leaves a file there."""
    fd = os.open(folder + "/probe", os.O_CREAT | os.O_WRONLY)
    try:
        return set_past_cache(fd, True)
    finally:
        os.close(fd)


def test_only_a_large_blob_goes_past_the_page_cache(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    past: list[bool] = []
    real = durable.write_some_at

    def note(fd: int, piece: Bytes, at: int) -> int:
        if len(piece) >= 3 * PAGE:  # else a state, or the end that is no whole page
            past.append(is_past_cache(fd))
        return real(fd, piece, at)

    async def main() -> None:
        async with opened(data.root, "none") as made:
            possible = can_go_past_cache(data.root)
            monkeypatch.setattr(durable, "write_some_at", note)
            monkeypatch.setattr(durable, "_begin_write", WriteAtItsEnd)
            await made.put_lent("a", BODY, PAST_CACHE_BYTES - 1)
            assert past == [False] * 4
            past.clear()
            await made.put_lent("b", BODY, PAST_CACHE_BYTES)
            assert past == [possible] * 4

    asyncio.run(main())


@pytest.mark.parametrize("begin", [WriteAtItsEnd, lambda *_: None])
@pytest.mark.parametrize("refused", [1, 2, 4])
def test_what_a_file_system_refuses_past_the_page_cache_goes_through_it(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, refused: int, begin: Any
) -> None:
    """Also if it took a part: so many calls may go past the cache before it refuses."""
    calls = []
    real = durable.write_some_at

    def write(fd: int, piece: Bytes, at: int) -> int:
        if not is_past_cache(fd):
            return real(fd, piece, at)
        calls.append(len(piece))
        if len(calls) >= refused:
            raise OSError(errno.EINVAL, "not so")
        return real(fd, memoryview(piece)[: len(piece) // 2 // PAGE * PAGE], at)

    async def main() -> None:
        async with opened(data.root, "none") as made:
            monkeypatch.setattr(durable, "write_some_at", write)
            monkeypatch.setattr(durable, "_begin_write", begin)
            await made.put_lent("a", BODY, PAST_CACHE_BYTES)
            assert await made.read("a") == BODY

    asyncio.run(main())
    assert len(calls) in (refused, refused + 1, 0)  # 0: on this file system nothing goes past the cache


def test_a_piece_is_hashed_while_the_kernel_writes_it(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one core the disk had nothing to do meanwhile. Nothing else is written but the last page."""
    steps: list[str] = []
    real_hash, real_write = Hasher.update, durable.write_some_at

    class Begun(WriteAtItsEnd):
        def __init__(self, fd: int, piece: Bytes, at: int) -> None:
            super().__init__(fd, piece, at)
            steps.append("begun")

        def wait(self) -> int:
            steps.append("over")
            return super().wait()

    def note(of: Hasher, piece: Bytes) -> None:
        steps.append("hashed")
        real_hash(of, piece)

    def write(fd: int, piece: Bytes, at: int) -> int:
        steps.append("written")
        return real_write(fd, piece, at)

    async def main() -> None:
        async with opened(data.root, "none") as made:
            if not can_go_past_cache(data.root):
                pytest.skip("this file system writes through the page cache alone")
            monkeypatch.setattr(durable, "_begin_write", Begun)
            monkeypatch.setattr(durable, "write_some_at", write)
            monkeypatch.setattr(Hasher, "update", note)
            await made.put_lent("a", BODY, PAST_CACHE_BYTES)
            of_a_piece = ["begun", "hashed", "over", "written"]
            assert steps == of_a_piece * 4 + ["written"]  # the rest that is no page

    asyncio.run(main())


def test_memory_is_the_disks_until_its_write_is_over(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the piece could not be hashed: the memory is another upload's after that."""
    over: list[int] = []

    class Begun(WriteAtItsEnd):
        def wait(self) -> int:
            over.append(super().wait())
            return over[-1]

    def fail(of: Hasher, piece: Bytes) -> None:
        raise MemoryError

    async def main() -> None:
        async with opened(data.root, "none") as made:
            monkeypatch.setattr(durable, "_begin_write", Begun)
            with monkeypatch.context() as patch:
                patch.setattr(Hasher, "update", fail)
                upload = await begun(made, "a", PAST_CACHE_BYTES)
                fill(upload, b"x")
                with pytest.raises(MemoryError):
                    await upload.commit()
            assert over == [PIECE_BYTES]

    asyncio.run(main())
