"""The measures of work that other tests rest on."""

from __future__ import annotations

import re

from tests.support.work import calls_of, is_in_proportion


def test_calls_are_counted() -> None:
    assert calls_of(lambda: None) < 5
    assert 1000 <= calls_of(lambda: [len("a") for _ in range(1000)]) < 1010


def test_what_grows_with_the_square_is_seen_in_python_and_in_c() -> None:
    assert is_in_proportion(lambda size: sum(range(size)), 1_000_000)
    assert not is_in_proportion(lambda size: [sum(range(size)) for _ in range(size)], 2_000)
    assert is_in_proportion(lambda size: re.search("a+b", "c" * size), 1_000_000)
    assert not is_in_proportion(lambda size: re.search("a+b", "a" * size), 20_000)
