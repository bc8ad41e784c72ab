"""The protocol under every interleaving: two writers, a reader, collectors and a sweep on one location.

What must hold, whatever happens in between (docs/objects.md):

- what the pointer holds has its data, always;
- no write takes effect twice, or after it was refused; none that was acknowledged is undone but by another;
- a refusal, and what a reader gets, was true at a moment between the request's begin and its end;
- when everything has ended, the collector and the sweep leave nothing but what is served.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest

from common.checksum import sums_of
from common.errors import AlreadyExists, Damaged, NotFound, Unavailable
from services.engine import DeletedSince
from services.engines.objects import commit, damage, keys, pointer, pointers
from services.engines.objects.bucket import Bucket, Clock, pages
from services.engines.objects.collect import Collecting
from services.engines.objects.commit import StagedWrite, Tools, change_at_once
from services.engines.objects.held import HeldObject
from services.engines.objects.pointer import Facts, Known
from services.engines.objects.pointers import Pointers
from services.engines.objects.quarantine import ObjectsQuarantine
from services.engines.objects.sweep import Sweeping
from services.store import Blob, Store
from tests.objects.exploring import (
    Faults,
    ModelBucket,
    ModelClock,
    Process,
    Scene,
    Watcher,
    World,
    explore,
    run_alone,
)

LOCATION = "a"
POINTER = keys.pointer_key(LOCATION)
SMALL = Facts(size=1, sha256=b"", begun_ns=0, modified_ns=0)
LARGE = Facts(size=1, sha256=b"", begun_ns=0, modified_ns=0, part_bytes=1, crcs=sums_of(b"x")[1])


class History(Watcher):
    """Every state that the pointer had, and what was answered to whom.

    `sweeps`: whether a sweep is needed, besides the collector, to leave nothing behind.
    """

    sweeps = True

    def __init__(self, world: World) -> None:
        self._world = world
        self._states: list[str | None] = [None]  # the txn of what is served; None if there is nothing
        self._applied: list[str] = []
        self._refused: set[str] = set()
        self._open: dict[str, int] = {}  # calls that have begun, and how many states there were then
        self._needs: dict[str, bool | None] = {}  # whether a write may only replace something, or nothing
        self._generation = 0
        world.wrote = self._wrote

    def facts(self) -> object:
        return tuple(self._states), tuple(self._applied), frozenset(self._refused), tuple(self._open.items())

    def _wrote(self, key: str, data: bytes | None) -> None:
        if key != POINTER:
            return
        if data is None:  # never in this protocol; one of the planted faults
            self._states.append(None)
            self._generation = 0
            return
        made = pointer.decode(data)
        assert made.generation > self._generation
        self._generation = made.generation
        if made.since == made.generation:
            assert made.txn not in self._applied, f"{made.txn} took effect twice"
            assert made.txn not in self._refused, f"{made.txn} took effect though it was refused"
            needs = self._needs.get(made.txn)
            assert needs is None or needs == (self._states[-1] is not None), (
                f"{made.txn} replaced the wrong thing"
            )
            self._applied.append(made.txn)
            self._states.append(made.txn if made.state == pointer.OK else None)

    def step(self) -> None:
        data = self._world.objects.get(POINTER)
        if data is not None:
            held = pointer.decode(data).data_txn
            assert not held or keys.part_key(LOCATION, held, 0) in self._world.objects, (
                f"{held} has lost its data"
            )

    def needs(self, write: str, judge: commit.Judge) -> None:
        """The write has this txn, and may replace only what its condition allows."""
        self._needs[write] = False if judge is only_new else True if judge is only_there else None

    def begin(self, who: str) -> None:
        self._open[who] = len(self._states) - 1

    def acknowledged(self, who: str, write: str) -> None:
        self._open.pop(who)
        assert write in self._applied, f"{write} was acknowledged and never took effect"

    def refused(self, who: str, write: str, *, live: bool) -> None:
        """The write was answered with an error because something (`live`) or nothing was there."""
        window = self._states[self._open.pop(who) :]
        assert any((state is not None) == live for state in window), f"{write} was refused without a reason"
        assert write not in self._applied, f"{write} was refused and took effect"
        self._refused.add(write)

    def unclear(self, who: str) -> None:
        self._open.pop(who)

    def has_read(self, who: str, value: str | None) -> None:
        assert value in self._states[self._open.pop(who) :], f"{who} read {value}, which was not there"

    def left(self, world: World) -> None:
        run_alone(world, collector, "end")
        if self.sweeps:
            run_alone(world, sweeper, "end")
        data = world.objects.pop(POINTER, None)
        held = pointer.decode(data).data_txn if data is not None else ""
        kept = [keys.part_key(LOCATION, held, 0)] if held else []
        assert sorted(world.objects) == kept, "something was left behind"


class Swept(History):
    """The same, but no data comes after its collection, so the collector alone leaves nothing behind."""

    sweeps = False


class Noted(History):
    """The same. What is kept of damaged blobs is dropped at the end."""

    def left(self, world: World) -> None:
        run_alone(world, dropper, "end")
        super().left(world)


def tools_of(bucket: Bucket, clock: Clock) -> Tools:
    return Tools(bucket, Pointers(bucket, clock), clock)


def only_new(known: Known) -> None:
    if known.blob is not None:
        raise AlreadyExists("it is there")


def only_there(known: Known) -> None:
    if known.blob is None:
        raise NotFound("it is not there")


@contextmanager
def call(history: History, who: str, clock: Any, judge: commit.Judge) -> Iterator[None]:
    """One call of a writer, reported to the history. Its txn is the last that its clock made."""
    history.begin(who)
    clock.made = lambda write: history.needs(write, judge)
    try:
        yield
    except AlreadyExists:
        history.refused(who, clock.last, live=True)
    except NotFound:
        history.refused(who, clock.last, live=False)
    except Unavailable:
        history.unclear(who)
    else:
        history.acknowledged(who, clock.last)


def small(judge: commit.Judge, facts: Facts | None = SMALL) -> Process:
    """A write of a small blob, or with `facts` None a delete."""

    async def process(history: History, bucket: Bucket, clock: Any) -> None:
        with call(history, clock.name, clock, judge):
            await change_at_once(tools_of(bucket, clock), LOCATION, judge, facts, b"x" if facts else b"")

    return process


def large(judge: commit.Judge) -> Process:
    """A write of a blob whose bytes are in an object of their own."""

    async def process(history: History, bucket: Bucket, clock: Any) -> None:
        tools = tools_of(bucket, clock)
        with call(history, clock.name, clock, judge):
            write = StagedWrite(tools, LOCATION, judge)
            known = await tools.pointers.read(LOCATION)
            judge(known)
            try:
                await write.begin(known)
                await write.bring(0, b"x")
                await write.take_effect(LARGE)
            except commit.Claimed as err:
                raise Unavailable("claimed") from err
            except (AlreadyExists, NotFound):
                await write.give_up("refused")
                raise

    return process


async def reader(history: History, bucket: Bucket, clock: Any) -> None:
    """A GET: the pointer, then its data. If that is gone, the pointer again."""
    history.begin(clock.name)
    tools = tools_of(bucket, clock)
    for _ in range(3):
        known = await tools.pointers.read(LOCATION)
        blob = known.blob
        if blob is None:
            history.has_read(clock.name, None)
            return
        held = blob.pointer.data_txn
        if not held or await bucket.get(keys.part_key(LOCATION, held, 0)) is not None:
            history.has_read(clock.name, blob.version)
            return
    history.unclear(clock.name)


async def holder(history: History, bucket: Bucket, clock: Any) -> None:
    """Two GETs of a small blob. The second names what the first has read, and may get only word of it."""
    seen = tools_of(bucket, clock).pointers
    history.begin(clock.name)
    known, whole = await seen.read_whole(LOCATION)
    history.has_read(clock.name, known.blob.version if known.blob is not None else None)
    if known.etag is not None:
        await bucket.get(keys.GC)  # it does something else meanwhile
        history.begin(clock.name)
        known, _ = await seen.read_again(LOCATION, HeldObject(known, known.etag, bytes(whole)))
        history.has_read(clock.name, known.blob.version if known.blob is not None else None)


async def collector(history: object, bucket: Bucket, clock: Clock) -> None:
    """One pass of the gc that does not wait: it takes every Pending write for dead."""
    collecting = Collecting(tools_of(bucket, clock), reading_s=0)
    async for page in pages(bucket, keys.GC):
        for listed in page:
            await collecting.settle(listed.key.removeprefix(keys.GC), silent=True)


async def sweeper(history: object, bucket: Bucket, clock: Clock) -> None:
    """One sweep over all data."""
    sweeping = Sweeping(tools_of(bucket, clock), reading_s=0)
    async for page in pages(bucket, keys.DATA):
        for listed in page:
            owner = keys.owner_of(listed.key)
            assert owner is not None
            await sweeping.sweep(*owner, [listed.key])


async def condemner(history: object, bucket: Bucket, clock: Clock) -> None:
    """A server takes what is served for damaged."""
    tools = tools_of(bucket, clock)
    blob = (await tools.pointers.read(LOCATION)).blob
    if blob is not None:
        await damage.condemn(tools, LOCATION, blob.version, "it looked wrong")


class Looking:
    """As much of a store as a restore needs where its location was written or deleted since."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def stat(self, location: str) -> Blob | None:
        return (await self._tools.pointers.read(location)).blob


