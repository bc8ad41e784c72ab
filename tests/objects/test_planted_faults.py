"""The model test finds faults: each of these breaks one step of the protocol, and must be found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from services.engines.objects import collect, commit, decide, keys, pointer
from services.engines.objects.bucket import Bucket, Clock
from services.engines.objects.collect import Collecting
from services.engines.objects.commit import Change, StagedWrite, StateObject
from services.engines.objects.decide import Finding, Outcome
from services.engines.objects.entry import Entry
from services.engines.objects.held import HeldObject
from services.engines.objects.pointer import Known
from services.engines.objects.pointers import Pointers
from services.engines.objects.quarantine import ObjectsQuarantine
from services.engines.objects.sweep import Fate, Sweeping
from tests.objects.exploring import Faults, Scene, Wrong, explore
from tests.objects.test_model import (
    DAMAGED_BLOB,
    POINTER,
    Noted,
    Swept,
    anything,
    collector,
    dropper,
    holder,
    large,
    many,
    only_new,
    only_there,
    restorer,
    scene,
    small,
    sweeper,
)

Plant = Callable[[pytest.MonkeyPatch], None]


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """The gc concludes from the state object alone that a write is dead."""

    def finding(entry: Entry, now: Known) -> Finding:
        found = decide.finding(entry, now)
        return Finding.KILLED if found is Finding.OPEN else found

    patch.setattr(collect, "finding", finding)


def fence_names_nobody(patch: pytest.MonkeyPatch) -> None:
    """The gc raises the generation and goes on, but does not record which write it killed."""
    real = pointer.fenced

    def fenced(known: Known, **about: Any) -> pointer.Pointer:
        return real(known, **(about | {"killed": "nobody"}))

    def finding(entry: Entry, now: Known) -> Finding:
        found = decide.finding(entry, now)
        is_fenced = now.pointer is not None and now.generation > entry.base
        return Finding.KILLED if found is Finding.OPEN and is_fenced else found

    patch.setattr(pointer, "fenced", fenced)
    patch.setattr(collect, "finding", finding)


def outcome_of(change: Callable[[Outcome], Outcome]) -> Plant:
    """The writer draws another conclusion from the pointer."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(commit, "outcome", lambda *args, **named: change(decide.outcome(*args, **named)))

    return plant


def refused_is_lost(patch: pytest.MonkeyPatch) -> None:
    """The pointer is not looked at for the write's own txn after a 412."""

    def outcome(write: str, base: int, now: Known, *, mortal: bool) -> Outcome:
        return Outcome.LOST

    patch.setattr(commit, "outcome", outcome)


