"""Parts that come at the same time wait to be hashed in order, and only what counts is in the hash."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Awaitable, Callable

import pytest

from common import durable, ours
from common.checksum import Bytes
from common.errors import BlobkeepError, UnknownUpload
from services.engines.local.disk import multipart_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.multipart_folder import Placed
from services.engines.local.serving import hash_turns, joined_hash, multiparts
from services.engines.local.serving.lent_pieces import PIECE_BYTES
from services.engines.local.serving.multiparts import LocalMultiparts
from services.engines.local.serving.part_upload import LocalPart
from services.store import Content, Multipart, Part
from tests.engines.makers import anything
from tests.store.test_lent_parts import fill
from tests.support import rules
from tests.support.rules import DataDirectory
from tests.support.stores import Opened, opened, until

SIZE = 3 * PIECE_BYTES
BODIES = [os.urandom(SIZE) for _ in range(3)] + [os.urandom(PIECE_BYTES + 12_345)]
WHOLE = b"".join(BODIES)
Test = Callable[[Opened, LocalMultiparts, Multipart], Awaitable[None]]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits does so until the turn comes."""
    for name in ("_BEGIN_S", "_BUSY_S", "_MOST_S"):
        monkeypatch.setattr(hash_turns, name, 600)


@pytest.fixture
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits, but for parts that are read again."""
    monkeypatch.setattr(hash_turns, "_BEGIN_S", 0)
    monkeypatch.setattr(hash_turns, "_BUSY_S", 0)
    monkeypatch.setattr(hash_turns, "_MOST_S", 600)


def run(data: DataDirectory, test: Test) -> None:
    async def main() -> None:
        async with opened(data.root) as made:
            parts = made.store.multiparts
            await test(made, parts, await parts.create_multipart("a", Content()))

    asyncio.run(main())
    assert not rules.broken_rules(data.root)


async def begun(parts: LocalMultiparts, upload: Multipart, number: int, size: int = 0) -> LocalPart:
    return await parts.begin_part("a", upload.id, number, size or len(BODIES[number - 1]))


async def send(part: LocalPart, body: bytes = b"") -> Part:
    await fill(part, body or BODIES[part.place.number - 1])
    return await part.commit()


async def whole(
    made: Opened, parts: LocalMultiparts, upload: Multipart, done: list[Part], body: bytes
) -> None:
    blob, _ = await parts.complete_multipart("a", upload.id, done, anything)
    assert blob.sha256 == hashlib.sha256(body).digest()
    assert await made.read("a") == body


def read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_at(*_: object) -> int:
        raise AssertionError("a part was read again")

    monkeypatch.setattr(joined_hash, "read_at", read_at)


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 3, 2, 1), (2, 4, 1, 3)])
@pytest.mark.usefixtures("patience")
def test_parts_at_the_same_time_are_hashed_in_order_and_none_is_read_again(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    written: list[int] = []
    real = durable.write_some_at

    def note(fd: int, piece: Bytes, offset: int) -> int:
        written.append(offset // SIZE + 1)
        return real(fd, piece, offset)

    async def test(made: Opened, parts: LocalMultiparts, upload: Multipart) -> None:
        await (await begun(parts, upload, 9, SIZE)).abort("it sets the distance of parts")
        monkeypatch.setattr(durable, "write_some_at", note)
        read_nothing(monkeypatch)
        begin = {n: await begun(parts, upload, n) for n in order}
        sending = {n: asyncio.create_task(send(begin[n])) for n in order}
        done = [await sending[n] for n in sorted(order)]
        assert written == sorted(written)
        await whole(made, parts, upload, done, WHOLE)

    run(data, test)


@pytest.mark.usefixtures("haste")
def test_who_does_not_wait_is_read_again(data: DataDirectory) -> None:
    async def test(made: Opened, parts: LocalMultiparts, upload: Multipart) -> None:
        await (await begun(parts, upload, 9, SIZE)).abort("it sets the distance of parts")
        done = {n: await send(await begun(parts, upload, n)) for n in (2, 1, 4, 3)}
        await whole(made, parts, upload, [done[n] for n in sorted(done)], WHOLE)

    run(data, test)


@pytest.mark.usefixtures("haste")
def test_a_part_waits_while_those_before_it_are_read_again(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, read, may_read = ours.read_at, threading.Event(), threading.Event()

    def late(fd: int, view: memoryview, offset: int) -> int:
        assert offset < 2 * SIZE
        read.set()
        assert may_read.wait(60)
        return real(fd, view, offset)

    async def test(made: Opened, parts: LocalMultiparts, upload: Multipart) -> None:
        await (await begun(parts, upload, 9, SIZE)).abort("it sets the distance of parts")
        monkeypatch.setattr(joined_hash, "read_at", late)
        done = {n: await send(await begun(parts, upload, n)) for n in (2, 1)}
        assert await asyncio.to_thread(read.wait, 60)
        third = await begun(parts, upload, 3)
        sending = asyncio.create_task(send(third))
        await until(lambda: third._outgoing.held_bytes == 2 * PIECE_BYTES, "to have all memory full")
        may_read.set()
        done[3] = await sending
        await whole(made, parts, upload, [done[n] for n in (1, 2, 3)], WHOLE[: 3 * SIZE])

    run(data, test)


@pytest.mark.usefixtures("patience")
def test_a_part_that_is_durable_before_the_one_before_it(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, may_sync = durable.sync_file, threading.Event()
    held: list[int] = []

    def late(fd: int) -> None:
        if not held:
            held.append(fd)
            assert may_sync.wait(60)
        real(fd)

    async def test(made: Opened, parts: LocalMultiparts, upload: Multipart) -> None:
        one, two = [await begun(parts, upload, n) for n in (1, 2)]
        read_nothing(monkeypatch)
        monkeypatch.setattr(durable, "sync_file", late)
        first = asyncio.create_task(send(one))
        second = await send(two)
        assert not first.done()
        may_sync.set()
        await whole(made, parts, upload, [await first, second], WHOLE[: 2 * SIZE])

    run(data, test)


@pytest.mark.usefixtures("patience")
def test_what_followed_other_bytes_does_not_count(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first part was hashed, and those after it with it. Then it could not be remembered."""
    real = multipart_folder.append
    failed: list[Placed] = []

    def append(data_dir: Layout, upload_id: str, placed: Placed) -> None:
        if placed.number == 1 and not failed:
            failed.append(placed)
            raise OSError(errno.ENOSPC, "the disk is full")
        real(data_dir, upload_id, placed)

    other = os.urandom(SIZE)

    async def test(made: Opened, parts: LocalMultiparts, upload: Multipart) -> None:
        monkeypatch.setattr(multipart_folder, "append", append)
        begin = [await begun(parts, upload, n) for n in (1, 2, 3)]
        first, *sending = [asyncio.create_task(send(one)) for one in begin]
        with pytest.raises(BlobkeepError):
            await first
        second, third = [await one for one in sending]
        done = [await send(await begun(parts, upload, 1), other), second, third]
        await whole(made, parts, upload, done, other + WHOLE[SIZE : 3 * SIZE])

    run(data, test)
    assert failed


