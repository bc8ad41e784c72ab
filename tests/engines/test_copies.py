"""Copies and moves on the server, over every engine."""

from __future__ import annotations

import asyncio
import os

import pytest

from common.errors import AlreadyExists, NotFound, PreconditionFailed
from services.store import Blob, Condition, Content
from tests.engines.makers import Maker, Under, anything, only_new, run

SAID = Content("text/x", "gzip", {"x-meta-a": "1", ".of": "the bytes"})
SIZES = [0, 1, 70_000, 3 << 20]


@pytest.mark.parametrize("size", SIZES)
def test_a_copy_has_the_bytes_and_what_was_said_of_them(engine: Maker, size: int) -> None:
    body = os.urandom(size)

    async def go(under: Under) -> None:
        await under.put("a/s", body, content=SAID)
        blob, replaced = await under.store.copy("a/s", anything, "b/t", anything, None)
        assert not replaced
        assert (blob.location, blob.size, blob.type, blob.encoding) == ("b/t", size, "text/x", "gzip")
        assert dict(blob.metadata) == dict(SAID.metadata)
        assert await under.get("b/t") == await under.get("a/s") == body
        other = Content("text/y", "", {"x-meta-b": "2"})
        blob, replaced = await under.store.copy("a/s", anything, "a/s", anything, other)  # onto itself
        assert replaced
        assert (blob.type, dict(blob.metadata)) == ("text/y", {"x-meta-b": "2", ".of": "the bytes"})
        await under.store.delete("a/s", anything)
        assert await under.get("b/t") == body

    run(engine, go)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_there", [False, True])
def test_a_move_leaves_nothing_behind(engine: Maker, size: int, is_there: bool) -> None:
    body = os.urandom(size)

    async def go(under: Under) -> None:
        await under.put("s", body, content=SAID)
        if is_there:
            await under.put("t", b"old")
        blob, replaced = await under.store.copy("s", anything, "t", anything, None, move=True)
        assert replaced == is_there
        assert dict(blob.metadata) == dict(SAID.metadata)
        assert await under.get("t") == body
        assert await under.get("s") is None
        assert await under.names() == ["t"]
        await under.store.copy("t", anything, "t", anything, None, move=True)  # onto itself, which is a copy
        assert await under.get("t") == body

    run(engine, go)


@pytest.mark.parametrize("move", [False, True])
def test_conditions_of_both_sides(engine: Maker, move: bool) -> None:
    def refuse(blob: Blob | None, damaged: bool) -> None:
        assert blob is not None
        assert blob.location == "s"
        raise PreconditionFailed("not this one")

    async def go(under: Under) -> None:
        await under.put("s", b"source")
        await under.put("t", b"target")
        with pytest.raises(PreconditionFailed):
            await under.store.copy("s", refuse, "t", anything, None, move=move)
        with pytest.raises(AlreadyExists):
            await under.store.copy("s", anything, "t", only_new, None, move=move)
        with pytest.raises(NotFound, match="no such blob to copy"):
            await under.store.copy("nothing", anything, "t", anything, None, move=move)
        assert (await under.get("s"), await under.get("t")) == (b"source", b"target")

    run(engine, go)


def test_a_source_that_is_deleted_meanwhile_is_moved(engine: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that moves by two commits: between them the source is deleted. The target is there, so
    this is no error.
    """

    async def go(under: Under) -> None:
        await under.put("s", b"source")
        real = under.store.delete

        async def delete(location: str, condition: Condition) -> None:
            monkeypatch.undo()
            await real("s", anything)
            await real(location, condition)

        monkeypatch.setattr(under.store, "delete", delete)
        blob, _ = await under.store.copy("s", anything, "t", anything, None, move=True)
        assert blob.location == "t"
        assert await under.names() == ["t"]

    run(engine, go)


def test_moves_against_each_other_and_writes(engine: Maker) -> None:
    """Of many moves of one blob exactly one wins. Two moves in opposite directions do not deadlock."""

    async def go(under: Under) -> None:
        await under.put("s", b"source")
        targets = [f"t{n}" for n in range(6)]
        moves = [under.store.copy("s", anything, at, only_new, None, move=True) for at in targets]
        results = await asyncio.gather(*moves, return_exceptions=True)
        assert await under.get("s") is None
        assert any(isinstance(result, tuple) for result in results)
        await under.put("x", b"x")
        await under.put("y", b"y")
        crossing = [("x", "y"), ("y", "x")] * 3
        await asyncio.gather(
            *(under.store.copy(a, anything, b, anything, None, move=True) for a, b in crossing),
            return_exceptions=True,
        )
        left = [at for at in ("x", "y") if await under.get(at) is not None]
        assert left

    run(engine, go)
