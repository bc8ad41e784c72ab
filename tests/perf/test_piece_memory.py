"""How often the memory that uploads lend is asked of the system, which has to fill it with zeros."""

from __future__ import annotations

import asyncio
import mmap
import weakref
from types import SimpleNamespace

import pytest

from services.engines.local.serving import lent_pieces
from services.engines.local.serving.lent_pieces import PieceMemory
from tests.support.stores import until


class _Mapped:
    """What was mapped in a test, and is not given back to the system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._refs: list[weakref.ref[mmap.mmap]] = []
        monkeypatch.setattr(lent_pieces, "mmap", SimpleNamespace(mmap=self._map))

    def _map(self, fileno: int, length: int) -> mmap.mmap:
        made = mmap.mmap(fileno, length)
        self._refs.append(weakref.ref(made))
        return made

    def ever(self) -> int:
        return len(self._refs)

    def now(self) -> int:
        return sum(ref() is not None for ref in self._refs)


def _use_four(memory: PieceMemory) -> None:
    lent = [memory.lend() for _ in range(4)]
    for pair in lent:
        assert pair is not None
        memory.give_back(pair)


def test_four_uploads_after_four_others_ask_for_no_new_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        mapped, memory = _Mapped(monkeypatch), PieceMemory()
        for _ in range(5):
            _use_four(memory)
        assert mapped.ever() == mapped.now() == 8

    asyncio.run(main())


def test_an_idle_server_keeps_the_memory_of_one_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lent_pieces, "_KEPT_S", 0.01)

    async def main() -> None:
        mapped, memory = _Mapped(monkeypatch), PieceMemory()
        for _ in range(2):
            _use_four(memory)
            await until(lambda: mapped.now() == 2, "all but one pair is given back")
        assert mapped.ever() == 8 + 6

    asyncio.run(main())