@pytest.mark.usefixtures("patience")
def test_a_part_that_waits_can_be_given_up(data: DataDirectory) -> None:
    async def test(made: Opened, parts: LocalMultiparts, upload: Multipart) -> None:
        _, two = [await begun(parts, upload, n) for n in (1, 2)]
        filling = asyncio.create_task(fill(two, BODIES[1][: 2 * PIECE_BYTES]))
        await until(lambda: two._outgoing.held_bytes == 2 * PIECE_BYTES, "to have all memory full")
        await two.abort("its client left")
        await filling
        assert await parts.list_parts("a", upload.id) == []
        await parts.abort_multipart("a", upload.id)

    run(data, test)


@pytest.mark.usefixtures("patience")
def test_the_hash_of_a_part_that_is_given_up_meanwhile_is_not_told(data: DataDirectory) -> None:
    async def test(_made: Opened, parts: LocalMultiparts, upload: Multipart) -> None:
        _, two = [await begun(parts, upload, n) for n in (1, 2)]
        await fill(two, BODIES[1][:PIECE_BYTES])
        hashing = asyncio.create_task(two.sha256())
        await asyncio.sleep(0)  # it waits for its turn
        await parts.abort_multipart("a", upload.id)
        with pytest.raises(UnknownUpload):
            await hashing

    run(data, test)


@pytest.mark.usefixtures("haste")
def test_a_part_does_not_wait_while_parts_of_other_uploads_are_read(data: DataDirectory) -> None:
    """Two uploads are read at a time, for as long as they have parts: clients of others would give up."""

    async def test(_made: Opened, parts: LocalMultiparts, upload: Multipart) -> None:
        for _ in range(multiparts._FOLLOWERS):
            await parts._followers.acquire()
        named = {number: await send(await begun(parts, upload, number)) for number in (2, 1)}
        following = parts._open[upload.id].following
        assert following is not None
        async with asyncio.timeout(60):
            for number in (4, 3):
                named[number] = await send(await begun(parts, upload, number))
        assert not following.done()
        for _ in range(multiparts._FOLLOWERS):
            parts._followers.release()
        chosen = [named[number] for number in sorted(named)]
        blob, _ = await parts.complete_multipart("a", upload.id, chosen, anything)
        assert blob.sha256 == hashlib.sha256(WHOLE).digest()

    run(data, test)


@pytest.mark.usefixtures("haste")
def test_nobody_waits_for_long(data: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart all parts of an upload are read again: its client must not give up meanwhile."""
    monkeypatch.setattr(hash_turns, "_MOST_S", 0.05)
    real, may_read = ours.read_at, threading.Event()

    def late(fd: int, view: memoryview, offset: int) -> int:
        assert may_read.wait(600)
        return real(fd, view, offset)

    async def test(made: Opened, parts: LocalMultiparts, upload: Multipart) -> None:
        monkeypatch.setattr(joined_hash, "read_at", late)
        done = {n: await send(await begun(parts, upload, n)) for n in (2, 1)}
        try:
            async with asyncio.timeout(60):
                done[3] = await send(await begun(parts, upload, 3))
        finally:
            may_read.set()
        await whole(made, parts, upload, [done[n] for n in (1, 2, 3)], WHOLE[: 3 * SIZE])

    run(data, test)