async def _names(bucket: Bucket) -> list[str]:
    found = [listed.key async for page in pages(bucket, keys.DAMAGED) for listed in page]
    return [key.removeprefix(keys.DAMAGED) for key in found]


async def restorer(history: object, bucket: Bucket, clock: Clock) -> None:
    """`quarantine restore` of all that is kept, as an operator who wants nothing overwritten."""
    tools = tools_of(bucket, clock)
    quarantine = ObjectsQuarantine(tools, cast(Store, Looking(tools)))
    for name in await _names(bucket):
        with suppress(AlreadyExists, DeletedSince, NotFound, Damaged, Unavailable):
            await quarantine.restore(name, None, even_deleted=False)


async def dropper(history: object, bucket: Bucket, clock: Clock) -> None:
    """`quarantine drop` of all that is kept."""
    tools = tools_of(bucket, clock)
    quarantine = ObjectsQuarantine(tools, cast(Store, Looking(tools)))
    for name in await _names(bucket):
        with suppress(NotFound, Unavailable):
            await quarantine.drop(name)


def many(*processes: Process) -> Process:
    """Run these one after the other."""

    async def process(history: History, bucket: ModelBucket, clock: ModelClock) -> None:
        for one in processes:
            await one(history, bucket, clock)

    return process


def anything(known: Known) -> None:
    """A write that replaces whatever is there."""


