"""The fault ladder: the first disk call of an operation fails, then the second, ... until none fails. After
each step: the location has its old value or its new one, as was answered; nothing else changed; the location
can be written; no descriptor and no folder is left over; a failed sync was reported as fatal.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from common.errors import BlobkeepError, NoSpace, SyncFailed
from services.engines.local.disk import directory
from services.engines.local.disk.layout import Layout
from services.engines.local.index.catalogue import Catalogue
from tests.support import rules
from tests.support.campaign import choose, tally
from tests.support.disk_calls import Fault, standing_between
from tests.support.index_states import SYNCS
from tests.support.operations import OLD, OPERATIONS, Operation, Partly, create
from tests.support.stores import (
    Opened,
    open_descriptors,
    opened,
    small_journal,
    until,
)

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

ERRORS = {
    "ENOSPC": errno.ENOSPC,
    "EIO": errno.EIO,
    "EDQUOT": errno.EDQUOT,
    "EMFILE": errno.EMFILE,
    "short": 0,
}
Rung = tuple[Operation, str, bool, str, int]


def rungs_of(syncs: Iterable[str]) -> list[Rung]:
    return [
        (operation, error, lasting, sync, id_bits)
        for operation in OPERATIONS
        for error in ERRORS
        for lasting in (False, True)
        for sync in syncs
        for id_bits in (16, 32)
        if not (error == "short" and lasting and id_bits == 32)
    ]


RUNGS = [
    *choose("ladder", rungs_of(("journal", "index", "folder", "none")), 15),
    *choose("ladder of indexes", rungs_of(SYNCS[1:]), 3),
]


def name_of(rung: Rung) -> str:
    operation, error, lasting, sync, id_bits = rung
    return f"{operation.__name__}-{error}-{'lasting' if lasting else 'once'}-{sync}-{id_bits}"


@pytest.mark.parametrize("rung", RUNGS, ids=name_of)
def test_each_disk_call_fails_in_turn(rung: Rung, base: Path) -> None:
    operation, error, lasting, sync, id_bits = rung
    for at in range(1, 400):
        root = str(base / f"{at}")
        fault = Fault(at, ERRORS[error], lasting=lasting)
        asyncio.run(one_rung(root, operation, fault, sync, id_bits))
        asyncio.run(after_the_restart(root, operation, fault, sync, id_bits))
        shutil.rmtree(root)
        tally("faults", bool(fault.hit))
        if not fault.hit:
            return
    raise AssertionError("the ladder has no end")


async def one_rung(root: str, operation: Operation, fault: Fault, sync: str, id_bits: int) -> None:
    """Run the operation with a fault, and check what the process knows and reports."""
    async with opened(root, sync, id_bits) as store:
        for location, body in OLD.items():
            await store.put(location, body)
        before = open_descriptors() - runs_of(store)
        error: Exception | None = None
        with standing_between(fault):
            try:
                await operation(store)
            except (BlobkeepError, OSError, Partly) as err:
                error = err
            finally:
                fault.armed = False
        if isinstance(error, SyncFailed):
            await until(lambda: store.fatal, "the report of a failed sync")
        touched = OPERATIONS[operation]
        if not fault.hit or fault.error == 0:
            assert error is None, (fault.hit, error)
        undecided = isinstance(error, SyncFailed) or bool(store.fatal)
        allowed = {at: [body] for at, body in OLD.items()} | {"new": [None]}
        allowed_now: dict[str, list[bytes | None]] = {}
        for location, old in allowed.items():
            new = touched.get(location, old[0])
            if error is None:
                allowed_now[location] = [new]
            elif undecided:
                allowed_now[location] = [old[0], new]
            elif isinstance(error, Partly):
                failed = error.results[list(touched).index(location)] if location in touched else None
                allowed_now[location] = [old[0] if isinstance(failed, BaseException) else new]
            else:
                allowed_now[location] = [old[0]]
        if store.fatal:
            assert isinstance(store.fatal[0], SyncFailed)
        else:
            for location, values in allowed_now.items():
                assert await store.read(location) in values, (location, fault.hit, error)
            assert open_descriptors() - runs_of(store) <= before + 1, (
                fault.hit
            )  # +1, since the event loop may open one late
            if not fault.lasting:  # otherwise its own undoing may have failed, and recovery cleans up
                assert not folders_without_a_state(store.data_dir), fault.hit
            # The disk works again, so every location can be written.
            await store.put("large", b"again")
            await store.put("new", b"again")
            await store.delete("old") if await store.read("old") is not None else None
            allowed_now = {"large": [b"again"], "new": [b"again"], "old": [None], "other": [OLD["other"]]}
        _allowed[root] = allowed_now


def runs_of(store: Opened) -> int:
    """How many files of the index are open."""
    blobs = store.store.index.blobs
    return len(blobs.runs) if isinstance(blobs, Catalogue) else 0


def folders_without_a_state(data_dir: Layout) -> list[int]:
    return [i for i in directory.ids_in(data_dir) if not os.path.exists(data_dir.state(i))]


_allowed: dict[str, dict[str, list[bytes | None]]] = {}


async def after_the_restart(root: str, operation: Operation, fault: Fault, sync: str, id_bits: int) -> None:
    """Another process recovers the directory: what was acknowledged is there, and nothing else."""
    async with opened(root, sync, id_bits) as store:
        found = await store.values()
        for location, values in _allowed.pop(root).items():
            assert found.get(location) in values, (location, found.get(location), fault.at, fault.hit)
        assert set(found) <= {"old", "large", "other", "new"}
        assert not store.found.quarantined
        for location in ("old", "new", "large"):
            await store.put(location, b"after")
    broken = rules.broken_rules(root)
    assert not broken, (broken, fault.at, fault.hit)


def test_a_full_disk_is_told_as_such(base: Path) -> None:
    async def run() -> None:
        async with opened(str(base / "data")) as store:
            with standing_between(Fault(1, errno.ENOSPC, lasting=True)), pytest.raises(NoSpace):
                await create(store)

    asyncio.run(run())
