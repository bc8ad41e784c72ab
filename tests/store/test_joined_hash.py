"""The hash of an upload in parts: parts that come in order are hashed as they come, others are read again."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from common import ours
from common.errors import UnknownUpload
from services.engines.local.serving import joined_hash
from services.store import Content, Multiparts, Part
from tests.engines.makers import anything
from tests.engines.test_multiparts import send
from tests.store.test_multiparts import number, three_parts
from tests.support import rules
from tests.support.stores import opened, until

MIB = 1 << 20
BODIES = [os.urandom(2 * MIB), os.urandom(2 * MIB), os.urandom(2 * MIB), os.urandom(MIB + 5)]
WHOLE = b"".join(BODIES)


class Counted:
    """As hashlib's object; counts the bytes of all of them."""

    def __init__(self, made: Any, count: list[int]) -> None:
        self._made = made
        self._count = count

    def update(self, data: bytes) -> None:
        self._count[0] += len(data)
        self._made.update(data)

    def digest(self) -> bytes:
        return bytes(self._made.digest())

    def hexdigest(self) -> str:
        return str(self._made.hexdigest())

    def copy(self) -> Counted:
        return Counted(self._made.copy(), self._count)


async def part_of(parts: Multiparts, upload_id: str, number: int, body: bytes, *, hashed: bool) -> Part:
    one = await parts.begin_part("a", upload_id, number, len(body), with_sha256=hashed)
    for at in range(0, len(body), 300_000):
        await one.write(body[at : at + 300_000])
    return await one.commit()


@pytest.mark.parametrize("hashed", [False, True])
def test_parts_in_order_are_not_read_again_and_the_first_is_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: bool
) -> None:
    real, count = hashlib.sha256, [0]

    def read_at(*_: object) -> int:
        raise AssertionError("a part was read again")

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            monkeypatch.setattr(hashlib, "sha256", lambda data=b"": Counted(real(data), count))
            monkeypatch.setattr(joined_hash, "read_at", read_at)
            upload = await parts.create_multipart("a", Content())
            done = [
                await part_of(parts, upload.id, n, body, hashed=hashed) for n, body in enumerate(BODIES, 1)
            ]
            assert count[0] == (2 * len(WHOLE) - len(BODIES[0]) if hashed else len(WHOLE))
            digests = [real(body).digest() if hashed else b"" for body in BODIES]
            assert [part.sha256 for part in done] == digests
            blob, _ = await parts.complete_multipart("a", upload.id, done, anything)
            monkeypatch.undo()
            assert blob.sha256 == real(WHOLE).digest()
            assert await store.read("a") == WHOLE

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


@pytest.mark.parametrize("written", [300_000, 2 * MIB])
def test_a_part_that_was_given_up_is_in_no_hash(tmp_path: Path, written: int) -> None:
    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            done = [await send(parts, upload, 1, BODIES[0])]
            left = await parts.begin_part("a", upload.id, 2, 2 * MIB)
            await left.write(b"x" * written)
            await left.sha256()  # so that it is on disk, and hashed
            await left.abort("its client left")
            done += [await send(parts, upload, n, BODIES[n - 1]) for n in (2, 3, 4)]
            blob, _ = await parts.complete_multipart("a", upload.id, done, anything)
            assert blob.sha256 == hashlib.sha256(WHOLE).digest()
            assert await store.read("a") == WHOLE

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_a_second_writer_of_a_part_is_not_taken_for_the_first(tmp_path: Path) -> None:
    """Two clients send part 2 at a time: the later answer counts, which is that of the first to begin."""

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            await send(parts, upload, 1, BODIES[0])
            one = await parts.begin_part("a", upload.id, 2, 2 * MIB)
            two = await parts.begin_part("a", upload.id, 2, 2 * MIB)
            await one.write(BODIES[1])
            await two.write(BODIES[2])
            await two.commit()
            await one.commit()
            await send(parts, upload, 3, BODIES[3])
            listed = await parts.list_parts("a", upload.id)
            blob, _ = await parts.complete_multipart("a", upload.id, listed, anything)
            whole = BODIES[0] + BODIES[1] + BODIES[3]
            assert blob.sha256 == hashlib.sha256(whole).digest()
            assert await store.read("a") == whole

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_a_part_that_began_before_the_one_before_it_is_read_again(tmp_path: Path) -> None:
    """It comes to be the next while its bytes come."""

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            second = await parts.begin_part("a", upload.id, 2, 2 * MIB)
            await second.write(BODIES[1][:MIB])
            first = await send(parts, upload, 1, BODIES[0])
            await second.write(BODIES[1][MIB:])
            done = [first, await second.commit()]
            blob, _ = await parts.complete_multipart("a", upload.id, done, anything)
            assert blob.sha256 == hashlib.sha256(BODIES[0] + BODIES[1]).digest()

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


@pytest.mark.parametrize("seed", range(12))
def test_parts_that_come_together_in_any_order_are_hashed_right(tmp_path: Path, seed: int) -> None:
    """Some are sent again, some are given up, and the server starts again in between."""
    chance = random.Random(seed)

    async def client(parts: Multiparts, upload_id: str, numbers: list[int]) -> None:
        while numbers:
            n = numbers.pop()
            for last in (chance.random() < 0.7, True):
                one = await parts.begin_part("a", upload_id, n, len(BODIES[n - 1]))
                body = BODIES[n - 1] if last else os.urandom(len(BODIES[n - 1]))
                at = 0
                while at < len(body):
                    size = chance.randrange(1, MIB)
                    await one.write(body[at : at + size])
                    at += size
                    await asyncio.sleep(0)
                if not last and chance.random() < 0.5:
                    await one.abort("its client left")
                else:
                    await one.commit()

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            order = chance.choice(([1, 2, 3, 4], [2, 1, 4, 3], [4, 3, 2, 1]))
            first, rest = order[:2], order[2:]
            await asyncio.gather(*(client(parts, upload.id, first) for _ in range(2)))
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            await asyncio.gather(*(client(parts, upload.id, rest) for _ in range(2)))
            done = sorted(await parts.list_parts("a", upload.id), key=number)
            blob, _ = await parts.complete_multipart("a", upload.id, done, anything)
            assert blob.sha256 == hashlib.sha256(WHOLE).digest()
            assert await store.read("a") == WHOLE
            with pytest.raises(UnknownUpload):
                await parts.find_multipart("a", upload.id)

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_a_part_that_is_sent_again_while_its_damage_is_found_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one was forgotten in place of the damaged one, though it was acknowledged."""
    begun, go_on = threading.Event(), threading.Event()
    real = ours.read_at

    def slow(fd: int, view: memoryview, at: int) -> int:
        begun.set()
        assert go_on.wait(60)
        got = real(fd, view, at)
        view[0] ^= 4
        return got

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            upload, _ = await three_parts(store)
        monkeypatch.setattr(joined_hash, "read_at", slow)  # from the restart on
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            await until(begun.is_set, "the parts are being read")
            again = await send(parts, upload, 1, BODIES[1])
            go_on.set()
            following = parts._open[upload.id].following
            assert following is not None
            await asyncio.wait([following])
            listed = await parts.list_parts("a", upload.id)
            assert (listed[0].number, listed[0].id) == (1, again.id)
            await parts.complete_multipart("a", upload.id, listed[:1], anything)
            assert await store.read("a") == BODIES[1]

    asyncio.run(go())
