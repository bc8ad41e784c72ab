"""Bytes that are received into the memory of their upload: they are whole, and no upload gets another's."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from types import SimpleNamespace

import pytest

from common import durable
from common.checksum import Bytes
from common.errors import NoSpace
from services.engines.local.disk import blob_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.serving import data_writer, lent_pieces, upload
from services.engines.local.serving.data_writer import PAST_CACHE_BYTES
from services.engines.local.serving.lent_pieces import PIECE_BYTES, SPARE_BYTES
from services.engines.local.serving.upload import LocalUpload
from services.store import Content
from tests.engines.makers import anything
from tests.support.disk_calls import WriteAtItsEnd
from tests.support.rules import DataDirectory
from tests.support.stores import Opened, opened, until

BODY = os.urandom(3 * PIECE_BYTES + 12_345)
PAGE = 4096


async def begun(made: Opened, name: str, size: int = 2 * PIECE_BYTES) -> LocalUpload:
    return await made.store.begin(name, anything, Content("a/b"), size)


def fill(of: LocalUpload, byte: bytes) -> bool:
    """Fill the rest of a piece. Returns whether more may come at once."""
    lent = of._outgoing._lent or of.lend()
    assert lent is not None
    room = lent.room()
    assert room is not None
    count = len(room) - SPARE_BYTES
    room[:count] = byte * count
    return lent.filled(count)


@pytest.mark.parametrize("declared_bytes", [len(BODY), PAST_CACHE_BYTES])
@pytest.mark.parametrize("step", [777_777, PIECE_BYTES, PIECE_BYTES + SPARE_BYTES])
@pytest.mark.parametrize("size", [2 * PIECE_BYTES, len(BODY), PIECE_BYTES + 1, PIECE_BYTES + PAGE, PAGE, 1])
def test_bytes_are_whole_and_in_order(data: DataDirectory, size: int, step: int, declared_bytes: int) -> None:
    async def main() -> None:
        async with opened(data.root, "none") as made:
            blob = await made.put_lent("a", BODY[:size], declared_bytes, step)
            assert blob.sha256 == hashlib.sha256(BODY[:size]).digest()
            assert await made.read("a") == BODY[:size]

    asyncio.run(main())


def test_four_uploads_have_such_memory_and_give_it_back(data: DataDirectory) -> None:
    async def main() -> None:
        async with opened(data.root, "none") as made:
            for _ in range(3):
                uploads = [await begun(made, str(number)) for number in range(5)]
                assert [upload.lend() is not None for upload in uploads] == [True] * 4 + [False]
                for number, ends in enumerate(uploads[:4]):
                    assert fill(ends, b"x")
                    if number % 2:
                        await ends.commit()
                    else:
                        await ends.abort("enough")
                    lent = ends._outgoing._lent
                    assert lent is not None
                    assert lent.room() is None  # another's now
                await uploads[4].abort("enough")

    asyncio.run(main())


def test_a_file_has_no_more_bytes_than_came(data: DataDirectory) -> None:
    """Room was made for what was declared."""

    async def main() -> None:
        async with opened(data.root, "none") as made:
            blob = await made.put_lent("a", BODY, PAST_CACHE_BYTES)
            assert os.stat(made.data_dir.data(int(blob.id))).st_size == len(BODY)

    asyncio.run(main())


@pytest.mark.parametrize("lack", [OSError(errno.ENOMEM, "no memory"), MemoryError()])
def test_an_upload_for_which_there_is_no_such_memory_goes_the_usual_way(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, lack: Exception
) -> None:
    def fail(fd: int, size: int) -> None:
        raise lack

    async def main() -> None:
        async with opened(data.root, "none") as made:
            with monkeypatch.context() as patch:
                patch.setattr(lent_pieces, "mmap", SimpleNamespace(mmap=fail))
                uploads = [await begun(made, str(number), len(BODY)) for number in range(5)]
                assert [upload.lend() for upload in uploads] == [None] * 5
            for upload in uploads:
                await upload.write(BODY)
                await upload.commit()
            assert await made.read("4") == BODY
            again = [await begun(made, str(number)) for number in range(5)]
            assert [upload.lend() is not None for upload in again] == [True] * 4 + [False]
            for upload in again:
                await upload.abort("enough")

    asyncio.run(main())


def test_a_small_body_or_one_that_has_begun_lends_nothing(data: DataDirectory) -> None:
    async def main() -> None:
        async with opened(data.root, "none") as made:
            small = await begun(made, "a", 1 << 20)
            unknown = await made.store.begin("c", anything, Content("a/b"), None)
            has_begun = await begun(made, "b")
            await has_begun.write(b"x")
            for of in (small, unknown, has_begun):
                assert of.lend() is None
                await of.abort("enough")

    asyncio.run(main())


def test_memory_that_is_being_written_is_nobody_elses(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client went away, and the disk is slow."""
    writing, go_on = threading.Event(), threading.Event()
    written: list[bytes] = []
    real = durable.write_some_at

    def slow(fd: int, piece: Bytes, at: int) -> int:
        if not writing.is_set() and len(piece) == PIECE_BYTES:
            writing.set()
            assert go_on.wait(60)
            written.append(bytes(piece[:1]))
        return real(fd, piece, at)

    async def main() -> None:
        async with opened(data.root, "none") as made:
            monkeypatch.setattr(durable, "write_some_at", slow)
            first = await begun(made, "a")
            assert fill(first, b"1")
            assert await asyncio.to_thread(writing.wait, 60)
            ending = asyncio.ensure_future(first.abort("its client went away"))
            await asyncio.sleep(0)
            others = [await begun(made, f"b{number}") for number in range(4)]
            assert [other.lend() is None for other in others] == [False] * 3 + [True]
            for other in others[:3]:
                fill(other, b"2")
            go_on.set()
            await ending
            for other in others:
                await other.abort("enough")
        assert written == [b"1"]

    asyncio.run(main())


