"""Decides from the pointer whether a write took effect, and what is garbage. Pure.

A conditional write that was refused or got no answer may have been applied: a store may answer 412 to a write
that it did apply (it tried twice), and a request that timed out may arrive later. The pointer, read
afterwards, decides.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from services.engines.objects.entry import Entry
from services.engines.objects.pointer import DAMAGED, KILLED, Known


class Outcome(enum.Enum):
    """What became of a swap of the pointer at generation `base`, by the pointer as it was read afterwards."""

    APPLIED = "it took effect"
    OPEN = "the pointer is still what it was: the swap may yet take effect, and may be tried again"
    LOST = "somebody else's took its place: it can never take effect, but one of the new pointer may"
    KILLED = "the gc took the write for dead: neither this swap nor a later one may take effect"
    UNKNOWN = "too much has happened since: it may have taken effect and been replaced, or been killed"


def outcome(write: str, base: int, now: Known, *, mortal: bool) -> Outcome:
    """What became of the swap of `write`. `now` was read after the swap was answered or given up.

    `mortal`: whether the write has a state object, so that the gc could have killed it since `base`.
    """
    pointer = now.pointer
    if pointer is None:
        return Outcome.OPEN if now.etag is None and base == 0 else Outcome.UNKNOWN
    if write in (pointer.txn, pointer.first):
        return Outcome.APPLIED
    past = pointer.find(write)
    if past is not None:
        return Outcome.KILLED if past.state == KILLED else Outcome.APPLIED
    if pointer.generation == base:
        return Outcome.OPEN
    # Had it taken effect or been killed, that would have been at a later generation than the base.
    if pointer.generation > base >= pointer.forgot:
        return Outcome.LOST
    if base == 0 and pointer.first and not mortal:  # a create makes the first state, or none
        return Outcome.LOST
    return Outcome.UNKNOWN


class Finding(enum.Enum):
    """What the gc makes of a state object and the pointer, read after it."""

    COMMITTED = "the write took effect"
    KILLED = "the write never did, and never will"
    OPEN = "the write may have taken effect, or may yet: it must be killed before anything is removed"
    UNREADABLE = "the pointer cannot be read: nothing is concluded"


def finding(entry: Entry, now: Known) -> Finding:
    """What may be said of the entry's write."""
    match outcome(entry.txn, entry.base, now, mortal=True):
        case Outcome.APPLIED:
            return Finding.COMMITTED
        case Outcome.KILLED:
            return Finding.KILLED
        case _:
            return Finding.OPEN if now.pointer is not None or now.etag is None else Finding.UNREADABLE


def garbage(entry: Entry, now: Known) -> list[str]:
    """Those txns that the entry names whose data nobody will read again.

    Only for the findings COMMITTED and KILLED.
    """
    current = now.pointer.data_txn if now.pointer is not None else ""
    named = ([entry.txn] if entry.brings else []) + ([entry.old] if entry.old else [])
    return [write for write in named if write != current]


class Ended(NamedTuple):
    """What is known of a write that is not the pointer's state.

    `at_ns`: the latest time at which it was replaced, as Unix time; 0 if it never was the state. `damaged`:
    whether it was damaged; None if that is not known.
    """

    at_ns: int
    damaged: bool | None


def ended(write: str, now: Known) -> Ended:
    """What the pointer remembers of the write `write`."""
    if now.pointer is None:
        return Ended(0, None)
    past = now.pointer.find(write)
    if past is not None:
        return Ended(0 if past.state == KILLED else past.ended_ns, past.state == DAMAGED)
    if not now.pointer.forgot:
        return Ended(0, False)  # it remembers all
    return Ended(now.pointer.past[-1].ended_ns if now.pointer.past else now.pointer.changed_ns, None)
