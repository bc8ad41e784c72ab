"""Caches with a bounded size."""

from __future__ import annotations

from common.bounded import make_room
from services.http1 import SteadyCache
from tests.support.work import is_in_proportion


def test_the_newest_are_kept() -> None:
    cache: dict[int, int] = {}
    for number in range(1000):
        make_room(cache, 10)
        cache[number] = number
        assert list(cache) == list(range(number + 1 - len(cache), number + 1))
        assert min(5, number + 1) <= len(cache) <= 10
    make_room(only := {1: 1}, 1)
    assert not only


def test_what_an_addition_costs_does_not_depend_on_the_size() -> None:
    def add(size: int) -> None:
        cache: dict[int, int] = {}
        for number in range(8 * size):
            make_room(cache, size)
            cache[number] = number

    assert is_in_proportion(add, 16_384)


def test_a_set_larger_than_a_steady_cache_does_not_displace_itself() -> None:
    cache: SteadyCache[int, int] = SteadyCache(100)
    found = 0
    for number in range(10 * 200):
        if number % 200 in cache:
            found += 1
        else:
            cache.add(number % 200, number)
        assert len(cache) <= 100
    assert found > 10 * 200 // 4  # with room for half of it


def test_what_a_steady_cache_has_is_replaced_and_new_entries_find_their_way() -> None:
    cache: SteadyCache[int, int] = SteadyCache(2)
    for number in (0, 1, 1):
        cache.add(number, 10 + number)
    cache.add(0, 20)
    assert cache == {0: 20, 1: 11}
    for _ in range(16):
        cache.add(2, 12)
    assert cache == {1: 11, 2: 12}
