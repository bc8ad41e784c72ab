"""The free space is checked while a body comes in, since what was free at its begin may be gone."""

from __future__ import annotations

import asyncio
import os

import pytest

from common.errors import NoSpace
from services.engines.local.serving import data_writer, upload
from services.engines.local.serving.free_space import FreeSpace
from services.engines.local.serving.lent_pieces import PIECE_BYTES
from services.store import Content
from tests.support.rules import DataDirectory
from tests.support.stores import fill, opened


@pytest.mark.parametrize("declared", [None, 2 << 20])
def test_an_upload_ends_when_the_room_does(data: DataDirectory, declared: int | None) -> None:
    async def main() -> None:
        async with opened(data.root) as made:
            store = made.store
            await made.put("kept", b"old")
            upload = await store.begin("kept", lambda blob, damaged: None, Content("text/plain"), declared)
            await upload.write(os.urandom(300_000))
            store.space = FreeSpace(data.root, 1 << 60)  # others have filled the disk meanwhile
            # more than is held in memory; written in the background
            await upload.write(os.urandom(1_200_000))
            with pytest.raises(NoSpace):
                await upload.write(os.urandom(1_200_000))
            await upload.abort("no room")
            assert await made.values() == {"kept": b"old"}

    asyncio.run(main())


@pytest.mark.parametrize("can_make_room", [True, False])
def test_an_upload_for_which_room_was_made_ends_well(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, can_make_room: bool
) -> None:
    body = os.urandom(4 * PIECE_BYTES)
    monkeypatch.setattr(upload, "PAST_CACHE_BYTES", len(body))
    monkeypatch.setattr(data_writer, "set_past_cache", lambda fd, past_cache: past_cache)
    if not can_make_room:
        monkeypatch.setattr(data_writer, "_allocate", lambda fd, size_bytes, offset: False)

    async def main() -> None:
        async with opened(data.root) as made:
            store = made.store
            begun = await store.begin("a", lambda blob, damaged: None, Content("a/b"), len(body))
            lent = begun.lend()
            assert lent is not None
            await fill(lent, body[: 2 * PIECE_BYTES], PIECE_BYTES)
            await begun._outgoing.written_behind()
            store.space = FreeSpace(data.root, 1 << 60)  # what is left now is for others
            if can_make_room:
                await fill(lent, body[2 * PIECE_BYTES :], PIECE_BYTES)
                await begun.commit()
                assert await made.read("a") == body
            else:
                with pytest.raises(NoSpace):
                    await fill(lent, body[2 * PIECE_BYTES :], PIECE_BYTES)
                await begun.abort("no room")

    asyncio.run(main())
