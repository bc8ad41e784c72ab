"""A LocalStore in this process, for tests that change what its disk does."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import pytest

from common import durable
from common.config import Config
from common.errors import AlreadyExists, BlobkeepError, NotFound
from services.engine import Events
from services.engines.local.disk import directory
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.locks import StateLock
from services.engines.local.index import row_stamps
from services.engines.local.journal import file as journal_file
from services.engines.local.recovery import multiparts, restart
from services.engines.local.serving.lent_pieces import LentPieces
from services.engines.local.serving.store import LocalStore
from services.engines.local.serving.upload import ALL_WHOLE_BYTES
from services.read_all import all_bytes
from services.store import Blob as AnyBlob
from services.store import Content, unconditional
from tests.support import index_states
from tests.support.same_disk import SAME

SMALL_BODY_BYTES = 4 << 10
STAGED_BYTES = 3 * SMALL_BODY_BYTES


class Opened:
    """A store on `root`; `fatal` holds what it said when a sync failed."""

    def __init__(
        self,
        root: str,
        sync: str = "journal",
        id_bits: int = 16,
        events: Events | None = None,
        **options: Any,
    ) -> None:
        """`sync`: as the option; "index": "journal" with the index on disk, and the state lock is held.
        "index torn" and the like: before that the index is put into that state, see `index_states`.
        """
        self.data_dir: Layout = directory.open_directory(root, id_bits, owner=True)
        index, state = index_states.put_into(self.data_dir, sync), sync
        sync = "journal" if index else sync
        config = Config(dir=root, sync=sync, id_bits=id_bits, small_body_bytes=SMALL_BODY_BYTES, **options)
        self.fatal: list[BlobkeepError] = []
        self.lock: StateLock | None = None
        writer = None
        if index:
            self.lock = StateLock(root, "test")
            self.lock.acquire(0.0)
            with mock.patch.object(restart, "stamp_of", return_value=SAME):
                self.found, writer = restart.restart(self.data_dir, self.lock)
            if writer is not None:
                writer.renew = lambda: SAME
            index_states.keep(self.data_dir, state)
        else:
            self.found = restart.without_index(self.data_dir)
        durable._syncs = sync != "none"  # after the recovery, as in the server
        uploads = multiparts.load(self.data_dir, self.found.live)
        self.store = LocalStore(
            *(self.data_dir, self.found, config, events or Events(), self.fatal.append, uploads, writer)
        )
        # A body that is longer than a small one is staged, unless a test calls `holds_whole`.
        self.store.whole_left_bytes = 0

    def holds_whole(self) -> None:
        """From now on bodies up to 1 MiB are held until they are complete, as in a server."""
        self.store.whole_left_bytes = ALL_WHOLE_BYTES

    async def close(self) -> None:
        await self.store.close()
        if self.lock is not None:
            self.lock.release()

    async def put(self, location: str, body: bytes, *, only_new: bool = False, pieces: int = 1) -> Blob:
        def judge(blob: AnyBlob | None, damaged: bool) -> None:
            if only_new and blob is not None:
                raise AlreadyExists("it is there")

        upload = await self.store.begin(location, judge, Content("text/plain"), len(body))
        step = -(-len(body) // pieces) or 1
        try:
            for at in range(0, len(body), step):
                await upload.write(body[at : at + step])
        except BlobkeepError as err:
            await upload.abort(str(err))
            raise
        return (await upload.commit())[0]

    async def put_lent(self, location: str, body: bytes, declared_bytes: int, step: int = 300_000) -> Blob:
        """An upload into the memory that it lends, `step` bytes at a time."""
        upload = await self.store.begin(location, lambda *_: None, Content("text/plain"), declared_bytes)
        lent = upload.lend()
        assert lent is not None
        try:
            await fill(lent, body, step)
        except BlobkeepError as err:
            await upload.abort(str(err))
            raise
        return (await upload.commit())[0]

    async def read(self, location: str) -> bytes | None:
        """The bytes of the blob, None if there is none. Raises Damaged."""
        try:
            reading = await self.store.open(location)
        except NotFound:
            return None
        try:
            return await all_bytes(reading)
        finally:
            reading.close()

    async def delete(self, location: str) -> None:
        await self.store.delete(location, unconditional)

    def waits_for(self, location: str) -> bool:
        """True while somebody waits for the lock of `location`."""
        return bool(self.store._locks._waiting.get(location))

    async def values(self) -> dict[str, bytes | None]:
        """Every location of the index, with the bytes that a client would read. Its folders are those of
        the locations.
        """
        page = await self.store.list("", "", "", 10_000)
        folded = await self.store.list("", "/", "", 10_000)
        cuts = {blob.location: blob.location.find("/") for blob in page.blobs}
        assert [blob.location for blob in folded.blobs] == [at for at, cut in cuts.items() if cut < 0]
        assert folded.prefixes == sorted({at[: cut + 1] for at, cut in cuts.items() if cut >= 0})
        return {blob.location: await self.read(blob.location) for blob in page.blobs}


@asynccontextmanager
async def opened(
    root: str, sync: str = "journal", id_bits: int = 16, events: Events | None = None, **options: Any
) -> AsyncIterator[Opened]:
    """The store, closed at the end. `sync` "none" lasts only as long. `options`: more, by name."""
    try:
        made = Opened(root, sync, id_bits, events, **options)
        try:
            yield made
        finally:
            await made.close()
    finally:
        durable._syncs = True


@pytest.fixture
def small_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal of 32 KiB: it is quickly made and soon full, so its files take turns.

    And rows have stamps as soon as the clock of their change times allows, so that starts leave them out.
    """
    monkeypatch.setattr(journal_file, "_MIN_BYTES", 32 << 10)
    monkeypatch.setattr(journal_file, "_MAX_BYTES", 32 << 10)
    monkeypatch.setattr(row_stamps, "_QUIET_NS", quiet_ns())


@functools.cache
def quiet_ns() -> int:
    """How long two changes of a folder in memory may have one time: 0 where a look in between ends that."""
    base = tempfile.mkdtemp(prefix="blobkeep-times-", dir=memory_folder())
    times = []
    for number in range(20):
        os.mkdir(f"{base}/{number}")
        times.append(os.stat(base).st_ctime_ns)
    shutil.rmtree(base)
    return 0 if len(set(times)) == len(times) else 20_000_000


def leave_as_killed(store: Opened) -> None:
    """When it is closed, journal and index stay as they are."""
    journaling, keeper = store.store.committer._journaling, store.store._keeper
    assert journaling is not None
    journaling.empty = lambda: None  # type: ignore[method-assign]
    if keeper is not None:
        keeper._seal = lambda epoch: None  # type: ignore[method-assign]


async def fill(lent: LentPieces, body: bytes, step: int) -> None:
    """Put `body` into lent memory, `step` bytes at a time."""
    left = memoryview(body)
    while left:
        room = lent.room()
        assert room
        count = min(len(room), len(left), step)
        room[:count] = left[:count]
        left = left[count:]
        if not lent.filled(count):
            await lent.more()


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait, on the loop, until `condition` is true; fails after 120 s."""
    end = asyncio.get_running_loop().time() + 120
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"{what} did not happen"
        await asyncio.sleep(0.001)


def open_descriptors() -> int:
    """How many open descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def memory_folder() -> str:
    """A folder for many small directories: in memory, if the machine has a file system there."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