NO_FAULTS = Faults()


def scene(faults: Faults = NO_FAULTS, **processes: Process) -> Scene:
    return Scene(processes, faults, History)


DAMAGED_BLOB = many(large(only_new), condemner)

SCENES: dict[str, Scene] = {
    "two creates": scene(Faults(lost=1, false_412=1, late=1), w=small(only_new), v=small(only_new)),
    "create, then delete, and create": scene(
        Faults(late=1, twice=1), w=many(small(only_new), small(only_there, None)), v=small(only_new), r=reader
    ),
    "a reader that holds what it has read": scene(
        Faults(late=1), w=many(small(only_new), small(only_there)), d=small(only_there, None), r=holder
    ),
    "three that write anything": scene(
        Faults(lost=1, false_412=1), w=small(anything), v=small(anything), u=small(anything)
    ),
    "update and delete": scene(
        Faults(late=1, false_412=1), w=many(small(only_new), small(only_there)), d=small(only_there, None)
    ),
    "large create": scene(Faults(late=1, lost=1), w=large(only_new), g=collector),
    "large create, and again late": scene(Faults(twice=2), w=large(only_new), g=collector, s=sweeper),
    "large anything, and again late": scene(Faults(twice=2), w=large(anything), g=collector),
    "two large creates": scene(Faults(false_412=1), w=large(only_new), v=large(only_new), g=collector),
    "large over large": scene(w=many(large(only_new), large(anything)), v=large(anything), g=collector),
    "small over large": scene(
        Faults(lost=1), w=large(anything), v=small(anything), g=many(collector, collector), r=reader
    ),
    "large deleted": scene(
        Faults(late=1), w=large(only_new), d=small(only_there, None), g=many(collector, collector), r=reader
    ),
    "a large blob deleted": Scene(
        {"d": small(only_there, None), "g": collector, "r": reader}, Faults(late=1), Swept, large(only_new)
    ),
    "a large blob replaced": Scene(
        {"w": small(anything), "g": collector}, Faults(lost=1, late=1), Swept, large(only_new)
    ),
    "a large blob deleted, no fault": Scene(
        {"d": small(only_there, None), "g": collector, "r": reader}, NO_FAULTS, Swept, large(only_new)
    ),
    "a large blob replaced, an answer lost": Scene(
        {"w": small(anything), "g": collector}, Faults(lost=1), Swept, large(only_new)
    ),
    "a damaged blob restored or replaced": Scene(
        {"r": restorer, "w": small(anything), "g": collector}, Faults(lost=1), Noted, DAMAGED_BLOB
    ),
    "a damaged blob restored or dropped": Scene(
        {"r": restorer, "d": dropper}, Faults(lost=1, late=1, twice=1), Noted, DAMAGED_BLOB
    ),
    "a damaged blob dropped or replaced": Scene(
        {"d": dropper, "w": large(anything), "g": collector}, Faults(lost=1), Noted, DAMAGED_BLOB
    ),
    "a blob condemned and restored and deleted": Scene(
        {"c": many(condemner, restorer), "d": small(anything, None), "g": collector},
        NO_FAULTS,
        Noted,
        large(only_new),
    ),
    "two collectors": scene(Faults(twice=1), w=large(anything), g=collector, c=collector),
    "a sweep and two writers": scene(w=large(anything), v=large(anything), s=sweeper, g=collector),
}


