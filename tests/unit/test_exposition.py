"""/metrics is made in slices, and clients that ask at the same time share it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.watch import metrics
from services.watch.monitor import Monitor
from services.watch.request_log import RequestLog
from tests.support.memory_engine import MemoryEngine


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each text that is made."""
    numbers: list[int] = []
    really = metrics._families

    def families(*args: object) -> object:
        numbers.append(len(numbers))
        return really(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(metrics, "_families", families)
    return numbers


def test_many_who_ask_at_once_cost_two_and_get_what_is_true_since_they_asked(
    tmp_path: Path, made: list[int]
) -> None:
    async def main() -> None:
        engine = MemoryEngine(str(tmp_path))
        requests = RequestLog()
        shown = metrics.Exposition(Monitor(engine, engine.store, requests))
        first = asyncio.create_task(shown.text())
        while not made:  # noqa: ASYNC110 - a few turns
            await asyncio.sleep(0)
        requests.refused("GET", "/", 400, "127.0.0.1")
        later = [asyncio.create_task(shown.text()) for _ in range(20)]
        texts = [await one for one in later]
        assert len(set(texts)) == 1
        assert b'blobkeep_connection_refusals_total{status="400"} 1.0' in texts[0]
        assert (await first).count(b"# TYPE ") == texts[0].count(b"# TYPE ")
        assert len(made) == 2
        assert await shown.text() is not texts[0]  # no client gets an old text
        assert len(made) == 3

    asyncio.run(main())
