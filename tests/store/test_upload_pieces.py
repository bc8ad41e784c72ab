"""An upload keeps pieces as they come, and joins them by a copy only if they are very small."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import tracemalloc

import pytest

from services.engines.local.disk import blob_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.store import Content
from tests.support.rules import DataDirectory
from tests.support.stores import SMALL_BODY_BYTES, opened


@pytest.mark.parametrize("size", [SMALL_BODY_BYTES, 3 * SMALL_BODY_BYTES, 3_000_000])
@pytest.mark.parametrize("pieces", [1, 63, 64, 65, 1000])
def test_bytes_are_whole_and_in_order_however_they_come(data: DataDirectory, size: int, pieces: int) -> None:
    async def main() -> None:
        async with opened(data.root, "none") as made:
            body = os.urandom(size)
            blob = await made.put("a", body, pieces=pieces)
            assert blob.sha256 == hashlib.sha256(body).digest()
            assert await made.read("a") == body

    asyncio.run(main())


def test_a_body_that_comes_byte_by_byte_takes_little_more_memory_than_its_bytes(data: DataDirectory) -> None:
    async def main() -> None:
        async with opened(data.root, "none") as made:
            uploads = []
            tracemalloc.start()
            for number in range(20):
                upload = await made.store.begin(str(number), lambda blob, damaged: None, Content("a/b"), None)
                for byte in os.urandom(4000):
                    await upload.write(bytes((byte,)))
                uploads.append(upload)
            now, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            for upload in uploads:
                await upload.abort("enough")
            assert now < 20 * (4000 + 8000)

    asyncio.run(main())


def test_the_callers_buffer_may_be_used_again(data: DataDirectory) -> None:
    async def main() -> None:
        async with opened(data.root, "none") as made:
            upload = await made.store.begin("a", lambda blob, damaged: None, Content("a/b"), None)
            buffer = bytearray(b"first")
            await upload.write(memoryview(buffer))
            buffer[:] = b"other"
            await upload.write(buffer)
            buffer[:] = b"third"
            await upload.commit()
            assert await made.read("a") == b"firstother"

    asyncio.run(main())


def test_a_digest_is_of_all_bytes_while_the_timer_stages_them(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow client and a slow disk: the body is complete while its first bytes are still being written
    to a folder.
    """
    begun, go_on = threading.Event(), threading.Event()
    real = blob_folder.stage

    def slow(data_dir: Layout, pending: BlobRecord) -> int:
        begun.set()
        assert go_on.wait(60)
        return real(data_dir, pending)

    async def main() -> None:
        async with opened(data.root, "none") as made:
            monkeypatch.setattr(blob_folder, "stage", slow)
            upload = await made.store.begin("a", lambda blob, damaged: None, Content("a/b"), None)
            await upload.write(b"all of it")
            assert await asyncio.to_thread(begun.wait, 60)
            asking = asyncio.ensure_future(upload.sha256())
            await asyncio.sleep(0)
            go_on.set()
            assert await asking == hashlib.sha256(b"all of it").digest()
            await upload.commit()
            assert await made.read("a") == b"all of it"

    asyncio.run(main())
