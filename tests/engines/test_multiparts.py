"""Uploads in parts, over every engine: in the engine's own way, or with parts that are blobs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time

import pytest

from common.errors import AlreadyExists, PartsChanged, UnknownUpload
from services.frontends.s3.parts_in_blobs import parts_of
from services.store import UPLOAD_ID, Content, Multipart, Multiparts, Part
from tests.engines.makers import Maker, Under, anything, only_new, run

MIB = 1 << 20
A, B, C = os.urandom(2 * MIB), os.urandom(2 * MIB), os.urandom(MIB + 77)


async def send(
    parts: Multiparts, upload: Multipart, number: int, body: bytes, declared: int | None = -1
) -> Part:
    size = len(body) if declared == -1 else declared
    one = await parts.begin_part(upload.location, upload.id, number, size)
    for at in range(0, len(body), 300_000):
        await one.write(body[at : at + 300_000])
    assert await one.sha256() == hashlib.sha256(body).digest()
    return await one.commit({".tag": f"of {number}"})


async def begun(under: Under, location: str = "a/b") -> tuple[Multiparts, Multipart]:
    parts = parts_of(under.store)
    content = Content("text/x", "", {"cache-control": "no-store"})
    return parts, await parts.create_multipart(location, content)


async def gone(parts: Multiparts, upload: Multipart) -> bool:
    try:
        await parts.find_multipart(upload.location, upload.id)
    except UnknownUpload:
        return True
    return False


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_parts_in_any_order_become_the_blob(engine: Maker, order: tuple[int, ...]) -> None:
    async def go(under: Under) -> None:
        parts, upload = await begun(under)
        bodies = {1: A, 2: B, 3: C}
        for number in order:
            await send(parts, upload, number, bodies[number])
        listed = await parts.list_parts("a/b", upload.id)
        assert [(p.number, p.size, p.attributes[".tag"]) for p in listed] == [
            (1, 2 * MIB, "of 1"),
            (2, 2 * MIB, "of 2"),
            (3, MIB + 77, "of 3"),
        ]
        assert await under.get("a/b") is None
        blob, replaced = await parts.complete_multipart("a/b", upload.id, listed, anything, {".more": "x"})
        assert not replaced
        assert blob.sha256 == hashlib.sha256(A + B + C).digest()
        assert (blob.type, blob.metadata["cache-control"], blob.metadata[".more"]) == (
            "text/x",
            "no-store",
            "x",
        )
        assert blob.metadata[UPLOAD_ID] == upload.id
        assert await under.get("a/b") == A + B + C
        assert await gone(parts, upload)
        assert await under.names() == ["a/b"]

    run(engine, go)


def test_parts_of_any_sizes_some_left_out_and_one_sent_again(engine: Maker) -> None:
    async def go(under: Under) -> None:
        parts, upload = await begun(under)
        await send(parts, upload, 1, A)
        second = await send(parts, upload, 2, B)
        await send(parts, upload, 5, C, None)
        await send(parts, upload, 9, b"not named")
        again = await send(parts, upload, 2, C)  # shorter, and in the place of the first
        assert again.id != second.id
        listed = {part.number: part for part in await parts.list_parts("a/b", upload.id)}
        assert listed[2] == again
        with pytest.raises(PartsChanged):
            await parts.complete_multipart("a/b", upload.id, [listed[1], second], anything)
        await parts.complete_multipart("a/b", upload.id, [listed[1], listed[2], listed[5]], anything)
        assert await under.get("a/b") == A + C + C

    run(engine, go)


def test_a_condition_that_fails_leaves_the_upload_as_it_was(engine: Maker) -> None:
    async def go(under: Under) -> None:
        parts, upload = await begun(under)
        one = await send(parts, upload, 1, A)
        await under.put("a/b", b"there")
        with pytest.raises(AlreadyExists):
            await parts.complete_multipart("a/b", upload.id, [one], only_new)
        assert await under.get("a/b") == b"there"
        two = await send(parts, upload, 2, C)
        _, replaced = await parts.complete_multipart("a/b", upload.id, [one, two], anything)
        assert replaced
        assert await under.get("a/b") == A + C
        with pytest.raises(UnknownUpload):
            await parts.complete_multipart("a/b", upload.id, [one, two], anything)

    run(engine, go)


def test_abort_and_parts_that_come_too_late(engine: Maker) -> None:
    async def go(under: Under) -> None:
        parts, upload = await begun(under)
        await send(parts, upload, 1, A)
        late = await parts.begin_part("a/b", upload.id, 2, len(B))
        await late.write(B[:MIB])
        await parts.abort_multipart("a/b", upload.id)

        async def go_on() -> None:
            await late.write(B[MIB:])
            await late.commit()

        with pytest.raises(UnknownUpload):
            await go_on()
        assert await gone(parts, upload)
        with pytest.raises(UnknownUpload):
            await parts.begin_part("a/b", upload.id, 3, 1)
        with pytest.raises(UnknownUpload):
            await parts.find_multipart("another", upload.id)
        assert await under.get("a/b") is None

    run(engine, go)


def test_a_part_of_an_upload_that_is_over_is_not_said_to_have_other_bytes(engine: Maker) -> None:
    """Its client would be told that what it sent is not what it signed."""

    async def go(under: Under) -> None:
        parts, upload = await begun(under)
        late = await parts.begin_part("a/b", upload.id, 1, len(B))
        await late.write(B[:300_000])
        await parts.abort_multipart("a/b", upload.id)
        with contextlib.suppress(UnknownUpload):
            assert await late.sha256() == hashlib.sha256(B[:300_000]).digest()
        with pytest.raises(UnknownUpload):
            await late.commit()

    run(engine, go)


def test_lists_of_uploads_and_many_parts_at_once(engine: Maker) -> None:
    async def go(under: Under) -> None:
        parts = parts_of(under.store)
        made = [await parts.create_multipart(at, Content()) for at in ("p/b", "p/a", "q/c", "p/b")]
        keys = sorted((one.location, one.id) for one in made)
        found = await parts.list_multiparts("", ("", ""), 10)
        assert [(one.location, one.id) for one in found] == keys
        rest = await parts.list_multiparts("p/", keys[0], 1)
        assert [(one.location, one.id) for one in rest] == keys[1:2]
        bodies = [os.urandom(MIB) for _ in range(6)]
        await asyncio.gather(*(send(parts, made[0], n, body) for n, body in enumerate(bodies, 1)))
        done = await parts.list_parts("p/b", made[0].id)
        blob, _ = await parts.complete_multipart("p/b", made[0].id, done, anything)
        assert blob.sha256 == hashlib.sha256(b"".join(bodies)).digest()

    run(engine, go)


def test_uploads_of_which_nothing_is_heard_are_dropped(
    engine: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(under: Under) -> None:
        real = time.time_ns
        with monkeypatch.context() as past:
            past.setattr(time, "time_ns", lambda: real() - 1000 * 10**9)
            parts, upload = await begun(under)
            _, silent = await begun(under)
        await send(parts, upload, 1, A)
        assert await parts.sweep(500.0) == 1
        assert await gone(parts, silent)
        assert not await gone(parts, upload)
        assert await parts.sweep(0.0) == 1
        assert await gone(parts, upload)

    run(engine, go)
