"""The answer to a GET or HEAD of a blob: status, header fields, and which bytes. Pure.

RFC 9110: conditions first (section 13.2.2), then Range, if If-Range lets it (section 14.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from common.errors import PreconditionFailed
from services.frontends.native.headers import blob_fields, media_type, modified_s, validators
from services.rules.answers import Fields
from services.rules.conditions import NOT_MODIFIED, PRECONDITION_FAILED, etag, evaluate, if_range_holds
from services.rules.ranges import Range, content_range, multipart, parse_ranges
from services.store import Blob


class ReadPlan(NamedTuple):
    """An answer: its fields, and its body as bytes of ours and ranges of the blob, in order."""

    status: int
    fields: Fields
    pieces: list[bytes | Range]


def plan_read(blob: Blob, method: str, headers: Mapping[str, str]) -> ReadPlan:
    """How to answer a GET or HEAD of `blob`. A HEAD has no pieces, nor has an empty blob.

    Raises PreconditionFailed (412), RangeNotSatisfiable (416), BadRequest (400: a malformed If-Match).
    """
    verdict = evaluate(headers, etag(blob.sha256), modified_s(blob), method)
    if verdict is PRECONDITION_FAILED:
        raise PreconditionFailed("The blob is not the one that your conditions name: read it without them.")
    if verdict is NOT_MODIFIED:
        return ReadPlan(304, validators(blob), [])
    parts = _parts(blob, method, headers)
    fields = blob_fields(blob)
    if parts is None:
        return ReadPlan(200, fields, [(0, blob.size - 1)] if blob.size and method == "GET" else [])
    if len(parts) == 1:
        ((first, last),) = parts
        said = {"Content-Length": str(last + 1 - first)}
        return ReadPlan(
            206, [*_with(fields, said), ("Content-Range", content_range(parts[0], blob.size))], [*parts]
        )
    body = multipart(parts, blob.size, media_type(blob), blob.sha256)
    pieces = [piece for pair in zip(body.heads, parts, strict=True) for piece in pair]
    said = {"Content-Type": body.content_type, "Content-Length": str(body.length)}
    return ReadPlan(206, _with(fields, said), [*pieces, body.tail])


def _parts(blob: Blob, method: str, headers: Mapping[str, str]) -> list[Range] | None:
    """The ranges to send, None for the whole. A HEAD has none (RFC 9110, section 14.2: only GET does)."""
    asked = headers.get("Range")
    if asked is None or method != "GET":
        return None
    condition = headers.get("If-Range")
    if condition is not None and not if_range_holds(condition, etag(blob.sha256), modified_s(blob)):
        return None
    return parse_ranges(asked, blob.size)


def _with(fields: Fields, said: dict[str, str]) -> Fields:
    """`fields` with other values of some that are there."""
    return [(name, said.get(name, value)) for name, value in fields]
