"""The history of a blob, from pointers and state objects: for the feed and the view by id. Pure."""

from __future__ import annotations

import msgspec

from common.states import (
    CODE,
    CODE_OF_WORD,
    MSG_COMPLETE,
    MSG_CREATED,
    MSG_DELETED,
    MSG_UPDATED,
    MSG_WRITING,
    WORD_OF_CODE,
    State,
    replaced_by,
)
from common.times import rfc3339
from services.engines.objects import txn
from services.engines.objects.entry import FAILURE, Entry
from services.engines.objects.pointer import DELETED, KILLED, OK, Facts, Past, Pointer
from services.store import Description, Event


class Transition(msgspec.Struct, frozen=True, gc=False):
    """See engine.Transition. `time`: Unix time in nanoseconds, or RFC 3339.

    It is made readable only for who reads it: each write makes three.
    """

    code: int
    message: str
    time: int | str

    @property
    def at(self) -> str:
        return self.time if isinstance(self.time, str) else rfc3339(self.time)


class Happened(msgspec.Struct, frozen=True, gc=False):
    """See engine.BlobHistory. `txn`: of the write that made the blob."""

    txn: str
    location: str
    events: tuple[Transition, ...]

    @property
    def id(self) -> str:
        return txn.blob_id(self.location, self.txn)


_CREATED, _PENDING = CODE[State.CREATED], CODE[State.PENDING]
_COMPLETE, _FAILURE = CODE[State.COMPLETE], CODE[State.FAILURE]


def _begun(begun_ns: int, *, is_update: bool) -> tuple[Transition, ...]:
    first = Transition(_CREATED, MSG_UPDATED if is_update else MSG_CREATED, begun_ns)
    return first, Transition(_PENDING, MSG_WRITING, begun_ns)


def id_of(pointer: Pointer) -> str:
    """The id of the blob that a pointer holds."""
    return txn.blob_id(pointer.location, pointer.txn)


def replaced_something(pointer: Pointer) -> bool:
    """Whether this state took the place of a blob."""
    if not pointer.past:
        return False
    before = next((past for past in pointer.past if past.state != KILLED), None)
    return before is not None and before.state != DELETED and before.ended_ns == pointer.changed_ns


def of_pointer(pointer: Pointer, facts: Facts) -> Happened:
    """The blob that a pointer holds."""
    if facts.history:
        events = tuple(Transition(CODE_OF_WORD[e.state], e.message, e.time) for e in facts.history)
    else:
        events = _begun(facts.begun_ns, is_update=replaced_something(pointer))
    if events[-1].message != MSG_COMPLETE:
        events = (*events, Transition(_COMPLETE, MSG_COMPLETE, facts.modified_ns))
    if pointer.state != OK:
        events = (*events, Transition(_FAILURE, f"Damaged: {pointer.reason}", pointer.changed_ns))
    return Happened(pointer.txn, pointer.location, events)


def of_replaced(pointer: Pointer, facts: Facts, after: Pointer) -> Happened:
    """The blob that `pointer` held until `after` took its place."""
    happened = of_pointer(pointer, facts)
    end = Transition(_FAILURE, _ended_by(after.state, id_of(after)), after.changed_ns)
    return msgspec.structs.replace(happened, events=(*happened.events, end))


def _ended_by(state: str, blob_id: str) -> str:
    """What ended a blob whose place was taken by the blob `blob_id`, or by a tombstone."""
    return MSG_DELETED if state == DELETED else replaced_by(blob_id)


def of_entry(entry: Entry) -> Happened:
    """A write that has a state object, and did not take effect."""
    events = _begun(entry.begun_ns, is_update=False)
    if entry.state == FAILURE:
        events = (*events, Transition(_FAILURE, entry.reason, entry.failed_ns))
    return Happened(entry.txn, entry.location, events)


def of_past(pointer: Pointer, past: Past) -> Happened:
    """A past state in a pointer's history: a blob that it held, or a write that was killed."""
    begun_ns = min(txn.begun_ns(past.txn), past.done_ns or past.ended_ns)
    if past.state == KILLED:
        end = Transition(_FAILURE, "Given up by the gc - Deleting!", past.ended_ns)
        return Happened(past.txn, pointer.location, (*_begun(begun_ns, is_update=False), end))
    states = [one for one in pointer.past if one.state != KILLED]  # the newest first
    at = states.index(past)
    before = states[at + 1] if at + 1 < len(states) else None
    after = states[at - 1] if at else pointer
    events = _begun(begun_ns, is_update=before is not None and before.state != DELETED)
    if past.done_ns:
        events = (*events, Transition(_COMPLETE, MSG_COMPLETE, past.done_ns))
    end = Transition(
        _FAILURE, _ended_by(after.state, txn.blob_id(pointer.location, after.txn)), past.ended_ns
    )
    return Happened(past.txn, pointer.location, (*events, end))


def description_of_past(pointer: Pointer, past: Past) -> Description:
    """The same as the view by id shows it."""
    return description(of_past(pointer, past), generation=past.since if past.state != KILLED else 0)


def description(
    happened: Happened,
    *,
    pointer: Pointer | None = None,
    generation: int = 0,
    type: str = "",
    expires_s: float | None = None,
) -> Description:
    """As the view by id shows it. `pointer`: where it holds the blob; else `generation`: with which it took
    effect, if it did. `expires_s`: when it does."""
    facts = pointer.facts if pointer is not None and pointer.state == OK else None
    return Description(
        id=happened.id,
        location=happened.location,
        state=WORD_OF_CODE[happened.events[-1].code],
        seq=pointer.generation if pointer is not None else generation,
        size=facts.size if facts is not None else None,
        etag=f'"{facts.sha256.hex()}"' if facts is not None else None,
        modified=rfc3339(facts.modified_ns) if facts is not None else None,
        type=facts.type if facts is not None else type,
        encoding=facts.encoding if facts is not None else "",
        metadata=(
            {name: said for name, said in facts.metadata.items() if not name.startswith(".")} if facts else {}
        ),
        expires=rfc3339(int(expires_s * 1e9)) if expires_s is not None else None,
        history=[Event(step.at, WORD_OF_CODE[step.code], step.message) for step in reversed(happened.events)],
    )
