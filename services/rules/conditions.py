"""Entity tags and conditional requests: RFC 9110, sections 8.8.3 and 13. Pure.

Times are Last-Modified times: Unix time in whole seconds. A blob's own tag is always strong. Where there is
no blob, tag and time are None.
"""

from __future__ import annotations

import enum
import re
import time
from collections.abc import Mapping

from common.errors import BadRequest
from services.rules.dates import parse_http_date
from services.rules.text import MAX_MEMBERS


class Verdict(enum.Enum):
    """The outcome of the conditions of a request."""

    PROCEED = "do what the request asks"
    NOT_MODIFIED = "answer 304"
    PRECONDITION_FAILED = "answer 412 and change nothing"


PROCEED, NOT_MODIFIED, PRECONDITION_FAILED = Verdict


def last_modified_s(modified_ns: int) -> int:
    """Last-Modified of what was written at `modified_ns`, as Unix time in whole seconds.

    A clock that was ahead when it was written must not make it later than the answer's Date (RFC 9110,
    section 8.8.2.1).
    """
    return min(modified_ns // 1_000_000_000, int(time.time()))


# One element of 1#entity-tag with what follows it (section 8.8.3), spaces in a tag included: they are not in
# the grammar, but a list with such a tag of another server may have ours, too. Possessive: linear.
_ELEMENT = re.compile(r'[ \t]*+((?:W/)?"[\t\x20\x21\x23-\x7e\x80-\xff]*+")?+[ \t]*+(?:,|\Z)')


def etag(sha256: bytes) -> str:
    """The strong entity tag of a content: its SHA-256 in hex, in quotes (section 8.8.3)."""
    return f'"{sha256.hex()}"'


def evaluate(headers: Mapping[str, str], etag: str | None, modified_s: int | None, method: str) -> Verdict:
    """The outcome of the preconditions in `headers` for the current blob, in the order of section 13.2.2.

    `headers`: by canonical name, repeated fields joined by commas; `etag`: the blob's tag, as sent.
    For If-Range see if_range_holds.

    Raises BadRequest for an If-Match that does not parse, and on writes also for such an If-None-Match:
    neither may let a write through. On reads such an If-None-Match is ignored. A date that does not parse is
    ignored, as sections 13.1.3 and 13.1.4 require.
    """
    is_read = method in ("GET", "HEAD")
    if (value := headers.get("If-Match")) is not None:
        if not _if_match_holds(value, etag):
            return PRECONDITION_FAILED
    elif (value := headers.get("If-Unmodified-Since")) is not None and modified_s is not None:
        limit_s = parse_http_date(value.strip(" \t"), modified_s)
        if limit_s is not None and modified_s > limit_s:
            return PRECONDITION_FAILED
    if (value := headers.get("If-None-Match")) is not None:
        if not _if_none_match_holds(value, etag, is_read):
            return NOT_MODIFIED if is_read else PRECONDITION_FAILED
    elif is_read and modified_s is not None and (value := headers.get("If-Modified-Since")) is not None:
        since_s = parse_http_date(value.strip(" \t"), modified_s)
        if since_s is not None and modified_s <= since_s:
            return NOT_MODIFIED
    return PROCEED


def if_range_holds(header: str, etag: str, modified_s: int) -> bool:
    """Whether a Range may be served, given the If-Range beside it; else serve whole (section 13.1.5).

    A tag holds by strong comparison, a date if it is exactly the Last-Modified; anything else does not.
    """
    header = header.strip(" \t")
    return header == etag or parse_http_date(header, modified_s) == modified_s


def parse_etags(header: str) -> list[str] | None:
    """The tags of an If-Match or If-None-Match as they were sent, `["*"]` for any; None if malformed.

    More than MAX_MEMBERS elements are malformed, too: nobody has so many tags of one blob.
    """
    if header.strip(" \t") == "*":
        return ["*"]
    tags: list[str] = []
    at = elements = 0
    while at < len(header):
        element = _ELEMENT.match(header, at)
        elements += 1
        if element is None or elements > MAX_MEMBERS:
            return None
        if element[1]:  # section 5.6.1.2: empty elements are ignored
            tags.append(element[1])
        at = element.end()
    return tags or None


def _if_match_holds(header: str, etag: str | None) -> bool:
    """Section 13.1.1: strong comparison. Our tags are strong, so a weak one never matches."""
    tags = _tags_or_refuse("If-Match", header)
    return etag is not None and (tags == ["*"] or etag in tags)


def _if_none_match_holds(header: str, etag: str | None, is_read: bool) -> bool:
    """Section 13.1.2: weak comparison."""
    tags = (parse_etags(header) or []) if is_read else _tags_or_refuse("If-None-Match", header)
    return etag is None or (tags != ["*"] and etag not in [tag.removeprefix("W/") for tag in tags])


def _tags_or_refuse(name: str, header: str) -> list[str]:
    tags = parse_etags(header)
    if tags is None:
        raise BadRequest(f'{name} is malformed: send * or ETags as they were received, as in "abc", "def".')
    return tags
