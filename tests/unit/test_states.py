"""The table of a blob's life: every pair of states, allowed or refused."""

from __future__ import annotations

import itertools

import pytest

from common.states import IllegalTransition, State, advance

ALLOWED = {
    (None, State.CREATED),
    (State.CREATED, State.PENDING),
    (State.CREATED, State.FAILURE),
    (State.PENDING, State.COMPLETE),
    (State.PENDING, State.FAILURE),
    (State.COMPLETE, State.FAILURE),
}


@pytest.mark.parametrize(("current", "wanted"), itertools.product([None, *State], State))
def test_each_transition_is_allowed_or_refused(current: State | None, wanted: State) -> None:
    if (current, wanted) in ALLOWED:
        assert advance(current, wanted) is wanted
    else:
        with pytest.raises(IllegalTransition):
            advance(current, wanted)
