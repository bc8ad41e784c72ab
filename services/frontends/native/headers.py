"""The header fields of every answer, and of every blob, shared by all paths that answer a GET. Pure."""

from __future__ import annotations

import functools
import re

from services.rules.answers import STORED_CSP, Fields, sent, spelled
from services.rules.conditions import etag, last_modified_s
from services.rules.dates import format_http_date
from services.rules.locations import quote_location
from services.rules.metadata import metadata_fields
from services.rules.uploads import DEFAULT_MEDIA_TYPE, fits_field, format_digest
from services.store import Blob

PREFIX = "/store/"
FORWARDED_PREFIX = "X-Forwarded-Prefix"
_FORWARDED = re.compile(r"(?:/[A-Za-z0-9._~%-]+)+")

# A browser opens such a link in a page that it makes, which has to load it from this origin. No scripts.
PLAYED_CSP = "sandbox allow-same-origin; default-src 'none'; media-src 'self'"
# Caches keep it but ask each time: without this field a browser guesses, and shows old content.
CACHE_CONTROL = "no-cache"
_KEPT_BUT_ASKED = ("Cache-Control", CACHE_CONTROL)


def blob_fields(blob: Blob) -> Fields:
    """The fields of a 200 that carries the whole blob, in the order in which they are sent.

    What every answer has (Server, Date, X-Content-Type-Options) comes before them, from common_fields.
    """
    fields = _shape(
        media_type(blob), str(blob.size), validators(blob), format_digest(blob.sha256), str(blob.id)
    )
    if blob.encoding and fits_field(blob.encoding):
        fields.append(("Content-Encoding", blob.encoding))
    if blob.metadata:
        there = {name for name, _ in fields}
        fields += [(name, value) for name, value in _given_back(blob) if name not in there]
    return fields


def sent_blob_fields(blob: Blob) -> bytes:
    """`blob_fields` as they are sent, from a template for each media type."""
    if blob.encoding or blob.metadata:
        return sent(blob_fields(blob))
    date = format_http_date(last_modified_s(blob.modified_ns)).encode()
    sha256 = blob.sha256
    digest = format_digest(sha256).encode()
    return _template(blob.type) % (blob.size, sha256.hex().encode(), date, digest, str(blob.id).encode())


def _shape(kind: str, size: str, validated: Fields, digest: str, blob_id: str) -> Fields:
    is_played = kind.lower().startswith(("video/", "audio/"))
    return [
        ("Content-Type", kind),
        ("Content-Length", size),
        *validated,
        ("Accept-Ranges", "bytes"),
        ("Repr-Digest", digest),
        ("Blob-Id", blob_id),
        ("Content-Security-Policy", PLAYED_CSP if is_played else STORED_CSP),
    ]


@functools.lru_cache(100)
def _template(kind: str) -> bytes:
    """The template; takes size, SHA-256 in hex, date, digest and id."""
    kind = (kind if fits_field(kind) else DEFAULT_MEDIA_TYPE).replace("%", "%%")
    return sent(_shape(kind, "%d", [*_validators('"%s"', "%s"), _KEPT_BUT_ASKED], "%s", "%s"))


def write_outcome(
    method: str, blob: Blob, *, replaced: bool, forwarded_prefix: str | None
) -> tuple[int, Fields]:
    """The answer to a durable POST or PUT: its status, and its own fields.

    `forwarded_prefix`: the path that a proxy adds, by its X-Forwarded-Prefix field; ignored if it is no path.
    A client that forges it only misleads itself.
    """
    fields = [("ETag", etag(blob.sha256))]
    if replaced and method == "PUT":
        return 200, fields
    where = PREFIX + quote_location(blob.location)
    if forwarded_prefix:
        where = forwarded(forwarded_prefix) + where
    return 201, [*fields, ("Location", where)]


def sent_write_outcome(
    method: str, blob: Blob, *, replaced: bool, forwarded_prefix: str | None
) -> tuple[int, bytes]:
    """`write_outcome` with its fields as they are sent. None of them can hold a line break, so none is looked
    for: that and the spelling of two names that never change were 1 % of a small create.
    """
    status, fields = write_outcome(method, blob, replaced=replaced, forwarded_prefix=forwarded_prefix)
    text = f"Etag: {fields[0][1]}\r\n"
    if len(fields) > 1:
        text += f"Location: {fields[1][1]}\r\n"
    return status, text.encode("ascii")


def forwarded(prefix: str | None) -> str:
    """The path that a proxy adds, by its X-Forwarded-Prefix field; empty if it is no path."""
    shown = (prefix or "").rstrip("/")
    return shown if _FORWARDED.fullmatch(shown) else ""


def media_type(blob: Blob) -> str:
    """The blob's media type, or the default if that cannot be in a header field."""
    return blob.type if fits_field(blob.type) else DEFAULT_MEDIA_TYPE


def validators(blob: Blob) -> Fields:
    """The fields of a 304: validators, and those for caches (RFC 9110, section 15.4.5)."""
    fields = _validators(etag(blob.sha256), format_http_date(modified_s(blob)))
    said = []
    if blob.metadata:
        said = [(name, value) for name, value in _given_back(blob) if name in ("Cache-Control", "Expires")]
    return fields + (said or [_KEPT_BUT_ASKED])


def _validators(tag: str, date: str) -> Fields:
    return [("ETag", tag), ("Last-Modified", date)]


def _given_back(blob: Blob) -> Fields:
    return [(spelled(name), value) for name, value in metadata_fields(blob.metadata)]


def modified_s(blob: Blob) -> int:
    """The blob's Last-Modified as Unix time in whole seconds."""
    return last_modified_s(blob.modified_ns)
