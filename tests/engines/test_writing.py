"""Create, update, delete and their conditions. A refused or aborted write leaves nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from common.errors import AlreadyExists, Busy, NotFound, PreconditionFailed
from common.states import MSG_COMPLETE, MSG_DELETED
from services.store import Blob, Condition, Content
from tests.engines.makers import INLINE_BYTES, PART_BYTES, Maker, Under, only_new, only_there, run

# No byte, one byte, sizes around those at which engines change their way, and several parts.
SIZES = [
    0,
    1,
    INLINE_BYTES - 1,
    INLINE_BYTES,
    INLINE_BYTES + 1,
    PART_BYTES,
    PART_BYTES + 1,
    3 * PART_BYTES + 7,
]


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in pieces"])
@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(engine: Maker, size: int, whole: bool) -> None:
    async def test(under: Under) -> None:
        body = os.urandom(size)
        blob, replaced = await under.put("a/b", body, whole=whole)
        assert (blob.location, blob.size, blob.type, replaced) == ("a/b", size, "text/plain", False)
        assert blob.sha256 == hashlib.sha256(body).digest()
        assert await under.get("a/b") == body
        found = await under.store.stat("a/b")
        assert found is not None
        assert (found.id, found.version, found.size) == (blob.id, blob.version, size)

    run(engine, test)


@pytest.mark.parametrize("size", [1, 2 * PART_BYTES], ids=["small", "large"])
def test_create_update_delete(engine: Maker, size: int) -> None:
    async def test(under: Under) -> None:
        one, other = b"1" * size, b"2" * (size + 1)
        with pytest.raises(NotFound):
            await under.put("a", one, only_there)
        with pytest.raises(NotFound):
            await under.store.delete("a", only_there)
        assert await under.store.stat("a") is None
        first, replaced = await under.put("a", one, only_new)
        assert not replaced
        with pytest.raises(AlreadyExists):
            await under.put("a", other, only_new)
        second, replaced = await under.put("a", other, only_there)
        assert replaced
        assert first.version != second.version
        assert first.id != second.id
        assert await under.get("a") == other
        await under.store.delete("a", only_there)
        assert await under.get("a") is None
        assert await under.store.stat("a") is None
        third, replaced = await under.put("a", one, only_new)
        assert not replaced
        assert third.version not in (first.version, second.version)
        assert await under.get("a") == one

    run(engine, test)


def test_everything_that_was_said_of_it_is_kept(engine: Maker) -> None:
    async def test(under: Under) -> None:
        said = {"cache-control": "no-store", "x-meta-owner": "Zoë", ".s3-etag": "abc"}
        for location, body in (("small", b"x"), ("large", b"x" * 2 * PART_BYTES)):
            upload = await under.store.begin(
                location, only_new, Content("image/png", "gzip", said), len(body)
            )
            await upload.write(body)
            await upload.commit({".s3-parts": "2"})
            blob = await under.store.stat(location)
            assert blob is not None
            assert (blob.type, blob.encoding) == ("image/png", "gzip")
            assert dict(blob.metadata) == {**said, ".s3-parts": "2"}
            (listed,) = (await under.store.list(location, "", "", 10)).blobs
            assert (listed.type, listed.encoding, dict(listed.metadata)) == (
                "image/png",
                "gzip",
                dict(blob.metadata),
            )
            assert listed.modified_ns == blob.modified_ns

    run(engine, test)


@pytest.mark.parametrize("size", [1, 2 * PART_BYTES], ids=["small", "large"])
def test_what_is_given_up_leaves_nothing(engine: Maker, size: int) -> None:
    async def test(under: Under) -> None:
        upload = await under.store.begin("a", only_new, Content(), None)
        await upload.write(b"x" * size)
        await upload.abort("the client has left")
        await upload.abort("once more")
        # as when the server stops while a request waits for its digest
        for over in (upload.sha256, upload.commit):
            with pytest.raises(Busy):
                await over()
        assert await under.get("a") is None
        assert await under.names() == []
        await under.put("a", b"other", only_new)
        assert await under.get("a") == b"other"

    run(engine, test)


@pytest.mark.parametrize("size", [1, 2 * PART_BYTES], ids=["small", "large"])
def test_a_condition_is_judged_again_at_the_commit(engine: Maker, size: int) -> None:
    async def test(under: Under) -> None:
        uploads = [await under.store.begin("a", only_new, Content(), size) for _ in range(2)]
        for number, upload in enumerate(uploads):
            await upload.write(b"%d" % number * size)
        await uploads[1].commit()
        with pytest.raises(AlreadyExists):
            await uploads[0].commit()
        assert await under.get("a") == b"1" * size

    run(engine, test)


def test_the_digest_of_an_upload_is_known_before_its_commit(engine: Maker) -> None:
    async def test(under: Under) -> None:
        for size in (0, 5, INLINE_BYTES + 1, PART_BYTES, 2 * PART_BYTES + 3):
            body = os.urandom(size)
            upload = await under.store.begin("a", lambda blob, damaged: None, Content(), size)
            await upload.write(body)
            assert await upload.sha256() == hashlib.sha256(body).digest()
            blob, _ = await upload.commit()
            assert blob.sha256 == hashlib.sha256(body).digest()

    run(engine, test)


def if_version(version: str) -> Condition:
    """A compare-and-swap."""

    def judge(blob: Blob | None, damaged: bool) -> None:
        if blob is None or blob.version != version:
            raise PreconditionFailed("It is another one.")

    return judge


@pytest.mark.parametrize("size", [1, INLINE_BYTES + 1], ids=["small", "large"])
def test_of_a_hundred_creates_one_wins(engine: Maker, size: int) -> None:
    async def test(under: Under) -> None:
        bodies = [b"%03d" % number + b"x" * size for number in range(100)]
        done = await asyncio.gather(
            *(under.put("a", body, only_new) for body in bodies), return_exceptions=True
        )
        won = [number for number, result in enumerate(done) if not isinstance(result, BaseException)]
        assert len(won) == 1
        assert all(isinstance(done[n], AlreadyExists) for n in range(100) if n not in won)
        assert await under.get("a") == bodies[won[0]]

    run(engine, test)


def test_every_swap_replaces_what_it_expects(engine: Maker) -> None:
    async def test(under: Under) -> None:
        await under.put("n", b"0")

        async def add() -> None:
            while True:
                blob = await under.store.stat("n")
                assert blob is not None
                count = await under.get("n")
                assert count is not None
                try:
                    await under.put("n", b"%d" % (int(count) + 1), if_version(blob.version), whole=True)
                except PreconditionFailed:
                    continue
                return

        await asyncio.gather(*(add() for _ in range(20)))
        assert await under.get("n") == b"20"

    run(engine, test)


def test_listeners_are_told(engine: Maker) -> None:
    async def test(under: Under) -> None:
        await under.put("a", b"1")
        await under.put("a", b"22")
        await under.store.delete("a", only_there)
        steps = under.listener.steps
        assert [message for _, message in steps if message == MSG_COMPLETE] == [MSG_COMPLETE] * 2
        assert len([message for _, message in steps if message.startswith(MSG_DELETED)]) == 2
        assert steps[-1] == ("a", MSG_DELETED)
        assert {location for location, _ in steps} == {"a"}

    run(engine, test)


def test_usage_counts_what_can_be_known(engine: Maker) -> None:
    async def test(under: Under) -> None:
        await under.put("a", b"12345")
        upload = await under.store.begin("b", only_new, Content(), None)
        usage = await under.store.usage()
        assert usage.blobs in (1, None)
        assert usage.bytes in (5, None)
        assert usage.uploads in (0, 1)
        await upload.abort("done")
        await under.store.check_writable()

    run(engine, test)


def test_a_body_that_comes_byte_by_byte(engine: Maker) -> None:
    async def test(under: Under) -> None:
        body = os.urandom(3000)
        await under.put("a", body, piece_bytes=1)
        assert await under.get("a") == body

    run(engine, test)


def test_locations_of_every_kind(engine: Maker) -> None:
    async def test(under: Under) -> None:
        names = ["a", "a/b", "a.b", "a b", "%2F", "%", "é", "\U0001f600", "\uffff", "~", "[", "\\", "-", "_"]
        names += ["x" * 255, "y" * 1024, "/".join(["z"] * 512), "\x7f", "é" * 512, "..a", "+&=?#*\"'<>|"]
        for name in names:
            await under.put(name, name.encode())
        for name in names:
            assert await under.get(name) == name.encode(), name
        assert await under.names() == sorted(names)
        for name in names:
            await under.store.delete(name, only_there)
        assert await under.names() == []

    run(engine, test)
