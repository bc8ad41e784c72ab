"""The rules of HTTP that the handlers follow, under one name: pure functions, no disk, network or clock.

Each comes from the module of its subject; only what is listed here is meant for use elsewhere.
"""

from __future__ import annotations

from services.rules.conditions import (
    NOT_MODIFIED,
    PRECONDITION_FAILED,
    PROCEED,
    Verdict,
    etag,
    evaluate,
    if_range_holds,
    parse_etags,
)
from services.rules.credentials import Credentials, parse_authorization
from services.rules.dates import format_http_date, parse_http_date
from services.rules.listing import IdListing, Listing, parse_id_listing, parse_listing, wants_html
from services.rules.locations import MAX_LOCATION_BYTES, parse_location, quote_location, split_listing
from services.rules.ranges import Multipart, Range, content_range, multipart, parse_ranges, unsatisfied_range
from services.rules.uploads import (
    DEFAULT_MEDIA_TYPE,
    declared_bytes,
    expected_sha256,
    format_digest,
    parse_digest,
    parse_expect,
    refuse_partial,
    stored_encoding,
    stored_media_type,
)

__all__ = [
    "DEFAULT_MEDIA_TYPE",
    "MAX_LOCATION_BYTES",
    "NOT_MODIFIED",
    "PRECONDITION_FAILED",
    "PROCEED",
    "Credentials",
    "IdListing",
    "Listing",
    "Multipart",
    "Range",
    "Verdict",
    "content_range",
    "declared_bytes",
    "etag",
    "evaluate",
    "expected_sha256",
    "format_digest",
    "format_http_date",
    "if_range_holds",
    "multipart",
    "parse_authorization",
    "parse_digest",
    "parse_etags",
    "parse_expect",
    "parse_http_date",
    "parse_id_listing",
    "parse_listing",
    "parse_location",
    "parse_ranges",
    "quote_location",
    "refuse_partial",
    "split_listing",
    "stored_encoding",
    "stored_media_type",
    "unsatisfied_range",
    "wants_html",
]