def past_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A pointer remembers no earlier states, and does not say that it forgot some."""
    patch.setattr(pointer, "_remember", lambda old, new, now_ns: ([], 0))


def past_pruned(patch: pytest.MonkeyPatch) -> None:
    """A pointer remembers one earlier state, and does not say that it forgot others."""
    real = pointer._remember
    patch.setattr(pointer, "_remember", lambda old, new, now_ns: (real(old, new, now_ns)[0][:1], 0))


def unknown_is_lost(patch: pytest.MonkeyPatch) -> None:
    """What a pointer has forgotten is taken for something that never happened."""
    patch.setattr(pointer, "KEPT_PAST", 1)
    patch.setattr(pointer, "MAX_PAST", 1)
    outcome_of(lambda found: Outcome.LOST if found is Outcome.UNKNOWN else found)(patch)


def unconditional(patch: pytest.MonkeyPatch) -> None:
    """The pointer is written without a condition."""

    class Loose:
        def __init__(self, bucket: Bucket) -> None:
            self._bucket = bucket

        def __getattr__(self, name: str) -> Any:
            return getattr(self._bucket, name)

        async def put(self, key: str, data: Any, when: Any) -> str:
            return await self._bucket.put(key, data, None if key == POINTER else when)

    real = Change.__init__

    def init(self: Change, tools: commit.Tools, *args: Any, **named: Any) -> None:
        real(self, tools, *args, **named)
        self._bucket = Loose(tools.bucket)

    patch.setattr(Change, "__init__", init)


def old_data_first(patch: pytest.MonkeyPatch) -> None:
    """The old data is deleted before the swap."""
    real = StateObject.cover

    async def cover(self: StateObject, known: Known) -> None:
        await real(self, known)
        if self.entry.old:
            await self._bucket.delete([keys.part_key(self.entry.location, self.entry.old, 0)])

    patch.setattr(StateObject, "cover", cover)


def old_not_named(patch: pytest.MonkeyPatch) -> None:
    """The state object does not say what is replaced."""
    real = msgspec.structs.replace
    patch.setattr(
        msgspec.structs,
        "replace",
        lambda entry, **new: real(entry, **{k: v for k, v in new.items() if k != "old"}),
    )


def entry_first(patch: pytest.MonkeyPatch) -> None:
    """The gc removes the state object before the data."""
    real = Collecting._delete

    async def delete(self: Collecting, entry: Entry, now: Known) -> collect.Result:
        await self._bucket.delete([keys.gc_key(entry.txn)])
        return await real(self, entry, now)

    patch.setattr(Collecting, "_delete", delete)


def current_is_garbage(patch: pytest.MonkeyPatch) -> None:
    """The gc takes what a write brought for garbage, though the pointer holds it."""
    patch.setattr(collect, "garbage", lambda entry, now: [entry.txn])


def data_before_state(patch: pytest.MonkeyPatch) -> None:
    """Data is stored before the state object is made."""

    async def begin(self: StagedWrite, known: Known) -> None:
        self._known = known

    patch.setattr(StagedWrite, "begin", begin)


def sweep_looks_late(patch: pytest.MonkeyPatch) -> None:
    """The sweep looks at the pointer first, and then for a state object."""

    async def sweep(self: Sweeping, name: str, txn: str, data_keys: Any) -> Fate:
        known = await self._pointers.read_listed(name)
        if known.pointer is not None and known.pointer.data_txn == txn:
            return Fate.SERVED
        if await self._bucket.get(keys.gc_key(txn)) is not None:
            return Fate.NAMED
        await self._bucket.delete(data_keys)
        return Fate.REMOVED

    patch.setattr(Sweeping, "sweep", sweep)


def held_is_served_unasked(patch: pytest.MonkeyPatch) -> None:
    """What is in memory is served without a word of the store."""

    async def read_again(self: Pointers, location: str, held: HeldObject) -> tuple[Known, bytes]:
        return held.known, held.whole

    patch.setattr(Pointers, "read_again", read_again)


def restored_unconditionally(patch: pytest.MonkeyPatch) -> None:
    """A restore does not ask that the damaged blob is still there when it brings it back."""

    async def swap_back(self: ObjectsQuarantine, found: pointer.Pointer, body: Any) -> bool:
        known = await self._pointers.read(found.location)
        if known.pointer is None or known.pointer.txn != found.txn:
            return False
        await self._bucket.put(POINTER, pointer.encode(pointer.restored(known.pointer), body), None)
        return True

    patch.setattr(ObjectsQuarantine, "_swap_back", swap_back)


def dropped_at_once(patch: pytest.MonkeyPatch) -> None:
    """A drop removes the data before its location is deleted."""

    async def drop(self: ObjectsQuarantine, name: str) -> int:
        known, _ = await self._pointers.read_note(name)
        if known.pointer is not None:
            await self._bucket.delete([keys.part_key(known.pointer.location, name, 0)])
            await self._delete(known.pointer)
        await self._bucket.delete([keys.damaged_key(name)])
        return 0

    patch.setattr(ObjectsQuarantine, "drop", drop)


async def tombstone_remover(history: object, bucket: Bucket, clock: Clock) -> None:
    """A cleanup that the protocol does not have: it removes the pointer of a deleted location."""
    got = await bucket.get(POINTER)
    if got is not None and pointer.decode(got.data).state == pointer.DELETED:
        await bucket.delete([POINTER])


def nothing(patch: pytest.MonkeyPatch) -> None:
    """Breaks nothing: the fault is in the scene itself."""


CREATES = scene(Faults(false_412=1), w=small(only_new), v=small(only_new))
ANYTHING = scene(Faults(lost=1), w=small(anything), v=small(anything), u=small(anything))
LARGE = scene(Faults(late=1), w=large(only_new), g=collector)
AGAIN = scene(Faults(twice=2), w=large(anything), g=collector)
OVER = scene(w=many(large(only_new), large(anything)), v=large(anything), g=collector)
SEVERAL = scene(
    Faults(lost=1),
    w=many(small(only_new), small(anything)),
    v=small(anything),
    u=many(small(anything), small(anything)),
)
DELETED = Scene({"d": small(only_there, None), "g": collector}, Faults(), Swept, large(only_new))
SWEPT = scene(w=large(only_new), s=sweeper, g=collector)

PLANTED: dict[str, tuple[Plant, Scene]] = {
    "no fence": (no_fence, LARGE),
    "a fence that names nobody": (fence_names_nobody, AGAIN),
    "a dead writer goes on": (outcome_of(lambda o: Outcome.LOST if o is Outcome.KILLED else o), AGAIN),
    "the pointer is not looked at after a 412": (refused_is_lost, CREATES),
    "an open outcome taken for success": (
        outcome_of(lambda o: Outcome.APPLIED if o is Outcome.OPEN else o),
        LARGE,
    ),
    "a lost swap taken for success": (
        outcome_of(lambda o: Outcome.APPLIED if o is Outcome.LOST else o),
        CREATES,
    ),
    "an unknown outcome taken for lost": (unknown_is_lost, SEVERAL),
    "the past is forgotten": (past_forgotten, ANYTHING),
    "the past is pruned in silence": (past_pruned, SEVERAL),
    "an unconditional swap": (unconditional, CREATES),
    "old data deleted before the swap": (old_data_first, OVER),
    "old data not named": (old_not_named, DELETED),
    "the state object removed before the data": (entry_first, DELETED),
    "what is served taken for garbage": (current_is_garbage, LARGE),
    "data before its state object": (data_before_state, SWEPT),
    "a sweep that looks in the wrong order": (sweep_looks_late, SWEPT),
    "what is in memory served unasked": (
        held_is_served_unasked,
        scene(w=many(small(only_new), small(only_there)), r=holder),
    ),
    "a restore without a condition": (
        restored_unconditionally,
        Scene({"r": restorer, "w": small(anything)}, Faults(), Noted, DAMAGED_BLOB),
    ),
    "a drop that removes data first": (
        dropped_at_once,
        Scene({"r": restorer, "d": dropper}, Faults(), Noted, DAMAGED_BLOB),
    ),
    "a tombstone removed": (
        nothing,
        scene(Faults(twice=1), w=many(small(only_new), small(only_there, None)), t=tombstone_remover),
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, where = PLANTED[fault]
    plant(monkeypatch)
    with pytest.raises(Wrong):
        explore(where)


@pytest.mark.parametrize(
    "where", [CREATES, ANYTHING, LARGE, SWEPT], ids=["creates", "anything", "large", "swept"]
)
def test_nothing_is_found_where_nothing_is_planted(where: Scene) -> None:
    assert explore(where) > 20
