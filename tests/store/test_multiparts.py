"""Uploads in parts of the local engine: their bytes are not copied, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from common import durable
from common.errors import PartsChanged, PreconditionFailed, SyncFailed, UnknownUpload
from services.engines.local.disk import layout, multipart_folder
from services.engines.local.serving.part_upload import LocalPart
from services.store import Content, Multipart, Part
from tests.cuts.recorder import ListLog, recording
from tests.engines.makers import anything
from tests.engines.test_multiparts import send
from tests.support import rules
from tests.support.stores import Opened, opened, until

MIB = 1 << 20
A, B, C = os.urandom(2 * MIB), os.urandom(2 * MIB), os.urandom(MIB + 5)


async def three_parts(store: Opened) -> tuple[Multipart, list[Part]]:
    parts = store.store.multiparts
    upload = await parts.create_multipart("a", Content())
    return upload, [await send(parts, upload, n, body) for n, body in ((1, A), (3, C), (2, B))]


def folders(root: Path) -> list[str]:
    return os.listdir(root / layout.MULTIPART_NAME)


def test_completing_equal_parts_copies_no_byte(tmp_path: Path) -> None:
    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload, done = await three_parts(store)
            file = tmp_path / layout.MULTIPART_NAME / upload.id / layout.DATA_NAME
            inode, log = file.stat().st_ino, ListLog()
            with recording(log):
                blob, _ = await parts.complete_multipart("a", upload.id, sorted(done, key=number), anything)
            assert 0 < sum(len(op.data) for op in log.ops) < 64 << 10  # states alone
            found = os.stat(store.data_dir.data(int(blob.id)))
            assert (found.st_ino, found.st_nlink, found.st_size) == (inode, 1, len(A + B + C))
            assert folders(tmp_path) == []
            assert await store.read("a") == A + B + C

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_a_part_is_hashed_once_where_nobody_asks_for_its_sha256(tmp_path: Path) -> None:
    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            for n, body in ((1, A), (2, B)):
                one = await parts.begin_part("a", upload.id, n, len(body), with_sha256=False)
                await one.write(body)
                assert (await one.commit()).sha256 == b""
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            done = await parts.list_parts("a", upload.id)
            assert [part.sha256 for part in done] == [b"", b""]
            blob, _ = await parts.complete_multipart("a", upload.id, done, anything)
            assert blob.sha256 == hashlib.sha256(A + B).digest()
            assert await store.read("a") == A + B

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def number(part: Part) -> int:
    return part.number


def test_what_was_answered_for_is_there_after_a_restart(tmp_path: Path) -> None:
    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            upload, done = await three_parts(store)
            cut = await store.store.multiparts.begin_part("a", upload.id, 4, MIB)
            await cut.write(b"x" * (MIB - 1))
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            assert await parts.find_multipart("a", upload.id) == upload
            assert await parts.list_parts("a", upload.id) == sorted(done, key=number)
            await parts.complete_multipart("a", upload.id, sorted(done, key=number), anything)
            assert await store.read("a") == A + B + C
        async with opened(str(tmp_path)) as store:
            assert await store.read("a") == A + B + C
            with pytest.raises(UnknownUpload):
                await store.store.multiparts.find_multipart("a", upload.id)

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


@pytest.mark.parametrize("named", [3, 2])
def test_a_part_that_rotted_is_found_before_it_is_acknowledged_as_a_blob(tmp_path: Path, named: int) -> None:
    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            upload, _ = await three_parts(store)
        path = tmp_path / layout.MULTIPART_NAME / upload.id / layout.DATA_NAME
        with path.open("r+b") as file:
            file.seek(3 * MIB)
            turned = bytes([file.read(1)[0] ^ 4])
            file.seek(3 * MIB)
            file.write(turned)
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            done = [part for part in await parts.list_parts("a", upload.id) if part.number <= named]
            if len(done) < named:  # read already
                done = done[:1]
            else:
                with pytest.raises(PartsChanged):
                    await parts.complete_multipart("a", upload.id, done, anything)
            assert [p.number for p in await parts.list_parts("a", upload.id)] == [1, 3]
            await send(parts, upload, 2, B)
            done = list(await parts.list_parts("a", upload.id))
            await parts.complete_multipart("a", upload.id, done, anything)
            assert await store.read("a") == A + B + C

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_where_there_are_no_links_the_bytes_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(old: str, new: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            upload, done = await three_parts(store)
            monkeypatch.setattr(durable, "link", no_link)
            parts = store.store.multiparts
            await parts.complete_multipart("a", upload.id, sorted(done, key=number), anything)
            assert await store.read("a") == A + B + C

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_who_still_writes_when_it_completes_changes_nothing_any_more(tmp_path: Path) -> None:
    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload, done = await three_parts(store)
            behind = await parts.begin_part("a", upload.id, 4, MIB)
            await behind.write(b"x" * MIB)
            again = await parts.begin_part("a", upload.id, 2, 2 * MIB)
            await again.write(b"y" * MIB)
            await until(lambda: again._outgoing.is_open, "to write its bytes")
            completing = asyncio.ensure_future(
                parts.complete_multipart("a", upload.id, sorted(done, key=number), anything)
            )
            committing = asyncio.ensure_future(behind.commit())  # its bytes are written to disk meanwhile
            results = await asyncio.gather(completing, committing, return_exceptions=True)
            assert isinstance(results[1], UnknownUpload)
            with pytest.raises(UnknownUpload):
                await again.write(b"y" * MIB)
            assert await store.read("a") == A + B + C

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_a_part_whose_last_bytes_are_on_their_way_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write, real_stop = durable.write_some_at, LocalPart.stop
    called, returned = threading.Event(), threading.Event()
    order: list[str] = []

    def late(fd: int, data: bytes, offset: int) -> int:
        if data == b"late":
            assert called.wait(60)
            returned.wait(0.3)  # it must not return; if it did not wait, it would at once
            order.append("written")
        return real_write(fd, data, offset)

    async def stop(part: LocalPart, reason: str) -> None:
        called.set()
        await real_stop(part, reason)
        order.append("stopped")
        returned.set()

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload, done = await three_parts(store)
            behind = await parts.begin_part("a", upload.id, 4, MIB)
            await behind.write(b"late")
            committing = asyncio.ensure_future(behind.commit())
            await asyncio.sleep(0)
            await parts.complete_multipart("a", upload.id, sorted(done, key=number), anything)
            with pytest.raises(UnknownUpload):
                await committing
        async with opened(str(tmp_path)) as store:  # a start looks at the length of the file
            assert await store.values() == {"a": A + B + C}

    monkeypatch.setattr(durable, "write_some_at", late)
    monkeypatch.setattr(LocalPart, "stop", stop)
    asyncio.run(go())
    assert order == ["written", "stopped"]
    assert not rules.broken_rules(str(tmp_path))


def test_the_file_of_a_blob_is_written_by_no_upload_that_came_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server died after the commit and left the upload, whose blob was copied and deleted. The file
    belongs to the copy now, so the next part must go elsewhere.
    """

    def dies(*args: object) -> None:
        """As an earlier version could leave it: now the blob stays until its upload is over."""

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            upload, done = await three_parts(store)
            with monkeypatch.context() as patch:
                patch.setattr(multipart_folder, "end", dies)
                await store.store.multiparts.complete_multipart(
                    "a", upload.id, sorted(done, key=number), anything
                )
            await store.store.copy("a", anything, "copy", anything, None)
            await store.delete("a")
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            await send(parts, upload, 4, B)
            assert await store.read("copy") == A + B + C
            listed = await parts.list_parts("a", upload.id)
            await parts.complete_multipart("a", upload.id, [*listed[:2], listed[3]], anything)
            assert await store.values() == {"a": A + B + B, "copy": A + B + C}
        async with opened(str(tmp_path)) as store:
            assert await store.values() == {"a": A + B + B, "copy": A + B + C}

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_the_file_of_a_blob_is_not_cut_by_an_upload_that_came_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, but the client completes with fewer parts, without the one that is corrupt."""

    def dies(*args: object) -> None:
        """As an earlier version could leave it: now the blob stays until its upload is over."""

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload, done = await three_parts(store)
            with monkeypatch.context() as patch:
                patch.setattr(multipart_folder, "end", dies)
                await parts.complete_multipart("a", upload.id, sorted(done, key=number), anything)
            await store.store.copy("a", anything, "copy", anything, None)
            await store.delete("a")
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            await send(parts, upload, 3, b"other")  # sent again, so it goes to a file of its own
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            listed = await parts.list_parts("a", upload.id)
            await parts.complete_multipart("a", upload.id, listed[:2], anything)
            assert await store.values() == {"a": A + B, "copy": A + B + C}
        async with opened(str(tmp_path)) as store:
            assert await store.values() == {"a": A + B, "copy": A + B + C}

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_a_part_that_could_not_be_remembered_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line is in the log, but the sync of the log failed, so its bytes were given up."""
    real = durable.sync_file

    def sync(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("parts.log"):
            raise SyncFailed("The disk failed.")
        real(fd)

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            upload, done = await three_parts(store)
            with monkeypatch.context() as patch:
                patch.setattr(durable, "sync_file", sync)
                with pytest.raises(SyncFailed):
                    await send(store.store.multiparts, upload, 2, C)
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            assert await parts.list_parts("a", upload.id) == sorted(done, key=number)
            await parts.complete_multipart("a", upload.id, sorted(done, key=number), anything)
            assert await store.read("a") == A + B + C

    asyncio.run(go())


def test_a_part_that_waits_for_a_completion_that_fails_is_whole(tmp_path: Path) -> None:
    """Its bytes are behind those that the completion names, and its answer says that they are durable."""
    asked: list[object] = []

    def only_at_first(blob: object, damaged: bool) -> None:
        asked.append(blob)
        if len(asked) > 1:
            raise PreconditionFailed("Another was quicker.")

    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            two = [await send(parts, upload, n, body) for n, body in ((1, A), (2, B))]
            third = await parts.begin_part("a", upload.id, 3, len(C))
            await third.write(C)
            answered = asyncio.create_task(third.commit())
            await asyncio.sleep(0)
            with pytest.raises(PreconditionFailed):
                await parts.complete_multipart("a", upload.id, two, only_at_first)
            await parts.complete_multipart("a", upload.id, [*two, await answered], anything)
            assert await store.read("a") == A + B + C

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))


def test_a_part_far_behind_the_others_is_not_written_where_no_file_can_be_so_long(tmp_path: Path) -> None:
    async def go() -> None:
        async with opened(str(tmp_path)) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            parts._open[upload.id].slot_bytes = 2 << 30  # as if the first part had said that it has so many
            done = [await send(parts, upload, n, body) for n, body in ((1, A), (10_000, B))]
            blob, _ = await parts.complete_multipart("a", upload.id, done, anything)
            assert blob.sha256 == hashlib.sha256(A + B).digest()
            assert await store.read("a") == A + B

    asyncio.run(go())
    assert not rules.broken_rules(str(tmp_path))
