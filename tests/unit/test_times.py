"""Times as in state files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.times import rfc3339, to_the_second, unix_ns


@given(st.integers(min_value=0, max_value=4_000_000_000 * 10**9))
def test_times_survive_the_file_to_the_nanosecond(at_ns: int) -> None:
    assert unix_ns(rfc3339(at_ns)) == at_ns


def test_times_of_any_zone_are_read() -> None:
    assert unix_ns("1970-01-01T01:00:00.5+01:00") == 500_000_000
    assert unix_ns("1970-01-01T00:00:07Z") == 7_000_000_000


def test_only_the_fraction_is_left_out() -> None:
    assert to_the_second("2026-11-27T13:43:54.039051093Z") == "2026-11-27T13:43:54Z"
    assert to_the_second("2026-11-27T13:43:54.5+01:00") == "2026-11-27T13:43:54+01:00"
    assert to_the_second("2026-11-27T13:43:54Z") == "2026-11-27T13:43:54Z"
