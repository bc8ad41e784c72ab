"""The fault ladder of a start on an index that is right, old, torn, missing, of another directory, or turned.

The first disk call of the start fails, then the second, ... until none fails. The start may be refused, and a
location may answer an error meanwhile. But none that was acknowledged is ever called missing, none has a
wrong value, and the next start serves all.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest

from common.errors import BlobkeepError
from tests.crashes.test_index_states import RUNGS as STATES
from tests.crashes.test_index_states import WANT, fill
from tests.crashes.test_index_states import Rung as State
from tests.crashes.test_index_states import name_of as name_of_state
from tests.crashes.test_ladder import dies
from tests.faults.test_ladder import ERRORS
from tests.support import rules
from tests.support.campaign import SIZE, choose, chooser, tally
from tests.support.disk_calls import DIED, Fault, standing_between
from tests.support.stores import Opened, opened, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

_MAX_CALLS = 400
_STRIDE = 5  # unless everything runs: only each fifth call fails, as each is a process of its own
Rung = tuple[State, str, bool]
RUNGS = [(state, error, lasting) for state in STATES for error in ERRORS for lasting in (False, True)]


def name_of(rung: Rung) -> str:
    state, error, lasting = rung
    return f"{name_of_state(state)}-{error}-{'lasting' if lasting else 'once'}"


@pytest.mark.parametrize("rung", choose("faults at starts", RUNGS, 1), ids=name_of)
def test_a_start_whose_disk_calls_fail_in_turn_calls_nothing_missing(base: Path, rung: Rung) -> None:
    state, error, lasting = rung
    id_bits = state[2]
    asyncio.run(fill(str(base / "before"), state))
    stride = _STRIDE if SIZE else 1
    first = chooser(name_of(rung)).randrange(stride) + 1
    for at in range(first, _MAX_CALLS, stride):
        root = str(base / f"{at}")
        shutil.copytree(base / "before", root)
        fault = Fault(at, ERRORS[error], lasting=lasting)

        def start(root: str = root, fault: Fault = fault) -> None:
            """In a process of its own, which ends as if it was killed: its exit status tells of the fault."""
            with mock.patch("time.sleep"), standing_between(fault):
                asyncio.run(serve(root, id_bits, fault))

        was_hit = dies(start)
        asyncio.run(serve_all(root, id_bits, at))
        broken = rules.broken_rules(root)
        assert not broken, (broken, at)
        shutil.rmtree(root)
        tally("faults at starts", was_hit)
        if not was_hit:
            return
    raise AssertionError("the ladder has no end")


async def serve(root: str, id_bits: int, fault: Fault) -> None:
    try:
        store = Opened(root, "index", id_bits)
    except (BlobkeepError, OSError):
        assert fault.hit
        os._exit(DIED)
    for location, body in [*WANT.items(), ("b", None)]:
        try:
            assert await store.read(location) == body, (location, fault.hit)
        except (BlobkeepError, OSError):
            assert fault.hit
    os._exit(DIED if fault.hit else 0)


async def serve_all(root: str, id_bits: int, what: object) -> None:
    for _ in range(2):
        async with opened(root, "index", id_bits) as store:
            assert await store.values() == WANT, what
            assert not store.found.quarantined, what
