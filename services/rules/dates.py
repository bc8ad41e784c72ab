"""HTTP dates: one format out, three formats in (RFC 9110, section 5.6.7). Pure; knows no clock or locale.

Times are Unix times in whole seconds.
"""

from __future__ import annotations

import datetime
import functools
import re
import time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()

_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_WEEKDAY = rf"(?:{'|'.join(_DAYS)})"
_LONG_WEEKDAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_CLOCK = r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9]|60)"
_FORMATS = (
    # Sun, 06 Nov 1994 08:49:37 GMT
    re.compile(rf"{_WEEKDAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_CLOCK} GMT"),
    # Sunday, 06-Nov-94 08:49:37 GMT
    re.compile(rf"{_LONG_WEEKDAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<yy>[0-9]{{2}}) {_CLOCK} GMT"),
    # Sun Nov  6 08:49:37 1994
    re.compile(rf"{_WEEKDAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_CLOCK} (?P<year>[0-9]{{4}})"),
)


@functools.lru_cache(maxsize=4096)  # blobs that are asked for again, and the Date of this second
def format_http_date(time_s: int) -> str:
    """`Sun, 06 Nov 1994 08:49:37 GMT`."""
    t = time.gmtime(time_s)
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04}"
        f" {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    )


def parse_http_date(text: str, near_s: int) -> int | None:
    """The time of `text` in any of the three formats; None if it is no HTTP date.

    The old format has years of two digits: the latest such year that is at most 50 years after `near_s`
    (RFC 9110 says "after now"; the time the date is compared with serves as well, and keeps this pure).
    The day of the week is not compared with the date.
    """
    for pattern in _FORMATS:
        if match := pattern.fullmatch(text):
            break
    else:
        return None
    fields = match.groupdict()
    if "yy" in fields:
        latest = time.gmtime(near_s).tm_year + 50
        year = latest - (latest - int(fields["yy"])) % 100
    else:
        year = int(fields["year"])
    try:
        day = datetime.date(year, _MONTHS.index(fields["month"]) + 1, int(fields["day"])).toordinal()
    except ValueError:  # 31 Feb, or the year 0
        return None
    seconds = int(fields["hour"]) * 3600 + int(fields["minute"]) * 60 + int(fields["second"])
    return (day - _EPOCH_DAY) * 86400 + seconds