# Explored in every run of the tests, in a second each; the others take up to minutes.
QUICK = ["two creates", "create, then delete, and create", "three that write anything", "update and delete"]
QUICK += ["a damaged blob restored or replaced", "a damaged blob restored or dropped"]
QUICK += ["a reader that holds what it has read", "large create", "large anything, and again late"]
QUICK += ["a large blob deleted, no fault", "a large blob replaced, an answer lost"]


@pytest.mark.parametrize("name", QUICK)
def test_every_interleaving_is_right(name: str) -> None:
    assert explore(SCENES[name]) > 50


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name in SCENES if name not in QUICK])
def test_every_interleaving_of_more_is_right(name: str) -> None:
    assert explore(SCENES[name]) > 1000


# A writer whose upload took long.
LATE = [
    "two creates",
    "large create",
    "large anything, and again late",
    "a large blob replaced, an answer lost",
]


@pytest.mark.parametrize("name", [*LATE, pytest.param("a large blob replaced", marks=pytest.mark.slow)])
def test_a_writer_that_remembers_nothing_is_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose upload took long: what it saw at its begin is too old, so it must look again before
    it replaces anything.
    """
    monkeypatch.setattr(pointers, "REMEMBERED_NS", 0)
    assert explore(SCENES[name]) > 50


@pytest.mark.parametrize("name", ["two creates", "three that write anything", "large create"])
def test_a_pointer_that_remembers_little_leads_to_no_wrong_answer(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pointer, "KEPT_PAST", 1)
    monkeypatch.setattr(pointer, "MAX_PAST", 1)
    assert explore(SCENES[name]) > 50
