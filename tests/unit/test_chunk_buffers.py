"""The buffers that readers share, where the system has no memory for a new one."""

from __future__ import annotations

import asyncio
import mmap

import pytest

from common.chunk_buffers import MAX_BUFFERS, ChunkBuffers
from common.errors import Busy


def no_memory(_fd: int, _size: int) -> mmap.mmap:
    raise OSError(12, "Cannot allocate memory")


@pytest.mark.parametrize("waits", [True, False])
def test_a_shortage_of_memory_costs_no_buffer_for_good(
    monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    async def one(buffers: ChunkBuffers) -> None:
        if waits:
            async with buffers.borrow(object(), 0):
                pass
        else:
            data = buffers.take_now()
            assert data is not None
            buffers.put_back(data, object(), None)

    async def main() -> None:
        buffers = ChunkBuffers()
        with monkeypatch.context() as short:
            short.setattr(mmap, "mmap", no_memory)
            for _ in range(MAX_BUFFERS + 1):
                with pytest.raises(Busy):
                    await one(buffers)
        await one(buffers)
        assert None not in [buffers.take_now() for _ in range(MAX_BUFFERS)]

    asyncio.run(main())
