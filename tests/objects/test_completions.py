"""Completions of uploads in parts that were cut: on two servers, none takes effect twice.

Between a completion and the same one sent again, others replace or delete the blob. A killed server is
one whose completion stops where the test says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from common.errors import Unavailable, UnknownUpload
from services.engines.objects.pointer import MAX_PAST
from services.frontends.s3.parts_in_blobs import PartsInBlobs
from services.store import UPLOAD_ID, Blob
from tests.engines.makers import PART_BYTES, Under, anything, only_new
from tests.engines.test_multiparts import begun, gone, send
from tests.objects.test_store import servers
from tests.support.seaweed import Seaweed

KEPT = {".tag": "the answer"}
WHERE = "a/b"

small_and_large = pytest.mark.parametrize("size", [9, PART_BYTES + 5], ids=["small", "large"])


class Killed(BaseException):
    """What stops a completion; no handler catches it."""


class Two:
    """Two servers on one bucket. The first has an upload with one part of `body`."""

    def __init__(self, process: Seaweed) -> None:
        self.first, self.second = servers(process, 2)

    async def send(self, body: bytes) -> None:
        self.parts, self.upload = await begun(self.first)
        self.named = [await send(self.parts, self.upload, 1, body)]

    async def complete(self, under: Under, condition: Any = anything) -> Blob:
        parts = PartsInBlobs(under.store)
        return (await parts.complete_multipart(WHERE, self.upload.id, self.named, condition, KEPT))[0]

    async def cut_before_its_end(self) -> None:
        """The first server is killed between the commit of a completion and the end of the upload."""

        async def remove(location: str, upload_id: str) -> None:
            raise Killed

        parts = PartsInBlobs(self.first.store)
        vars(parts)["_remove"] = remove
        with pytest.raises(Killed):
            await parts.complete_multipart(WHERE, self.upload.id, self.named, anything, KEPT)

    async def cut_before_its_commit(self) -> Callable[[], Awaitable[Any]]:
        """The first server stops just before that commit. Returns what goes on with it."""
        store: Any = self.first.store
        real = store.begin_attempt
        goes_on: list[Callable[[], Awaitable[Any]]] = []

        async def begin_attempt(*args: Any) -> Any:
            upload, attempt = await real(*args)
            commit = upload.commit

            async def stopped(attributes: Any) -> None:
                goes_on.append(lambda: commit(attributes))
                raise Killed

            vars(upload)["commit"] = stopped
            return upload, attempt

        vars(store)["begin_attempt"] = begin_attempt
        with pytest.raises(Killed):
            await self.complete(self.first)
        vars(store).pop("begin_attempt")
        return goes_on[0]

    async def is_over(self) -> bool:
        return await gone(PartsInBlobs(self.second.store), self.upload)


def run(process: Seaweed, body: bytes, go: Callable[[Two], Awaitable[None]]) -> None:
    async def running() -> None:
        two = Two(process)
        await two.send(body)
        await go(two)

    asyncio.run(running())


async def delete(under: Under) -> None:
    await under.store.delete(WHERE, anything)


async def replace(under: Under) -> None:
    await under.put(WHERE, b"another's")


@small_and_large
@pytest.mark.parametrize(
    ("steps", "left"),
    [
        pytest.param([delete], None, id="deleted"),
        pytest.param([replace], b"another's", id="replaced"),
        pytest.param([replace, delete], None, id="replaced and deleted"),
        pytest.param([delete, replace] * 3, b"another's", id="many times"),
    ],
)
@pytest.mark.parametrize("condition", [anything, only_new], ids=["", "only new"])
def test_a_completion_that_took_effect_has_its_answer_again_and_changes_nothing(
    store_process: Seaweed,
    size: int,
    steps: Sequence[Callable[[Under], Awaitable[None]]],
    left: bytes | None,
    condition: Any,
) -> None:
    async def go(two: Two) -> None:
        await two.cut_before_its_end()
        made = await two.second.store.stat(WHERE)
        assert made is not None
        for step in steps:
            await step(two.second)
        again = await two.complete(two.second, condition)
        assert (again.version, again.size, dict(again.metadata)) == (made.version, size, dict(made.metadata))
        assert again.metadata[".tag"] == KEPT[".tag"]
        assert await two.second.get(WHERE) == left
        assert await two.is_over()
        assert await two.second.names() == ([] if left is None else [WHERE])

    run(store_process, b"x" * size, go)


@small_and_large
def test_one_that_is_still_there_is_answered_as_it_is(store_process: Seaweed, size: int) -> None:
    async def go(two: Two) -> None:
        await two.cut_before_its_end()
        assert await two.complete(two.second, only_new) == await two.second.store.stat(WHERE)
        assert await two.is_over()

    run(store_process, b"x" * size, go)


@small_and_large
@pytest.mark.parametrize("step", [None, delete, replace])
def test_one_that_did_not_take_effect_does_when_it_is_sent_again(
    store_process: Seaweed, size: int, step: Callable[[Under], Awaitable[None]] | None
) -> None:
    async def go(two: Two) -> None:
        await two.second.put(WHERE, b"before")
        await two.cut_before_its_commit()
        if step is not None:
            await step(two.second)
        done = await two.complete(two.second)
        assert done.metadata[UPLOAD_ID] == two.upload.id
        assert await two.first.get(WHERE) == b"x" * size
        assert await two.is_over()

    run(store_process, b"x" * size, go)


@small_and_large
@pytest.mark.parametrize("before", [None, b"before"], ids=["absent", "there"])
@pytest.mark.parametrize("step", [None, delete, replace])
@pytest.mark.parametrize("looks", [False, True], ids=["", "its server sees what came"])
def test_one_that_was_only_slow_does_not_come_after_the_one_that_was_sent_again(
    store_process: Seaweed,
    size: int,
    before: bytes | None,
    looks: bool,
    step: Callable[[Under], Awaitable[None]] | None,
) -> None:
    async def go(two: Two) -> None:
        if before is not None:
            await two.second.put(WHERE, before)
        goes_on = await two.cut_before_its_commit()
        await two.complete(two.second)
        if step is not None:
            await step(two.second)
        left = await (two.first if looks else two.second).store.stat(WHERE)
        with pytest.raises(Unavailable):
            await goes_on()
        assert await two.second.store.stat(WHERE) == left

    run(store_process, b"x" * size, go)


def test_what_is_not_known_any_more_is_not_done_again(store_process: Seaweed) -> None:
    async def go(two: Two) -> None:
        await two.second.put(WHERE, b"before")  # else it is remembered as the first
        await two.cut_before_its_end()
        for _ in range(MAX_PAST + 1):
            await replace(two.second)
        with pytest.raises(Unavailable, match="not known"):
            await two.complete(two.second)
        assert await two.second.get(WHERE) == b"another's"
        assert not await two.is_over()
        await PartsInBlobs(two.second.store).abort_multipart(WHERE, two.upload.id)
        assert await two.second.get(WHERE) == b"another's"
        assert await two.is_over()

    run(store_process, b"x", go)


@small_and_large
def test_of_completions_at_once_one_takes_effect(store_process: Seaweed, size: int) -> None:
    async def go(two: Two) -> None:
        under = [two.first, two.second] * 4
        done = await asyncio.gather(*map(two.complete, under), return_exceptions=True)
        versions = set()
        for one in done:
            if not isinstance(one, UnknownUpload | Unavailable):
                assert not isinstance(one, BaseException), one
                versions.add(one.version)
        there = await two.first.store.stat(WHERE)
        assert there is not None
        assert versions == {there.version}

    run(store_process, b"x" * size, go)


@small_and_large
@pytest.mark.parametrize("step", [None, delete, replace])
def test_other_parts_than_those_that_took_effect_are_not_said_to_be_the_object(
    store_process: Seaweed, size: int, step: Callable[[Under], Awaitable[None]] | None
) -> None:
    async def go(two: Two) -> None:
        await two.cut_before_its_end()
        if step is not None:
            await step(two.second)
        left = await two.second.store.stat(WHERE)
        parts = PartsInBlobs(two.second.store)
        others = [await send(parts, two.upload, 1, b"other")]
        with pytest.raises(UnknownUpload):
            await parts.complete_multipart(WHERE, two.upload.id, others, anything, {".tag": "another answer"})
        assert await two.second.store.stat(WHERE) == left

    run(store_process, b"x" * size, go)


@small_and_large
@pytest.mark.parametrize("before", [None, b"before"], ids=["absent", "there"])
@pytest.mark.parametrize("step", [None, delete, replace])
def test_a_slow_completion_does_not_come_after_the_abort(
    store_process: Seaweed,
    size: int,
    before: bytes | None,
    step: Callable[[Under], Awaitable[None]] | None,
) -> None:
    async def go(two: Two) -> None:
        if before is not None:
            await two.second.put(WHERE, before)
        goes_on = await two.cut_before_its_commit()
        await PartsInBlobs(two.second.store).abort_multipart(WHERE, two.upload.id)
        if step is not None and not (before is None and step is delete):
            await step(two.second)
        left = await two.second.store.stat(WHERE)
        with pytest.raises(Unavailable):
            await goes_on()
        assert await two.second.store.stat(WHERE) == left
        assert await two.is_over()

    run(store_process, b"x" * size, go)


def test_an_abort_stops_a_completion_that_began_meanwhile(store_process: Seaweed) -> None:
    async def go(two: Two) -> None:
        store: Any = two.second.store
        real = store.stop_attempts
        late: list[Callable[[], Awaitable[Any]]] = []

        async def stop_attempts(*args: Any, **kwargs: Any) -> None:
            await real(*args, **kwargs)
            if not late:
                late.append(await two.cut_before_its_commit())

        vars(store)["stop_attempts"] = stop_attempts
        await PartsInBlobs(store).abort_multipart(WHERE, two.upload.id)
        with pytest.raises(Unavailable):
            await late[0]()
        assert await two.first.get(WHERE) is None

    run(store_process, b"x", go)


def test_what_took_effect_cannot_be_aborted_any_more(store_process: Seaweed) -> None:
    async def go(two: Two) -> None:
        await two.cut_before_its_end()
        with pytest.raises(UnknownUpload):
            await PartsInBlobs(two.second.store).abort_multipart(WHERE, two.upload.id)
        assert await two.second.get(WHERE) == b"x"
        assert await two.is_over()

    run(store_process, b"x", go)
