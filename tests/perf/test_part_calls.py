"""Calls for each part of an upload in parts, counted in this process. A count above the recorded one fails:
something came in by mistake, or it is worth its cost, and then the record says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from services.engines.local.serving.store import LocalStore
from services.store import Content
from tests.engines.makers import anything
from tests.engines.test_multiparts import send
from tests.support.disk_calls import CHANGES, READS, standing_between
from tests.support.rules import DataDirectory
from tests.support.stores import fill, opened
from tests.support.work import calls_of

MIB = 1 << 20
BODY = b"x" * (2 * MIB)  # comes in seven pieces
PARTS = 8
# Its bytes and their sync; its line and the sync of that. No byte is read again.
OF_A_PART = {"open": 2, "pwrite": 7, "write": 1, "fdatasync": 2}
# The file's second name in the blob's folder; the syncs; the end of the upload. Nothing is read again.
STEPS_OF_A_COMPLETION = 3
# The syncs of the file and of two folders, then of the journal, and of the folder of the upload that ends.
OF_A_COMPLETION = {"link": 1, "fdatasync": 2, "fsync": 3, "rename": 2}


class _Counting:
    """A Plan that only counts."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def before(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.calls[name] += 1
        return args

    def after(self, name: str) -> None: ...


def test_a_part_in_order_makes_no_more_disk_calls_than_recorded(data: DataDirectory) -> None:
    async def go() -> None:
        async with opened(data.root) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            counting = _Counting()
            with standing_between(counting, CHANGES | READS):
                done = [await send(parts, upload, number, BODY) for number in range(1, PARTS + 1)]
            assert counting.calls == Counter({name: PARTS * count for name, count in OF_A_PART.items()})
            await parts.complete_multipart("a", upload.id, done, anything)

    asyncio.run(go())


@pytest.mark.parametrize("with_sha256", [False, True])
def test_a_part_takes_a_step_for_each_piece_and_one_for_its_line(
    data: DataDirectory, with_sha256: bool
) -> None:
    """The last piece is written, hashed and synced in one step, also where its SHA-256 is asked for."""

    async def go() -> None:
        async with opened(data.root) as store:
            parts = store.store.multiparts
            upload = await parts.create_multipart("a", Content())
            done = []
            for number in range(1, 4):
                part = await parts.begin_part("a", upload.id, number, len(BODY), with_sha256=with_sha256)
                with _steps(store.store) as steps:
                    lent = part.lend()
                    assert lent is not None
                    for _ in range(len(BODY) // MIB):
                        await fill(lent, BODY[:MIB], MIB)
                        await asyncio.sleep(0)  # else two are written in one step
                    if with_sha256:
                        assert await part.sha256() == hashlib.sha256(BODY).digest()
                    done.append(await part.commit())
                assert len(steps) == len(BODY) // MIB + 1
            counting = _Counting()
            with _steps(store.store) as steps, standing_between(counting, CHANGES):
                await parts.complete_multipart("a", upload.id, done, anything)
            assert len(steps) == STEPS_OF_A_COMPLETION
            assert {name: counting.calls[name] for name in OF_A_COMPLETION} == OF_A_COMPLETION

    asyncio.run(go())


@contextlib.contextmanager
def _steps(store: LocalStore) -> Iterator[list[object]]:
    """The steps that threads of the disk's were given meanwhile."""
    steps: list[object] = []
    threads = store.threads

    class Noting(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            steps.append(fn)
            return threads.submit(fn, *args, **kwargs)

    store.threads = Noting()
    try:
        yield steps
    finally:
        store.threads = threads


def test_a_piece_costs_the_same_however_many_uploads_are_open(data: DataDirectory) -> None:
    """Their parts were counted for each piece of any upload: with 1,000 uploads that took 0.1 ms."""

    async def go() -> None:
        async with opened(data.root) as store:
            parts = store.store.multiparts
            calls = []
            for others in (0, 30):
                for number in range(others):
                    await parts.create_multipart(f"other {number}", Content())
                upload = await parts.create_multipart("a", Content())
                part = await parts.begin_part("a", upload.id, 1, MIB)
                assert part.takes(b"x" * 1000)
                calls.append(calls_of(lambda part=part: part.takes(b"x" * 1000)))  # type: ignore[misc]
                assert store.store.uploads() == 1
                await part.commit()
                assert store.store.uploads() == 0
            assert calls[0] == calls[1]

    asyncio.run(go())
