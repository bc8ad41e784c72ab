"""Times as they stand in state files: RFC 3339, with nanoseconds in the JSON, without in the lines. Pure."""

from __future__ import annotations

import functools
import time
from datetime import datetime


def rfc3339(at_ns: int) -> str:
    """Unix time in nanoseconds as RFC 3339 in UTC, with nanoseconds."""
    return f"{_whole_second(at_ns // 1_000_000_000)}.{at_ns % 1_000_000_000:09d}Z"


_second_cache: tuple[int, str] = (-1, "")


def _whole_second(second: int) -> str:
    global _second_cache  # most events of a busy second share it; strftime costs 2 µs
    cached = _second_cache
    if cached[0] != second:
        cached = _second_cache = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
    return cached[1]


def unix_ns(text: str) -> int:
    """The inverse of rfc3339, for any zone; nanoseconds are kept. Raises ValueError."""
    whole, dot, rest = text.partition(".")
    if not dot:
        return round(datetime.fromisoformat(text).timestamp()) * 1_000_000_000
    digits = len(rest) - len(rest.lstrip("0123456789"))
    fraction_ns = int((rest[:digits] + "000000000")[:9])
    return round(datetime.fromisoformat(whole + rest[digits:]).timestamp()) * 1_000_000_000 + fraction_ns


@functools.lru_cache(8)  # the events of one moment, and of one record, often share theirs
def to_the_second(text: str) -> str:
    """The same time without its fraction."""
    whole, dot, rest = text.partition(".")
    return whole + rest.lstrip("0123456789") if dot else text
