"""The free space is checked while a body comes in, since what was free at its begin may be gone."""

from __future__ import annotations

import asyncio
import os

import pytest

from common.errors import NoSpace
from services.engines.local.serving.free_space import FreeSpace
from services.store import Content
from tests.support.rules import DataDirectory
from tests.support.stores import opened


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