def test_a_piece_is_not_filled_again_before_it_is_written(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    real = durable.write_some_at

    def slow(fd: int, piece: Bytes, at: int) -> int:
        assert go_on.wait(60)
        return real(fd, piece, at)

    async def main() -> None:
        async with opened(data.root, "none") as made:
            monkeypatch.setattr(durable, "write_some_at", slow)
            of = await begun(made, "a", 3 * PIECE_BYTES)
            assert fill(of, b"1")
            assert not fill(of, b"2")  # the first is not written
            assert of._outgoing._lent is not None
            more = asyncio.ensure_future(of._outgoing._lent.more())
            for _ in range(20):
                await asyncio.sleep(0)
            assert not more.done()
            go_on.set()
            await more
            fill(of, b"3")
            await of.commit()
            assert await made.read("a") == b"".join(byte * PIECE_BYTES for byte in (b"1", b"2", b"3"))

    asyncio.run(main())


def test_a_slow_one_is_shown_as_pending_without_its_last_piece(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "STAGE_AFTER_S", 0.0)

    async def main() -> None:
        async with opened(data.root) as made:
            of = await begun(made, "a")
            lent = of.lend()
            assert lent is not None
            room = lent.room()
            assert room is not None
            room[:3] = b"one"
            assert lent.filled(3)
            while not of.is_staged:  # noqa: ASYNC110 - the timer's work
                await asyncio.sleep(0.001)
            assert fill(of, b"x")
            assert await of.sha256() == hashlib.sha256(b"one" + b"x" * (PIECE_BYTES - 3)).digest()
            blob, _ = await of.commit()
            assert [event.message for event in blob_folder.read_record(made.data_dir, blob.id).events][
                1::2
            ] == ["Starting Data WR"]

    asyncio.run(main())


def test_a_piece_that_found_no_room_fails_the_upload(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = durable.write_some_at
    left = [2]

    def write(fd: int, piece: Bytes, at: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, piece, at)

    async def main() -> None:
        async with opened(data.root, "none") as made:
            monkeypatch.setattr(durable, "write_some_at", write)
            monkeypatch.setattr(durable, "_begin_write", WriteAtItsEnd)
            with pytest.raises(NoSpace):
                await made.put_lent("a", BODY * 2, PAST_CACHE_BYTES)
            monkeypatch.setattr(durable, "write_some_at", real)
            assert await made.read("a") is None
            for number in range(9):  # all memory was given back
                await made.put_lent(str(number), BODY[:100], PAST_CACHE_BYTES)

    asyncio.run(main())


@pytest.mark.parametrize("told", [False, True])
def test_the_last_piece_that_could_not_be_written_fails_the_commit(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """It is written behind what comes, so nobody may have seen the error. Only ours were remembered: after
    another one a blob without the piece was acknowledged. `told`: who brings the next piece sees it."""
    pieces = []

    def lost(writer: data_writer.DataWriter, some: list[Bytes], *, last: bool) -> None:
        pieces.append(len(some))
        raise MemoryError

    async def main() -> None:
        async with opened(data.root, "none") as made:
            upload = await begun(made, "a", PIECE_BYTES + 9)
            with monkeypatch.context() as patch:
                patch.setattr(data_writer.DataWriter, "append", lost)
                assert fill(upload, b"x")
                await until(
                    lambda: upload._outgoing._behind is not None and upload._outgoing._behind.done(),
                    "it has failed",
                )
            assert pieces
            if told:
                with pytest.raises(MemoryError):
                    await upload._outgoing.write_next()
            with pytest.raises(MemoryError):
                await upload.commit()
            assert await made.read("a") is None

    asyncio.run(main())


@pytest.mark.parametrize("asks", [False, True])
def test_the_first_piece_is_in_the_blob_though_it_is_still_being_written_at_the_commit(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    """A body of 1 MiB and a few bytes: these alone were acknowledged as the blob, from memory."""
    begun_, go_on = threading.Event(), threading.Event()
    real = blob_folder.stage
    body = BODY[: PIECE_BYTES + 1]

    def slow(data_dir: Layout, pending: BlobRecord) -> int:
        begun_.set()
        assert go_on.wait(60)
        return real(data_dir, pending)

    async def main() -> None:
        async with opened(data.root, "none") as made:
            monkeypatch.setattr(blob_folder, "stage", slow)
            upload = await begun(made, "a", len(body))
            lent = upload.lend()
            assert lent is not None
            for piece in (body[:PIECE_BYTES], body[PIECE_BYTES:]):
                room = lent.room()
                assert room is not None
                room[: len(piece)] = piece
                assert lent.filled(len(piece))
                await until(begun_.is_set, "the first piece is being written")
            asyncio.get_running_loop().call_later(0.2, go_on.set)
            if asks:
                assert await upload.sha256() == hashlib.sha256(body).digest()
            blob, _ = await upload.commit()
            assert blob.size == len(body)
            assert await made.read("a") == body

    asyncio.run(main())
