"""HTTP dates (RFC 9110, section 5.6.7)."""

from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.rules.dates import format_http_date, parse_http_date
from tests.support.work import is_in_proportion

fuzz = settings(deadline=None, max_examples=100)
RFC_EXAMPLE_S = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
IN_2026_S = 1_790_000_000
LATEST_S = 253402300799  # the end of the year 9999


@pytest.mark.parametrize(
    ("text", "time_s"),
    [
        pytest.param("Sun, 06 Nov 1994 08:49:37 GMT", RFC_EXAMPLE_S, id="the format of today"),
        pytest.param("Sunday, 06-Nov-94 08:49:37 GMT", RFC_EXAMPLE_S, id="RFC 850"),
        pytest.param("Sun Nov  6 08:49:37 1994", RFC_EXAMPLE_S, id="asctime"),
        pytest.param("Sun Nov 16 08:49:37 1994", RFC_EXAMPLE_S + 864000, id="asctime with two digits"),
        pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", 0, id="the epoch"),
        pytest.param("Wed, 31 Dec 1969 23:59:59 GMT", -1, id="before the epoch"),
        pytest.param("Tue, 29 Feb 2000 12:00:00 GMT", 951825600, id="a leap day"),
        pytest.param("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800, id="a leap second"),
        pytest.param("Mon, 06 Nov 1994 08:49:37 GMT", RFC_EXAMPLE_S, id="the wrong day of the week"),
    ],
)
def test_all_three_formats_are_read(text: str, time_s: int) -> None:
    assert parse_http_date(text, IN_2026_S) == time_s


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "784111777",
        "now",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Tuday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov    08:49:37 1994",
        "1994-11-06T08:49:37Z",
    ],
)
def test_what_is_no_http_date_is_none(text: str) -> None:
    assert parse_http_date(text, IN_2026_S) is None


@pytest.mark.parametrize(
    ("two_digits", "year"), [("26", 2026), ("76", 2076), ("77", 1977), ("99", 1999), ("00", 2000)]
)
def test_a_year_of_two_digits_is_at_most_fifty_years_ahead(two_digits: str, year: int) -> None:
    read = parse_http_date(f"Friday, 01-May-{two_digits} 00:00:00 GMT", IN_2026_S)
    assert read == parse_http_date(f"Fri, 01 May {year} 00:00:00 GMT", IN_2026_S)


@fuzz
@given(st.integers(0, LATEST_S))
def test_what_is_written_is_read_back_in_each_format(time_s: int) -> None:
    text = format_http_date(time_s)
    assert text == email.utils.formatdate(time_s, usegmt=True)
    assert parse_http_date(text, 0) == time_s
    assert parse_http_date(time.asctime(time.gmtime(time_s)), 0) == time_s
    old_format = time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(time_s))
    assert parse_http_date(old_format, time_s) == time_s


@fuzz
@given(st.text(max_size=40), st.integers(0, LATEST_S))
def test_whatever_comes_is_a_time_or_none(text: str, near_s: int) -> None:
    assert parse_http_date(text, near_s) is None


@pytest.mark.parametrize("unit", ["Sun, 06 Nov 1994 08:49:37 GMT, ", " ", "0", "Sun "])
def test_a_large_header_takes_time_in_proportion(unit: str) -> None:
    def judge(size: int) -> None:
        assert parse_http_date(unit * (size // len(unit)), 0) is None

    assert is_in_proportion(judge, 1_000_000)
