"""LOCK and UNLOCK over every engine, with other requests in between."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.errors import Damaged
from services.engines.local.serving.store import LocalStore
from services.frontends.native import state_locks
from services.store import Condition
from tests.engines.makers import Maker, Under, run
from tests.support.memory_store import MemoryStore


def lock_of(name: str) -> bytes:
    return json.dumps({"ID": name}).encode()


def damage(store: Any, location: str) -> None:
    """From now on the lock's record cannot be read."""
    if isinstance(store, MemoryStore):
        store.damaged.add(location)
    elif isinstance(store, LocalStore):
        found = store.peek(location, body=False)
        assert found is not None
        store.report_damage(found[0], "rotten")
    else:
        pytest.skip("its small blobs are inside what it commits by: damaged, they are quarantined as a whole")


def test_a_lock_that_is_damaged_is_held_until_it_is_given_back(
    engine: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows who holds the lock. To take it over could make two holders."""

    async def go(under: Under) -> None:
        store = under.store
        for said in (lock_of("first"), lock_of("who knows"), b""):
            await state_locks.lock(store, "state", lock_of("first"))
            damage(store, "\0lock/state")
            for name in ("first", "second"):
                with pytest.raises(Damaged, match="UNLOCK"):
                    await state_locks.lock(store, "state", lock_of(name))
            await state_locks.unlock(store, "state", said)
            await state_locks.lock(store, "state", lock_of("second"))
            with pytest.raises(state_locks.LockedByOther):
                await state_locks.unlock(store, "state", lock_of("first"))
            await state_locks.unlock(store, "state", lock_of("second"))

    run(engine, go)


def test_unlock_gives_back_no_lock_that_another_has_taken_meanwhile(
    engine: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An UNLOCK is sent twice. While the first one has looked, but not deleted yet, the second frees the
    lock, and another client takes it.
    """

    async def go(under: Under) -> None:
        store = under.store
        await state_locks.lock(store, "state", lock_of("first"))
        real = store.delete

        async def delete(location: str, condition: Condition) -> None:
            monkeypatch.undo()
            await state_locks.unlock(store, "state", lock_of("first"))
            await state_locks.lock(store, "state", lock_of("second"))
            await real(location, condition)

        monkeypatch.setattr(store, "delete", delete)
        with pytest.raises(state_locks.LockedByOther) as held:
            await state_locks.unlock(store, "state", lock_of("first"))
        assert held.value.holder == lock_of("second")
        with pytest.raises(state_locks.LockedByOther):  # it is still the second's
            await state_locks.lock(store, "state", lock_of("third"))

    run(engine, go)
