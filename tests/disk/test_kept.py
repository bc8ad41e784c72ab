"""What the gc remembers of kept blobs: exactly, and in little memory."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from services.engines.local.disk.layout import Layout
from services.engines.local.upkeep import by_time
from services.engines.local.upkeep.by_time import ByTime
from services.engines.local.upkeep.kept import Kept

S = 1_000_000_000


def test_numbers_by_time_are_those_of_a_sorted_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_time, "_PART", 4)
    chance = random.Random(1)
    ours, expected = ByTime(), dict[tuple[int, int], int]()
    for _ in range(5000):
        entry = (chance.randrange(40), chance.randrange(20))
        if chance.random() < 0.6:
            size = chance.randrange(1 << 40)
            assert ours.add(*entry, size) == (entry not in expected)
            expected.setdefault(entry, size)
        else:
            assert ours.discard(*entry) == expected.pop(entry, None)
        if chance.random() < 0.1:
            assert list(ours) == [(*entry, size) for entry, size in sorted(expected.items())]
    for entry in list(expected):
        ours.discard(*entry)
    assert list(ours) == []


def test_each_is_due_once_when_its_time_has_come() -> None:
    kept = Kept(Layout("/nowhere", 32), 0)
    kept.keep(7, 10 * S, 100)
    kept.keep(7, 10 * S, 100)
    kept.keep(8, 10 * S + 1, 50)
    kept.keep((1 << 32) - 1, 9 * S, 1)
    assert (len(kept), kept.bytes) == (3, 151)
    assert kept.due(9 * S - 1) == []
    assert kept.due(10 * S) == [(1 << 32) - 1, 7]
    assert (len(kept), kept.bytes, 7 in kept, 8 in kept) == (1, 50, False, True)
    assert kept.due(10 * S + 1) == [8]
    assert kept.due(99 * S) == []
    assert (len(kept), kept.bytes) == (0, 0)


def test_one_that_is_forgotten_is_not_due() -> None:
    kept = Kept(Layout("/nowhere", 32), 0)
    kept.keep(7, 10 * S, 100)
    kept.keep(8, 10 * S, 50)
    kept.forget(7, 10 * S)
    assert kept.bytes == 50
    kept.forget(8)
    assert (len(kept), 8 in kept) == (0, False)
    assert kept.due(10 * S) == []
    assert kept.bytes == 0


def test_they_take_little_memory() -> None:
    kept = Kept(Layout("/nowhere", 32), 0)
    blob_ids = random.Random(1).sample(range(1 << 16), 60_000)
    taken = []
    tracemalloc.start()
    try:
        for some in (blob_ids[:20_000], blob_ids[20_000:]):
            for blob_id in some:
                kept.keep(blob_id, (1_800_000_000 + blob_id % 1000) * S, blob_id << 20)
            taken.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert len(kept) == 60_000
    assert (taken[1] - taken[0]) / 40_000 < 50  # as objects they were 250
