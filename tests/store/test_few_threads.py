"""A store whose system gives it no further thread goes on with those that it has."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from services.engines.local.serving.lent_pieces import PIECE_BYTES
from tests.support.rules import DataDirectory
from tests.support.stores import opened

BODIES = {str(number): os.urandom(2 * PIECE_BYTES + number) for number in range(8)}


@pytest.mark.parametrize("sync", ["journal", "folder"])
def test_uploads_and_reads_go_on(data: DataDirectory, monkeypatch: pytest.MonkeyPatch, sync: str) -> None:
    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        async with opened(data.root, sync) as made:
            with monkeypatch.context() as limited:
                limited.setattr(threading.Thread, "start", no_more)
                await asyncio.gather(*(made.put(name, body) for name, body in BODIES.items()))
                found = await asyncio.gather(*map(made.read, BODIES))
            assert dict(zip(BODIES, found, strict=True)) == BODIES
            assert not made.fatal

    asyncio.run(main())
    data.check()
