"""The metadata of a blob: which fields of an upload are kept and given back. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping

from common.errors import BadRequest
from services.rules.dates import format_http_date, parse_http_date

# Kept as they were sent, and meant for the clients of the blob (RFC 9110, 9111, 6266).
STANDARD = ("cache-control", "content-disposition", "content-language", "expires")
PREFIX = "x-meta-"
# When the blob expires, as an HTTP date: kept, given back, and heeded by the engine.
EXPIRES = "blob-expires"
# Names and values together, as in S3 for user metadata; each blob carries them in every listing of a map.
MAX_BYTES = 2048

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")  # a token (RFC 9110, section 5.6.2), in lower case
_VALUE = re.compile(r"[\t \x21-\x7e\x80-\xff]*")  # a field value: no line breaks, no other controls


def stored_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """The metadata in the fields of an upload, names in lower case.

    Raises BadRequest if they are more than MAX_BYTES together, or one cannot be in a header field.
    """
    found = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower in STANDARD or (lower.startswith(PREFIX) and lower != PREFIX):
            found[lower] = value.strip(" \t")
    expires = stored_expires(headers)
    if expires is not None:
        found[EXPIRES] = expires
    check_metadata(found)
    return found


def stored_expires(headers: Mapping[str, str]) -> str | None:
    """Blob-Expires as an HTTP date: it is one, or a number of seconds from now. None if there is none.

    Raises BadRequest if it is neither.
    """
    said = headers.get("Blob-Expires")
    if said is None:
        return None
    text, now_s = said.strip(" \t"), int(time.time())
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return format_http_date(now_s + int(text))
    at_s = parse_http_date(text, now_s)
    if at_s is None:
        raise BadRequest("Blob-Expires is neither an HTTP date nor a number of seconds from now.")
    return format_http_date(at_s)


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Raise BadRequest for metadata that is too long, or cannot be in a header field."""
    shown = {name: value for name, value in metadata.items() if not name.startswith(".")}
    if sum(len(name.encode()) + len(value.encode()) for name, value in shown.items()) > MAX_BYTES:
        raise BadRequest(f"The metadata are over {MAX_BYTES} bytes, names and values together: send less.")
    if not all(_fits(name, value) for name, value in shown.items()):
        raise BadRequest("A field of metadata holds a control character: send it without.")


def metadata_fields(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The fields with the metadata. A value that cannot be in a header, as in a record that was made by hand,
    is left out: it could add a field."""
    for name, value in metadata.items():
        if (name in STANDARD or name == EXPIRES or name.startswith(PREFIX)) and _fits(name, value):
            yield name, value


def _fits(name: str, value: str) -> bool:
    return bool(_NAME.fullmatch(name) and _VALUE.fullmatch(value))
