"""Digests of a body, computed in the background: in few steps, and in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from services.frontends.digests import Digests
from services.frontends.s3.checksums import Crc

KIB, MIB = 1 << 10, 1 << 20


class Counting(ThreadPoolExecutor):
    """Counts the bytes that it is given."""

    handed = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.handed += 1
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000, 64 * KIB, 100_001, MIB + 1])
def test_they_are_of_all_bytes_in_order(piece_bytes: int) -> None:
    body = hashlib.shake_128(b"").digest(min(3 * MIB + 5, piece_bytes * 1000))
    md5, crc = hashlib.md5(usedforsecurity=False), Crc(zlib.crc32, 4)

    async def go() -> None:
        digests = Digests([md5], [crc])
        for at in range(0, len(body), piece_bytes):
            await digests.add(body[at : at + piece_bytes])
        await digests.finish()

    asyncio.run(go())
    assert md5.digest() == hashlib.md5(body, usedforsecurity=False).digest()
    assert crc.digest() == zlib.crc32(body).to_bytes(4, "big")


@pytest.mark.parametrize(("bodies", "of_each"), [(1, 8), (40, 32)])
def test_few_bodies_are_handed_to_threads_in_large_pieces(bodies: int, of_each: int) -> None:
    async def go() -> int:
        threads = Counting(2)
        asyncio.get_running_loop().set_default_executor(threads)
        several = [Digests([hashlib.md5(usedforsecurity=False)]) for _ in range(bodies)]
        for one in several[1:]:  # while digests of other bodies are under way
            await one.add(bytes(MIB))
        threads.handed = 0
        for _ in range(32):
            await several[0].add(bytes(256 * KIB))
        handed = threads.handed
        for one in several:
            await one.finish()
        return handed

    assert asyncio.run(go()) == of_each


def test_tiny_pieces_do_not_pile_up() -> None:
    async def go() -> int:
        digests = Digests([hashlib.md5(usedforsecurity=False)])
        tracemalloc.start()
        for n in range(20_000):
            await digests.add(b"%04x" % (n & 0xFFFF))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert asyncio.run(go()) < 50_000  # 800,000 if all were held
