"""The journal's ladder: each call of checkpoint, turn, empty and replay fails, and then the power is cut.

It fails once, twice (so that one retry does not help), or from then on, with each errno that the call can
give. The power is cut at moments after the first failure, on a model of the disk in which a failed sync has
lost the writes that it should have kept. After any cut, everything that was acknowledged is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import random
import shutil
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from common import durable
from common.errors import BlobkeepError
from services.engines.local.disk import directory, layout
from services.engines.local.journal import early_sync, format, replay
from tests.cuts import campaign
from tests.cuts.recorder import ListLog, Op, RecordingOs, recording
from tests.cuts.session import Expected, Mark, Recording, Value
from tests.support.campaign import SIZE, choose, chooser, tally
from tests.support.disk_calls import ALL, CHANGES, READS, standing_between
from tests.support.stores import SMALL_BODY_BYTES, Opened, leave_as_killed, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

_OPENS = frozenset({"EMFILE", "ENFILE", "EACCES", "EIO", "ENOMEM"})
_ENTRIES = frozenset({"EACCES", "EIO", "ENOSPC", "ENOMEM"})
_WRITES = frozenset({"EIO", "ENOSPC"})
# Which errors each call can give; `open` is given ENOSPC where it creates.
GIVES: dict[str, frozenset[str]] = {
    "open": _OPENS,
    "listdir": _OPENS,
    "scandir": _OPENS,
    "stat": frozenset({"EACCES", "EIO", "ENOMEM"}),
    "read": frozenset({"EIO", "ENOMEM"}),
    "pread": frozenset({"EIO", "ENOMEM"}),
    "preadv": frozenset({"EIO", "ENOMEM"}),
    **dict.fromkeys(("write", "pwrite", "fdatasync", "fsync", "posix_fallocate"), _WRITES),
    **dict.fromkeys(("mkdir", "rename", "unlink", "rmdir"), _ENTRIES),
}
ERRORS = ("EMFILE", "ENFILE", "EACCES", "EIO", "ENOSPC", "ENOMEM")
TIMES = {"once": 1, "twice": 2, "lasting": 1 << 30}
_LOCATIONS = ("a", "b", "c", "d")
_WRITES_EACH = 26  # of up to 4 KiB, on journal files of 32 KiB, so that they turn three times or more
_DISKS = 6  # looked at after each failure


@dataclass
class Repeated:
    """Fails call number `at`, counted from 1, of those that can give `error`, and then `times` - 1 more: for
    "twice" calls of the same name, for "lasting" all that can give the error.
    """

    error: str
    times: int
    at: int
    log: ListLog
    armed: bool = False
    calls: int = 0
    hit: list[str] = field(default_factory=list)
    first_no: int = 0  # how many entries the log had at the first failure
    # inodes that were not written back, which was not reported yet
    untold: set[int] = field(default_factory=set)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def before(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """See Plan."""
        with self._mutex:
            if not self.armed or not self._can_give(name, args):
                return args
            self.calls += 1
            first = not self.hit and self.calls == self.at
            again = bool(self.hit) and len(self.hit) < self.times and (self.times > 2 or name == self.hit[0])
            if not (first or again):
                return args
            if first:
                self.first_no = len(self.log.ops)
            self.hit.append(name)
        if name in ("fdatasync", "fsync"):
            self._lose(args[0], whole=ALL in args)
        number = int(getattr(errno, self.error))
        raise OSError(number, os.strerror(number))

    def _can_give(self, name: str, args: tuple[Any, ...]) -> bool:
        creates = name == "open" and self.error == "ENOSPC" and args[1] & os.O_CREAT
        return self.error in GIVES[name] or bool(creates)

    def _lose(self, fd: int, *, whole: bool) -> None:
        """The kernel has dropped what the sync should have made durable. After a syncfs each file reports
        that once. The journal is left out then: if its pages had failed, its own next sync, on an older
        descriptor, would report it.
        """
        spared = layout.JOURNAL_NAME if whole else ""
        RecordingOs(self.log, 0.0).failed_sync(fd, "all" if whole else "node", spared)
        if whole:
            for path in Path(os.readlink(f"/proc/self/fd/{fd}")).rglob("*"):
                with contextlib.suppress(FileNotFoundError):
                    self.untold.add(path.stat().st_ino)

    def sync_file_range(self, fd: int, *_: object) -> int:
        """Like the kernel, reports a failed write-back once."""
        inode = os.fstat(fd).st_ino
        if inode not in self.untold:
            return 0
        self.untold.discard(inode)
        ctypes.set_errno(errno.EIO)
        return -1

    def after(self, name: str) -> None:
        """See Plan."""


class Client:
    """Writes to a store, and marks in the log the answers that it got."""

    def __init__(self, log: ListLog, seed: int, sync: str) -> None:
        self.log = log
        self.sync = sync  # of the stores, see Opened
        self.rng = random.Random(seed)
        self.expected = Expected()
        self._count = 0

    def mark(self, what: str, location: str, value: Value) -> None:
        mark = Mark(what, location, value)
        with self.log.locked():
            self.log.put(Op("mark", os.getpid(), data=msgspec.msgpack.encode(mark)))
        self.expected.take(mark)

    async def write(self, store: Opened) -> bool:
        """Create, update or delete. False if the store has stopped."""
        location = self.rng.choice(_LOCATIONS)
        value = self._value(location)
        self.mark("begin", location, value)
        try:
            await (store.delete(location) if value is None else store.put(location, value))
        except (BlobkeepError, OSError):
            await asyncio.sleep(0)  # the report of a failed sync comes right after the answer
            self.mark("unknown" if store.fatal else "refused", location, value)
        else:
            self.mark("done", location, value)
        return not store.fatal

    def _value(self, location: str) -> Value:
        if self.expected.at(location) != {None} and self.rng.random() < 0.2:
            return None
        self._count += 1
        size = self.rng.choice((10, 3000, SMALL_BODY_BYTES, SMALL_BODY_BYTES + 3000))
        return (b"write %d. " % self._count * size)[:size]

    async def read_all(self, store: Opened) -> None:
        """What is read must be what was acknowledged, and stays so."""
        for location in list(self.expected.possible):
            value = await store.read(location)
            assert value in self.expected.at(location), (location, value, self.expected.at(location))
            self.mark("saw", location, value)


Stage = Callable[[str, Client, Repeated], Coroutine[Any, Any, None]]


async def turn(root: str, client: Client, fault: Repeated) -> None:
    """The files take turns, and are checkpointed in the background."""
    store = Opened(root, client.sync)
    await _fill(store, client)
    fault.armed = True
    for _ in range(_WRITES_EACH):
        if not await client.write(store):
            break
    fault.armed = False
    await _go_on(store, client)


async def turn_with_early_syncs(root: str, client: Client, fault: Repeated) -> None:
    """The same, with a sync of the file system after each batch."""
    real = early_sync._PORTION_BYTES, early_sync._QUICKLY_S, early_sync._DIRTY_BYTES
    early_sync._PORTION_BYTES, early_sync._QUICKLY_S, early_sync._DIRTY_BYTES = 1, 3600.0, 0
    try:
        await turn(root, client, fault)
    finally:
        early_sync._PORTION_BYTES, early_sync._QUICKLY_S, early_sync._DIRTY_BYTES = real


async def empty(root: str, client: Client, fault: Repeated) -> None:
    """The journal is emptied again and again, as for a quarantine."""
    store = Opened(root, client.sync)
    await _fill(store, client)
    fault.armed = True
    for _ in range(4):
        with contextlib.suppress(BlobkeepError, OSError):
            await store.store.committer.call(lambda: None)
        if not (await client.write(store) and await client.write(store)):
            break
    fault.armed = False
    await _go_on(store, client)


async def close(root: str, client: Client, fault: Repeated) -> None:
    """A clean stop."""
    store = Opened(root, client.sync)
    await _fill(store, client)
    fault.armed = True
    await store.close()
    fault.armed = False
    await _restart(root, client)


async def start(root: str, client: Client, fault: Repeated) -> None:
    """A replay after a kill, repeated as by supervisord."""
    store = Opened(root, client.sync)
    await _fill(store, client)
    for _ in range(5):
        await client.write(store)
    await _kill(store)
    fault.armed = True
    for _ in range(3):
        try:
            replay.replay(directory.open_directory(root, 16, owner=True))
        except (BlobkeepError, OSError):
            continue
        break
    fault.armed = False
    await _restart(root, client)


STAGES: tuple[Stage, ...] = (turn, turn_with_early_syncs, empty, close, start)


async def _fill(store: Opened, client: Client) -> None:
    """Both files were used, and one of them is in use."""
    for _ in range(_WRITES_EACH // 2):
        assert await client.write(store)


async def _go_on(store: Opened, client: Client) -> None:
    """The disk works again. The server goes on, unless it stopped. Then it is killed and started again."""
    if not store.fatal:
        await client.read_all(store)
        for _ in range(3):
            if not await client.write(store):
                break  # the next commit learns of a failed sync in the background
            assert not any(len(values) > 1 for values in client.expected.possible.values())
    await _kill(store)
    await _restart(store.data_dir.root, client)


async def _restart(root: str, client: Client) -> None:
    store = Opened(root, client.sync)
    assert not store.found.quarantined
    await client.read_all(store)
    for _ in range(3):
        assert await client.write(store)
    await _kill(store)


async def _kill(store: Opened) -> None:
    """End its threads, without any further change on the disk."""
    leave_as_killed(store)
    await store.close()


def run(base: Path, stage: Stage, sync: str, fault: Repeated, seed: int) -> Recording:
    """Run a stage with a fault, recorded."""
    top = base / "recorded"
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir()
    kernel = mock.patch.object(durable, "_sync_file_range", fault.sync_file_range)
    waits = mock.patch.object(format, "DISK_WAITS_S", (0.0, 0.0))
    with recording(fault.log), standing_between(fault, CHANGES | READS), kernel, waits:
        asyncio.run(stage(str(top / "data"), Client(fault.log, seed, sync), fault))
    return Recording(str(top), fault.log.ops)


Ladder = tuple[Stage, str, str, str]


def ladders_of(sync: str) -> list[Ladder]:
    return [(stage, error, times, sync) for stage in STAGES for error in ERRORS for times in TIMES]


LADDERS = [
    *choose("journal ladder", ladders_of("journal"), 12),
    *choose("journal ladder of indexes", ladders_of("index"), 2),
]


def name_of(ladder: Ladder) -> str:
    stage, error, times, sync = ladder
    return f"{stage.__name__}-{error}-{times}" + ("" if sync == "journal" else f"-{sync}")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("ladder", LADDERS, ids=name_of)
def test_nothing_acknowledged_is_lost_after_a_failure_and_a_power_cut(ladder: Ladder, base: Path) -> None:
    stage, error, times, sync = ladder
    name = name_of(ladder)
    rng = chooser(name)
    seed = rng.randrange(1 << 30)
    unharmed = Repeated(error, 1, 0, ListLog())
    run(base, stage, sync, unharmed, seed)
    rungs = range(1, unharmed.calls + 1)
    for at in rungs if SIZE == 0 else sorted(rng.sample(rungs, min(SIZE, len(rungs)))):
        fault = Repeated(error, TIMES[times], at, ListLog())
        recorded = run(base, stage, sync, fault, seed)
        found = campaign.check(
            f"{name}, call {at}", recorded, base, seed, _DISKS, after=fault.first_no, served=False
        )
        assert not found.wrong, (fault.hit[:5], found.wrong)
        tally("failures of the journal's calls", bool(fault.hit))
        tally("disks after them and a power cut", found.disks.total())
