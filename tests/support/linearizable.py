"""Checks a history of concurrent calls on one location: would some order of the calls, one at a time, give
the same results?

This is the search of Wing and Gong with Lowe's cache of (placed calls, state), as in porcupine. A call takes
effect at one moment between its begin and its end. One that got no answer may have taken effect at any time
since it began, or never. The state is the number of the write whose value is there, None for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

State = int | None
_MOST_S = 60.0


class Step(Protocol):
    """What gets a place in the order: a call on one location, or on a pair of locations."""

    @property
    def begin_s(self) -> float: ...

    @property
    def end_s(self) -> float | None: ...

    def step(self, state: Any) -> tuple[bool, Any]: ...


@dataclass(frozen=True)
class Call:
    """One call. Times in seconds; `end_s` None: it got no answer.

    `kind` is what it does, and what its answer says of the state; `value` is the number of a write: "read"
    value (None: nothing there); "create" value, "exists"; "update" value, "missing" (a delete, too);
    "delete"; "swap" value where `expected` was there, "differs" where it was not; "put" value, "clear":
    whatever was there; "take": delete `expected` where it is still there.
    """

    kind: str
    begin_s: float
    end_s: float | None
    value: State = None
    expected: State = None
    client: int = 0

    def step(self, state: State) -> tuple[bool, State]:
        """(whether the call is possible in `state`, the state after it)."""
        match self.kind:
            case "read":
                return state == self.value, state
            case "create":
                return state is None, self.value
            case "exists":
                return state is not None, state
            case "update":
                return state is not None, self.value
            case "missing":
                return state is None, state
            case "delete":
                return state is not None, None
            case "swap":
                return state is not None and state == self.expected, self.value
            case "differs":
                return state != self.expected, state
            case "put":
                return True, self.value
            case "clear":
                return True, None
            case "take":
                return True, None if state == self.expected else state
        raise ValueError(self.kind)


@dataclass(frozen=True)
class OfPair:
    """A call on one location of a pair, whose state is that of both. `at`: which, 0 or 1."""

    call: Call
    at: int

    @property
    def begin_s(self) -> float:
        return self.call.begin_s

    @property
    def end_s(self) -> float | None:
        return self.call.end_s

    def step(self, state: tuple[State, State]) -> tuple[bool, tuple[State, State]]:
        """As Call.step."""
        fits, after = self.call.step(state[self.at])
        return fits, (after, state[1]) if self.at == 0 else (state[0], after)


@dataclass(frozen=True)
class Move:
    """`value` goes from location `at` of a pair to the other, which has none, in one step."""

    begin_s: float
    end_s: float | None
    value: int
    at: int

    def step(self, state: tuple[State, State]) -> tuple[bool, tuple[State, State]]:
        """As Call.step."""
        fits = state[self.at] == self.value and state[1 - self.at] is None
        return fits, (None, self.value) if self.at == 0 else (self.value, None)


class Undecided(Exception):
    """The search took too long to decide."""


class _Event:
    """The begin or end of a call, in the list of calls without a place. `match`: of a begin, its end."""

    __slots__ = ("call", "match", "next", "number", "previous")

    def __init__(self, number: int, call: Step, match: _Event | None) -> None:
        self.number = number
        self.call = call
        self.match = match
        self.previous: _Event = self
        self.next: _Event | None = None


def is_linearizable(history: Sequence[Step], initial: Hashable = None) -> bool:
    """True if some order explains the history. Raises Undecided after a minute."""
    deadline = time.monotonic() + _MOST_S
    head = _events(history)
    answered = sum(call.end_s is not None for call in history)  # calls still without a place
    state, placed = initial, 0
    seen: set[tuple[int, Hashable]] = set()
    choices: list[tuple[_Event, Hashable]] = []
    entry = head.next
    steps = 0
    while answered:
        steps += 1
        if steps % 4096 == 0 and time.monotonic() > deadline:
            raise Undecided(f"{len(history)} calls, {_MOST_S:g} s")
        if entry is not None and _is_begin(entry):
            fits, after = entry.call.step(state)
            now = placed | 1 << entry.number
            if fits and (now, after) not in seen:
                seen.add((now, after))
                choices.append((entry, state))
                state, placed = after, now
                answered -= entry.call.end_s is not None
                _lift(entry)
                entry = head.next
            else:
                entry = entry.next
            continue
        # The next event is the end of a call that has no place yet, or the list is at its end. So the last
        # choice was wrong.
        if not choices:
            return False
        entry, state = choices.pop()
        placed &= ~(1 << entry.number)
        answered += entry.call.end_s is not None
        _unlift(entry)
        entry = entry.next
    return True


def _is_begin(entry: _Event) -> bool:
    return entry.match is not None or entry.call.end_s is None


def _events(history: Sequence[Step]) -> _Event:
    """The list by time, after a head node. At equal times begins come first, which allows more orders."""
    marks: list[tuple[float, int, _Event]] = []
    for number, call in enumerate(history):
        end = _Event(number, call, None) if call.end_s is not None else None
        marks.append((call.begin_s, 0, _Event(number, call, end)))
        if end is not None and call.end_s is not None:
            marks.append((call.end_s, 1, end))
    marks.sort(key=lambda mark: mark[:2])
    head = last = _Event(-1, Call("", 0.0, None), None)
    for _, _, event in marks:
        last.next, event.previous = event, last
        last = event
    return head


def _lift(begin: _Event) -> None:
    """Take a call out of the list."""
    for event in (begin, begin.match):
        if event is not None:
            event.previous.next = event.next
            if event.next is not None:
                event.next.previous = event.previous


def _unlift(begin: _Event) -> None:
    """Put it back: in the reverse order of `_lift`."""
    for event in (begin.match, begin):
        if event is not None:
            event.previous.next = event
            if event.next is not None:
                event.next.previous = event
