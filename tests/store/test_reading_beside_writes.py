"""Reading a location while it is updated or deleted: the gc may be quicker than the server's index."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable

import pytest

from common.errors import SyncFailed
from services.engines.local.serving.change import Change
from services.engines.local.upkeep.collector import Collector
from tests.support.rules import DataDirectory, layout_of
from tests.support.stores import Opened, opened, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


class HeldAfterRetiring:
    """Stops the committer's thread when the old blob's Failure is on disk, but the index does not show it
    yet.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.retired = threading.Event()
        self.go_on = threading.Event()
        self.error: OSError | None = None  # raised when it goes on
        retire = Change.retire

        def held(change: Change) -> None:
            retire(change)
            self.retired.set()
            assert self.go_on.wait(120)
            if self.error is not None:
                raise self.error

        monkeypatch.setattr(Change, "retire", held)


def collect(root: str) -> int:
    """One pass of the gc over everything. Gives how many folders it removed."""
    gc = Collector(layout_of(root), 5.0, slice_folders=1 << 32)
    gc.run_once()
    gc.close()
    return gc.total_removed


async def update(store: Opened) -> bytes | None:
    await store.put("a", b"new")
    return b"new"


async def delete(store: Opened) -> bytes | None:
    await store.delete("a")
    return None


@pytest.mark.parametrize("write", [update, delete])
@pytest.mark.parametrize("sync", ["journal", "index", "folder"])
def test_a_blob_that_the_gc_took_before_the_maps_heard_of_it_is_not_damaged(
    data: DataDirectory,
    sync: str,
    write: Callable[[Opened], Awaitable[bytes | None]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        async with opened(data.root, sync) as store:
            await store.put("a", b"old")
            held = HeldAfterRetiring(monkeypatch)
            writing = asyncio.ensure_future(write(store))
            try:
                await until(held.retired.is_set, "the write")
                assert collect(data.root) == 1
                reading = asyncio.ensure_future(store.read("a"))
                await until(lambda: reading.done() or store.waits_for("a"), "the reader's wait")
            finally:
                held.go_on.set()
            assert await reading == await writing
            assert (await store.store.usage()).damaged == 0

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert not caplog.records


def test_a_blob_whose_write_failed_in_its_middle_is_not_called_damaged(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with opened(data.root) as store:
            await store.put("a", b"old")
            held = HeldAfterRetiring(monkeypatch)
            held.error = OSError(5, "the rest of the batch fails")
            writing = asyncio.ensure_future(store.put("a", b"new"))
            await until(held.retired.is_set, "the write")
            collect(data.root)
            held.go_on.set()
            for waiting in (writing, store.read("a")):
                with pytest.raises(SyncFailed):
                    await waiting
            assert (await store.store.usage()).damaged == 0
        monkeypatch.undo()
        async with opened(data.root) as store:
            assert await store.read("a") == b"new"

    asyncio.run(run())
