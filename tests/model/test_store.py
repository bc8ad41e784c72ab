"""The model test: a store on a real directory beside a dictionary. After each step memory = disk = model.

Few ids, so that they run out and come back all the time; restarts in any mode, clean or not; the gc and the
scrub in between; a clock that goes back.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TypeVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from common import durable
from common.errors import AlreadyExists, NoIdLeft, NotFound
from services.engines.local.disk import directory
from services.engines.local.serving import ids
from services.engines.local.serving.upload import LocalUpload
from services.engines.local.upkeep import scrubber
from services.engines.local.upkeep.collector import Collector
from services.store import Content
from tests.support import rules
from tests.support.campaign import SEED, SIZE, tally
from tests.support.stores import Opened, memory_folder, small_journal

__all__ = ["small_journal"]

T = TypeVar("T")

_real_time_ns = time.time_ns
FEW_IDS = 9
LOCATIONS = st.sampled_from(["a", "b/c", "b/d", "\u2713", "e" * 1024])
BODIES = st.one_of(st.binary(max_size=40), st.integers(0, 255).map(lambda n: bytes([n]) * 9000))
SYNCS = st.sampled_from(["journal", "journal", "index", "folder", "none"])


class StoreMachine(RuleBasedStateMachine):
    """One history. `model`: what must be there, by location."""

    def __init__(self) -> None:
        super().__init__()
        self.root = tempfile.mkdtemp(prefix="blobkeep-model-", dir=memory_folder())
        self.model: dict[str, bytes] = {}
        self.runner = asyncio.Runner()
        self.clock_is_behind_s = 0
        self.upload: LocalUpload | None = None
        self.patches = ExitStack()
        self.patches.enter_context(mock.patch("time.time_ns", self.now_ns))
        self.patches.enter_context(mock.patch.object(ids, "_ROW_IDS", FEW_IDS))

    def now_ns(self) -> int:
        return _real_time_ns() - self.clock_is_behind_s * 10**9

    @initialize(id_bits=st.sampled_from([16, 32]), sync=SYNCS)
    def start(self, id_bits: int, sync: str) -> None:
        self.id_bits = id_bits
        self.open(sync)

    def open(self, sync: str) -> None:
        durable._syncs = True

        async def make() -> Opened:
            return Opened(self.root, sync, self.id_bits)

        self.store = self.runner.run(make())
        self.store.store.ids.capacity = FEW_IDS
        self.upload = None
        self.last_seq = 0
        self.gc = Collector(self.store.data_dir, 5.0, slice_folders=1 << 32)

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work()

        return self.runner.run(run())

    def folders(self) -> int:
        return len(directory.ids_in(self.store.data_dir))

    def write(self, location: str, body: bytes, *, only_new: bool) -> None:
        folders = self.folders()
        try:
            blob = self.do(lambda: self.store.put(location, body, only_new=only_new, pieces=3))
        except NoIdLeft:
            assert folders == FEW_IDS
        except AlreadyExists:
            assert only_new
            assert location in self.model
        else:
            assert not only_new or location not in self.model
            self.model[location] = body
            assert blob.seq > self.last_seq, (
                "a sequence number was given that is not greater than all before it"
            )
            self.last_seq = blob.seq

    @rule(location=LOCATIONS, body=BODIES)
    def create(self, location: str, body: bytes) -> None:
        self.write(location, body, only_new=True)

    @rule(location=LOCATIONS, body=BODIES)
    def put(self, location: str, body: bytes) -> None:
        self.write(location, body, only_new=False)

    @rule(location=LOCATIONS)
    def delete(self, location: str) -> None:
        try:
            self.do(lambda: self.store.delete(location))
        except NotFound:
            assert location not in self.model
        else:
            del self.model[location]

    @rule(location=LOCATIONS, body=BODIES)
    def read_across_a_write(self, location: str, body: bytes) -> None:
        """A client that has opened the old blob reads it to the end, whatever happens to its location and
        its id.
        """
        if location not in self.model:
            return
        old = self.model[location]
        reading = self.do(lambda: self.store.store.open(location))
        self.write(location, body, only_new=False)
        self.gc.run_once()

        async def rest() -> bytes:
            return b"".join([bytes(piece) async for piece in reading.chunks(0, len(old) - 1)])

        assert self.do(rest) == old
        reading.close()

    @rule(location=LOCATIONS)
    def begin_and_stay(self, location: str) -> None:
        """An upload under way: on disk it is Pending, if it got an id, and no client sees it."""
        if self.upload is not None:
            return

        async def begin() -> LocalUpload | None:
            upload = await self.store.store.begin(location, lambda blob, damaged: None, Content(), None)
            try:
                await upload.write(b"half" * 4000)
            except NoIdLeft as err:
                await upload.abort(str(err))
                return None
            return upload

        self.upload = self.do(begin)
        self.upload_location = location

    @rule()
    def finish(self) -> None:
        if self.upload is not None:
            upload, self.upload = self.upload, None
            blob, was_there = self.do(upload.commit)
            assert was_there == (self.upload_location in self.model)
            self.model[self.upload_location] = b"half" * 4000
            assert blob.seq > self.last_seq
            self.last_seq = blob.seq

    @rule()
    def abort(self) -> None:
        if self.upload is not None:
            upload, self.upload = self.upload, None
            self.do(lambda: upload.abort("the client has left"))

    @rule()
    def collect(self) -> None:
        self.gc.run_once()
        under_way = self.upload is not None
        assert len(self.model) <= self.folders() <= len(self.model) + under_way

    @rule()
    def scrub_all(self) -> None:
        tally = scrubber.ScrubTally()
        for blob_id in directory.ids_in(self.store.data_dir):
            scrubber.check_blob(self.store.data_dir, blob_id, tally, lambda read_bytes: None)
        assert (tally.checked, tally.damaged) == (len(self.model), [])

    @rule(sync=SYNCS)
    def restart(self, sync: str) -> None:
        self.do(self.store.close)
        self.gc.close()
        self.open(sync)

    @rule(sync=SYNCS)
    def restart_as_if_killed(self, sync: str) -> None:
        """What a kill between requests leaves: uploads in Pending, a journal in use, and hints that the
        gc has not read.
        """
        self.store.store._uploads.clear()
        journaling = self.store.store.committer._journaling
        if journaling is not None:
            journaling.empty = lambda: None  # type: ignore[method-assign]
        self.restart(sync)

    @rule(seconds=st.sampled_from([0, 1, 3600, 10 * 365 * 86400]))
    def set_clock_back(self, seconds: int) -> None:
        self.clock_is_behind_s = seconds

    @invariant()
    def memory_is_disk_is_model(self) -> None:
        if not hasattr(self, "store"):
            return
        tally("states of a store compared", 1)
        assert self.do(self.store.values) == self.model
        assert rules.live_blobs(self.root) == self.model
        counts = self.do(self.store.store.usage)
        assert (counts.blobs, counts.damaged) == (len(self.model), 0)
        assert counts.bytes == sum(map(len, self.model.values()))
        assert not self.store.fatal

    def teardown(self) -> None:
        try:
            if hasattr(self, "store"):
                self.do(self.store.close)
                self.gc.close()
                assert not (broken := rules.broken_rules(self.root)), broken
                assert rules.live_blobs(self.root) == self.model
        finally:
            self.patches.close()
            durable._syncs = True
            self.runner.close()
            shutil.rmtree(self.root)


@pytest.mark.usefixtures("small_journal")
def test_a_store_is_a_dictionary() -> None:
    run_state_machine_as_test(
        seed(SEED)(StoreMachine),
        settings=settings(
            max_examples=60 * SIZE or 2000,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
