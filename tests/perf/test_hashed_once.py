"""The SHA-256 of a small body is computed once: for its name or its signature, and as our own checksum."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from types import FrameType

import pytest

from services.store import Blob, Content
from tests.support.rules import DataDirectory
from tests.support.stores import opened

BODY = b"x" * 4000
DIGEST = hashlib.sha256(BODY).digest()


def anything(blob: Blob | None, damaged: bool) -> None:
    """Every condition holds."""


@pytest.mark.parametrize(("how", "hashes"), [("known", 0), ("asked", 1), ("unknown", 1), ("more came", 2)])
def test_what_is_known_is_not_computed_again(data: DataDirectory, how: str, hashes: int) -> None:
    counted = [0]

    def count(_frame: FrameType, event: str, argument: object) -> None:
        counted[0] += event == "c_call" and argument is hashlib.sha256

    async def main() -> None:
        async with opened(data.root) as made:
            store = made.store
            counted[0] = 0
            sys.setprofile(count)
            if how in ("known", "unknown"):
                known = DIGEST if how == "known" else b""
                blob, _ = await store.write_whole("a", anything, Content(), BODY, known)
            else:
                upload = await store.begin("a", anything, Content(), None)
                await upload.write(BODY if how == "asked" else BODY[:100])
                assert (await upload.sha256() == DIGEST) == (how == "asked")
                await upload.write(b"" if how == "asked" else BODY[100:])
                blob, _ = await upload.commit()
            sys.setprofile(None)
            assert blob.sha256 == DIGEST

    threading.setprofile(count)  # of the committer's thread, too
    try:
        asyncio.run(main())
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert counted[0] == hashes
