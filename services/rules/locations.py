"""Locations in request targets: from percent-encoded bytes to the name of a blob, and back. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from common.errors import BadLocation
from services.rules.text import CONTROL, BadEscape, decode_percent

MAX_LOCATION_BYTES = 1024  # of UTF-8, after decoding (http.md, "Refusals")
RECORDS = "\0"  # begins the locations of what front ends keep for themselves: no client can name one
AFTER_RECORDS = "\x01"  # records sort before all other locations, of which none is less than this

_UNRESERVED = re.compile(r"[A-Za-z0-9_.~/-]*")
_MAX_KEPT_BYTES = 64 + MAX_LOCATION_BYTES  # a bucket's name before an S3 key
_DROPPED = re.compile(r"(?:^|/)\.?(?:/|\Z)")  # a segment that is empty or a dot
_UPWARDS = re.compile(r"(?:^|/)\.\.(?:/|\Z)")


def parse_location(raw: str | bytes) -> str:
    """The location that `raw` names: everything after `/store/` in the target's path, without the query.

    Percent-decoded exactly once (RFC 3986, section 2.4), so `%2F` is a slash and `%252F` is the text `%2F`;
    `+` is a plus. UTF-8, never normalised: another normal form is another location. A `str` is taken as
    HTTP heads are decoded, one character a byte (latin-1).

    Segments that are empty or `.` are dropped (RFC 3986, section 5.2.4): rclone, apt and clients whose base
    URL ends in a slash send them. No location has any, so this makes no two of them one.

    Raises BadLocation for what http.md refuses. The result is 1 to 1,024 bytes of UTF-8, without control
    characters, and each of its segments is neither empty nor `.` nor `..`.
    """
    location = _decoded(raw)
    if not location:
        raise BadLocation("The location is empty: name the blob after /store/.")
    return location


def _decoded(raw: str | bytes) -> str:
    """See parse_location; "" if every segment is dropped."""
    if len(raw) > 3 * MAX_LOCATION_BYTES:  # no escape is longer than three bytes
        raise _too_long()
    location = raw if isinstance(raw, str) and "%" not in raw and raw.isascii() else _decode(raw)
    if _DROPPED.search(location):
        location = "/".join(segment for segment in location.split("/") if segment not in ("", "."))
    if len(location) * 4 > MAX_LOCATION_BYTES and len(location.encode()) > MAX_LOCATION_BYTES:
        raise _too_long()
    if CONTROL.search(location):
        raise BadLocation("The location has a control character: leave out what is not text.")
    if _UPWARDS.search(location):
        raise BadLocation('The location has a segment "..": write the path without it.')
    return location


def check_location(location: str) -> None:
    """Raise BadLocation if no client could have written this location: for locations from other sources."""
    if parse_location(quote_location(location)) != location:
        raise BadLocation(f"{location!r} is no location that can be asked for: give another one.")


def check_kept(location: str) -> None:
    """Raise BadLocation if no front end could have written it. S3 keys such as `a//b`, `../x` and `dir/`
    pass, and so does a front end's own record.
    """
    if is_record(location):
        return
    if not location or len(location.encode("utf-8", "surrogatepass")) > _MAX_KEPT_BYTES:
        raise _too_long()
    if CONTROL.search(location):
        raise BadLocation(f"{location!r} is no location: it has a control character.")


def is_record(location: str) -> bool:
    """Whether it is a front end's own record (a lock, an upload in parts, a bucket), not a client's blob."""
    return location.startswith(RECORDS)


def split_listing(raw: str | bytes) -> str | None:
    """The prefix of the listing that a target asks for; None if it names a blob.

    "" for `/store/` itself, "a/b/" for `/store/a/b/` (an encoded slash at the end counts, as everywhere).
    Segments are dropped as parse_location does.
    Only for GET and HEAD: a write to such a target has a bad location. Raises BadLocation if the part before
    the last slash could not be part of a location.
    """
    if not raw:
        return ""
    last = raw[-3:] if isinstance(raw, bytes) else raw[-3:].encode("latin-1", "replace")
    if not last.endswith(b"/") and last.upper() != b"%2F":
        return None
    folder = _decoded(raw[: -1 if last.endswith(b"/") else -3])
    return folder + "/" if folder else ""


def quote_location(location: str) -> str:
    """`location` as in a URL path: all but unreserved characters and slashes are percent-encoded.

    RFC 3986, section 2.3. Safe in a header and between quotes in HTML; parse_location gives back the same.
    """
    return location if _UNRESERVED.fullmatch(location) else quote(location)  # most; quote takes 4 µs


def _decode(raw: str | bytes) -> str:
    try:
        return decode_percent(raw)
    except BadEscape as err:
        raise BadLocation(
            "The location has a % without two hex digits: write a percent sign as %25."
        ) from err
    except UnicodeError as err:
        raise BadLocation("The location is not UTF-8: percent-encode the name's UTF-8 bytes.") from err


def _too_long() -> BadLocation:
    return BadLocation(f"The location is over {MAX_LOCATION_BYTES:,} bytes of UTF-8: choose a shorter one.")
