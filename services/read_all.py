"""Reads all there is, over any store: every blob below a prefix, every byte of a blob."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from common.checksum import Bytes
from services.store import Blob, Reading, Store

_PAGE_ENTRIES = 1000
_SLICE = 100


async def all_blobs(store: Store, prefix: str) -> AsyncIterator[Blob]:
    """The blobs whose location starts with `prefix`, sorted, a page at a time: see Store.list.

    One that is written or deleted meanwhile may be among them or not. The event loop has its turn after each
    hundred, whatever the caller does with them.
    """
    after: str | None = ""
    while after is not None:
        page = await store.list(prefix, "", after, _PAGE_ENTRIES)
        for count, blob in enumerate(page.blobs):
            if not count % _SLICE:
                await asyncio.sleep(0)
            yield blob
        after = page.next


async def all_pieces(reading: Reading) -> AsyncIterator[Bytes]:
    """The bytes of a blob, which may be empty. As Reading.chunks: a piece is valid until the next one."""
    if reading.blob.size:
        async for piece in reading.chunks(0, reading.blob.size - 1):
            yield piece


async def all_bytes(reading: Reading) -> bytes:
    """The bytes of a small blob, whole and verified. Raises Damaged, Unavailable."""
    return b"".join([bytes(piece) async for piece in all_pieces(reading)])
