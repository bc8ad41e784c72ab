"""LOCK and UNLOCK over every engine, where others come in between."""

from __future__ import annotations

import json

import pytest

from services.frontends.native import state_locks
from services.store import Condition
from tests.engines.makers import Maker, Under, run


def lock_of(name: str) -> bytes:
    return json.dumps({"ID": name}).encode()


def test_unlock_gives_back_no_lock_that_another_has_taken_meanwhile(
    engine: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An UNLOCK that was sent twice: between look and delete of the one the other frees the lock, and the
    next takes it."""

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
        with pytest.raises(state_locks.Held) as held:
            await state_locks.unlock(store, "state", lock_of("first"))
        assert held.value.holder == lock_of("second")
        with pytest.raises(state_locks.Held):  # it is still the second's
            await state_locks.lock(store, "state", lock_of("third"))

    run(engine, go)
