"""Caches with a bounded size."""

from __future__ import annotations

from common.bounded import make_room
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
