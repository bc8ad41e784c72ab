"""The names of tests are short, since each worker sends all of them, and each report repeats one."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("value", [b"x" * 10_000, "x" * 10_000, pytest.param("x" * 10_000, id="named")])
def test_a_long_value_has_a_short_name(request: pytest.FixtureRequest, value: bytes | str) -> None:
    assert len(value) == 10_000
    assert len(request.node.nodeid) < 300


def test_no_name_of_this_run_is_long(request: pytest.FixtureRequest) -> None:
    longest = max(request.session.items, key=lambda item: len(item.nodeid))
    assert len(longest.nodeid) < 1000, longest.nodeid[:200]
