"""The check of concurrent histories: histories made by hand, generated ones, and one with a wrong answer."""

from __future__ import annotations

import random

import pytest

from tests.support.linearizable import Call, Move, OfPair, State, Step, is_linearizable


def call(kind: str, begin: float, end: float | None, value: State = None, expected: State = None) -> Call:
    return Call(kind, begin, end, value, expected)


GOOD = {
    "nothing": [],
    "one after the other": [
        *(call("create", 0, 1, 1), call("read", 2, 3, 1), call("update", 4, 5, 2), call("read", 6, 7, 2)),
        *(call("delete", 8, 9), call("read", 10, 11), call("missing", 12, 13)),
    ],
    "a read beside a write sees either": [
        call("create", 0, 1, 1),
        call("update", 2, 9, 2),
        call("read", 3, 4, 2),
    ],
    "or the old one": [call("create", 0, 1, 1), call("update", 2, 9, 2), call("read", 3, 4, 1)],
    "one of two creates": [call("create", 0, 5, 1), call("exists", 0, 5), call("read", 6, 7, 1)],
    "no answer, and it happened": [
        call("create", 0, 1, 1),
        call("update", 2, None, 2),
        call("read", 9, 10, 2),
    ],
    "no answer, and it did not": [
        call("create", 0, 1, 1),
        call("update", 2, None, 2),
        call("read", 9, 10, 1),
    ],
    "no answer, and it happened late": [
        *(call("create", 0, 1, 1), call("update", 2, None, 2), call("read", 3, 4, 1), call("read", 5, 6, 2)),
    ],
    "a swap after another": [
        *(call("create", 0, 1, 1), call("swap", 2, 8, 2, expected=1), call("differs", 2, 8, expected=1)),
        call("read", 9, 10, 2),
    ],
}
BAD = {
    "a read of what was never there": [call("read", 0, 1, 1)],
    "an acknowledged write is lost": [
        call("create", 0, 1, 1),
        call("update", 2, 3, 2),
        call("read", 4, 5, 1),
    ],
    "an acknowledged create is lost": [call("create", 0, 1, 1), call("read", 2, 3)],
    "a deleted value comes back": [call("create", 0, 1, 1), call("delete", 2, 3), call("read", 4, 5, 1)],
    "two creates": [call("create", 0, 5, 1), call("create", 0, 5, 2)],
    "new, then old": [
        *(call("create", 0, 1, 1), call("update", 2, 9, 2), call("read", 3, 4, 2), call("read", 5, 6, 1)),
    ],
    "no answer, seen, and gone again": [
        *(call("create", 0, 1, 1), call("update", 2, None, 2), call("read", 3, 4, 2), call("read", 5, 6, 1)),
    ],
    "both of two swaps": [
        *(call("create", 0, 1, 1), call("swap", 2, 8, 2, expected=1), call("swap", 2, 8, 3, expected=1)),
    ],
    "exists where nothing can be": [call("exists", 0, 1)],
    "missing where something is": [call("create", 0, 1, 1), call("missing", 2, 3)],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_an_order_explains_is_right(name: str) -> None:
    assert is_linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_what_no_order_explains_is_wrong(name: str) -> None:
    assert not is_linearizable(BAD[name])


def generated(rng: random.Random, clients: int, count: int) -> list[Call]:
    """A history of a correct location: each call takes effect at one moment between its begin and end.
    Some get no answer.
    """
    state: State = None
    now = [0.0] * clients
    history: list[Call] = []
    moments = sorted((rng.random() * count, rng.randrange(clients)) for _ in range(count))
    for number, (moment, client) in enumerate(moments, 1):
        begin = max(now[client], moment - rng.random() * 4)
        if begin >= moment:
            continue
        kind, value, expected = rng.choice(("read", "read", "create", "update", "delete", "swap")), None, None
        if kind == "read":
            value = state
        elif kind == "create":
            kind, value, state = ("create", number, number) if state is None else ("exists", None, state)
        elif kind == "swap":
            expected = rng.choice((state, 0))
            fits = state is not None and state == expected
            kind, value, state = ("swap", number, number) if fits else ("differs", None, state)
            expected = expected if fits or expected != state else 0
        elif state is None:
            kind = "missing"
        else:
            state = value = number if kind == "update" else None
        end = None if value == number and rng.random() < 0.1 else moment + rng.random() * 4
        now[client] = end if end is not None else moment
        history.append(call(kind, begin, end, value, expected))
    return history


@pytest.mark.parametrize("seed", range(30))
def test_what_one_location_did_is_right_and_a_value_that_comes_back_is_not(seed: int) -> None:
    history = generated(random.Random(seed), clients=5, count=300)
    assert is_linearizable(history)
    end = max(one.end_s or one.begin_s for one in history) + 1
    written = [one.value for one in history if one.kind in ("create", "update", "swap")]
    back = [call("read", end + n, end + n + 0.5, written[-1 - n % 2]) for n in range(3)]
    assert not is_linearizable([*history, *back])  # each value is written only once


def pair(*calls: tuple[int, Call], moved: tuple[Move, ...] = ()) -> list[Step]:
    return [*(OfPair(one, at) for at, one in calls), *moved]


START = (0, call("create", 0, 1, 1))
PAIRS = {
    "moved": (
        pair(START, (0, call("read", 4, 5)), (1, call("read", 4, 5, 1)), moved=(Move(2, 3, 1, 0),)),
        True,
    ),
    "and back": (
        pair(START, (0, call("read", 6, 7, 1)), moved=(Move(2, 3, 1, 0), Move(4, 5, 1, 1))),
        True,
    ),
    "never answered, and it happened": (
        pair(START, (1, call("read", 4, 5, 1)), moved=(Move(2, None, 1, 0),)),
        True,
    ),
    "in neither": (
        pair(START, (0, call("read", 4, 5)), (1, call("read", 6, 7)), moved=(Move(2, None, 1, 0),)),
        False,
    ),
    "in both": (
        pair(START, (1, call("read", 4, 5, 1)), (0, call("read", 6, 7, 1)), moved=(Move(2, None, 1, 0),)),
        False,
    ),
    "over what was there": (
        pair(START, (1, call("create", 0, 1, 2)), moved=(Move(2, 3, 1, 0),)),
        False,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_moves_between_two_locations_are_one_step(name: str) -> None:
    history, right = PAIRS[name]
    assert is_linearizable(history, (None, None)) == right
