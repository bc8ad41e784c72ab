"""A step on disk of an upload: its errors, and what it costs to hand it to a thread."""

from __future__ import annotations

import asyncio
import errno
import sys
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from types import FrameType

import pytest

from common.errors import NoSpace, StorageFailed, SyncFailed
from services.engines.local.serving.disk_step import disk_step

# Calls of Python functions, in both threads; 117 with the loop's `run_in_executor` and a shield.
MOST_CALLS = 65
STEPS = 20


class Owner:
    """Notes whether it was told to stop."""

    def __init__(self) -> None:
        self.threads: Executor = ThreadPoolExecutor(1)
        self.stopped: list[SyncFailed] = []

    def stop_for(self, err: SyncFailed) -> None:
        self.stopped.append(err)


def failing(error: Exception) -> None:
    raise error


def test_it_gives_what_the_step_gives_and_translates_errors_of_the_disk() -> None:
    async def test() -> None:
        owner = Owner()
        assert await disk_step(owner, lambda: 7) == 7
        with pytest.raises(NoSpace):
            await disk_step(owner, lambda: failing(OSError(errno.ENOSPC, "full")))
        assert not owner.stopped
        failed = SyncFailed("a sync failed")
        with pytest.raises(SyncFailed):
            await disk_step(owner, lambda: failing(failed))
        assert owner.stopped == [failed]

    asyncio.run(test())


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOENT, errno.EROFS])
def test_an_error_that_sends_the_reader_to_the_log_is_there(
    caplog: pytest.LogCaptureFixture, error: int
) -> None:
    async def test() -> None:
        with pytest.raises(StorageFailed, match=f"{errno.errorcode[error]} .* see its log"):
            await disk_step(Owner(), lambda: failing(OSError(error, "it said so", "/disk/data.raw")))
        with pytest.raises(NoSpace):
            await disk_step(Owner(), lambda: failing(OSError(errno.ENOSPC, "full")))

    asyncio.run(test())
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        f"could not write the blob: [Errno {error}] it said so: '/disk/data.raw'"
    ]


def test_a_sync_that_fails_after_its_caller_was_cancelled_stops_the_server() -> None:
    async def test() -> None:
        owner, go_on, failed = Owner(), threading.Event(), SyncFailed("a sync failed")

        def step() -> None:
            go_on.wait(60)
            raise failed

        waiting = asyncio.create_task(disk_step(owner, step))
        await asyncio.sleep(0)  # it waits now
        waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()  # it does not overtake the thread
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert owner.stopped == [failed]

    asyncio.run(test())


def test_to_hand_it_over_makes_no_more_calls_than_recorded() -> None:
    calls = [0]

    def count(frame: FrameType, event: str, _argument: object) -> None:
        calls[0] += event == "call"

    async def test() -> None:
        owner = Owner()
        for _ in range(5):
            await disk_step(owner, int)
        calls[0] = 0
        sys.setprofile(count)
        for _ in range(STEPS):
            await disk_step(owner, int)
        sys.setprofile(None)

    threading.setprofile(count)  # of the thread that the executor starts
    try:
        asyncio.run(test())
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert 20 < calls[0] / STEPS <= MOST_CALLS
