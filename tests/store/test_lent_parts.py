"""Parts whose bytes are received into memory of theirs: they are whole, and no part gets another's bytes."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading

import pytest

from common import durable
from common.checksum import Bytes
from common.errors import BlobkeepError, StorageFailed
from services.engines.local.serving import multiparts, part_upload
from services.engines.local.serving.lent_pieces import PIECE_BYTES, SPARE_BYTES
from services.engines.local.serving.part_upload import LocalPart
from services.store import Content
from tests.engines.makers import anything
from tests.store.test_past_cache import can_go_past_cache, is_past_cache
from tests.support import rules, stores
from tests.support.disk_calls import WriteAtItsEnd
from tests.support.rules import DataDirectory
from tests.support.stores import opened

BODY = os.urandom(3 * PIECE_BYTES + 12_345)
PART = 4 * PIECE_BYTES
WHOLE_PART = BODY.ljust(PART, b".")


async def fill(part: LocalPart, body: bytes, step: int = PIECE_BYTES) -> None:
    """Put `body` into the memory that the part lends, `step` bytes at a time."""
    lent = part._outgoing._lent or part.lend()
    assert lent is not None
    await stores.fill(lent, body, step)


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("step", [777_777, PIECE_BYTES, PIECE_BYTES + SPARE_BYTES])
@pytest.mark.parametrize("past_cache_bytes", [part_upload.PAST_CACHE_BYTES, PART, 1])
def test_parts_are_whole_and_in_order(
    data: DataDirectory,
    monkeypatch: pytest.MonkeyPatch,
    cpus: int,
    past_cache_bytes: int,
    step: int,
    hashed: bool,
    order: tuple[int, int],
) -> None:
    """Neither of them, the larger one, or both go past the page cache, beside each other in one file."""
    monkeypatch.setattr(part_upload, "PAST_CACHE_BYTES", past_cache_bytes)
    monkeypatch.setattr(multiparts, "usable_cpus", lambda: cpus)
    bodies = {1: WHOLE_PART, 2: BODY}

    async def main() -> None:
        async with opened(data.root) as made:
            parts = made.store.multiparts
            upload = await parts.create_multipart("a", Content())
            await (await parts.begin_part("a", upload.id, 9, PART)).abort("it sets the distance of parts")
            done = {}
            for n in order:
                part = await parts.begin_part("a", upload.id, n, len(bodies[n]), with_sha256=hashed)
                await fill(part, bodies[n], step)
                if hashed:
                    assert await part.sha256() == hashlib.sha256(bodies[n]).digest()
                done[n] = await part.commit()
            blob, _ = await parts.complete_multipart("a", upload.id, [done[1], done[2]], anything)
            assert blob.sha256 == hashlib.sha256(WHOLE_PART + BODY).digest()
            assert await made.read("a") == WHOLE_PART + BODY

    asyncio.run(main())
    assert not rules.broken_rules(data.root)


def test_only_a_large_part_in_its_place_goes_past_the_page_cache(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    past: list[bool] = []
    real = durable.write_some_at

    def note(fd: int, piece: Bytes, offset: int) -> int:
        past.append(is_past_cache(fd))
        return real(fd, piece, offset)

    async def main() -> None:
        async with opened(data.root) as made:
            possible = can_go_past_cache(data.root)
            parts = made.store.multiparts
            upload = await parts.create_multipart("a", Content())
            monkeypatch.setattr(durable, "write_some_at", note)
            monkeypatch.setattr(durable, "_begin_write", WriteAtItsEnd)
            size = part_upload.PAST_CACHE_BYTES
            # In its place; not the next in order; sent again, in a file of its own; a smaller one.
            for number, part_size, goes in (
                *((1, size, possible), (3, size, False)),
                *((1, size, False), (2, PART, False)),
            ):
                past.clear()
                part = await parts.begin_part("a", upload.id, number, part_size)
                await fill(part, b"x" * part_size)
                await part.commit()
                assert past == [goes] * (part_size // PIECE_BYTES)

    asyncio.run(main())


def test_four_parts_have_such_memory_and_give_it_back(data: DataDirectory) -> None:
    async def main() -> None:
        async with opened(data.root) as made:
            parts = made.store.multiparts
            upload = await parts.create_multipart("a", Content())
            for aborts in (True, False, True):
                begun = [await parts.begin_part("a", upload.id, n, PART) for n in range(1, 6)]
                assert [part.lend() is not None for part in begun] == [True] * 4 + [False]
                for part in begun[:4]:
                    await fill(part, BODY)
                for part in begun:
                    await (part.abort("its client left") if aborts else part.commit())

    asyncio.run(main())


def test_memory_that_is_being_written_is_given_to_nobody(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun, may_write = durable.write_some_at, threading.Event(), threading.Event()

    def late(fd: int, piece: Bytes, offset: int) -> int:
        begun.set()
        assert may_write.wait(60)
        return real(fd, piece, offset)

    async def main() -> None:
        async with opened(data.root) as made:
            parts, memory = made.store.multiparts, made.store.piece_memory
            upload = await parts.create_multipart("a", Content())
            part = await parts.begin_part("a", upload.id, 1, PART)
            monkeypatch.setattr(durable, "write_some_at", late)
            await fill(part, BODY[:PIECE_BYTES])
            assert await asyncio.to_thread(begun.wait, 60)
            ending = asyncio.create_task(part.abort("its client left"))
            await asyncio.sleep(0)
            lent = [memory.lend() for _ in range(4)]
            assert lent[3] is None
            may_write.set()
            await ending
            assert memory.lend() is not None

    asyncio.run(main())


def test_a_piece_that_could_not_be_written_fails_the_commit(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = durable.write_some_at

    def failing(fd: int, piece: Bytes, offset: int) -> int:
        if offset == PIECE_BYTES:
            raise OSError(errno.EIO, "the disk failed")
        return real(fd, piece, offset)

    async def main() -> None:
        async with opened(data.root) as made:
            parts = made.store.multiparts
            upload = await parts.create_multipart("a", Content())
            part = await parts.begin_part("a", upload.id, 1, PART)
            monkeypatch.setattr(durable, "write_some_at", failing)
            try:
                await fill(part, WHOLE_PART)
            except BlobkeepError:  # told here, or by the commit
                await part.abort("the disk failed")
            else:
                with pytest.raises(StorageFailed):
                    await part.commit()
            monkeypatch.setattr(durable, "write_some_at", real)
            assert await parts.list_parts("a", upload.id) == []
            assert [made.store.piece_memory.lend() is not None for _ in range(5)] == [True] * 4 + [False]

    asyncio.run(main())


def test_a_part_that_cannot_even_be_given_up_keeps_no_upload_from_its_end(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(_part: LocalPart) -> None:
        raise MemoryError

    async def main() -> None:
        async with opened(data.root) as made:
            parts = made.store.multiparts
            upload = await parts.create_multipart("a", Content())
            one = await (await parts.begin_part("a", upload.id, 1, 0)).commit()
            part = await parts.begin_part("a", upload.id, 2, len(BODY))
            with monkeypatch.context() as short:
                short.setattr(LocalPart, "_forget", no_memory)
                with pytest.raises(MemoryError):
                    await part.abort("its client left")
            assert not parts.writing()
            async with asyncio.timeout(60):
                await parts.complete_multipart("a", upload.id, [one], anything)

    asyncio.run(main())
