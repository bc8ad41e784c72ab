"""ETags of S3, and conditions on them. Pure.

An S3 client takes a tag of 32 hex digits for the MD5 of the bytes, and may compare it. It does not compare a
tag with a dash, which belongs to a multipart upload. So an object without an MD5 gets a tag with a dash, made
from its SHA-256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping

from common.errors import PreconditionFailed
from services.frontends.s3.errors import S3Error
from services.rules.conditions import PRECONDITION_FAILED, evaluate, last_modified_s
from services.store import Blob, Condition

ETAG = ".s3-etag"
_TAG = re.compile(r"[0-9a-f]{32}(?:-[0-9]{1,5})?")
_CONDITIONS = [
    (name, name.lower()) for name in ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
]
_LOWER = frozenset(lower for _, lower in _CONDITIONS)


def etag_of(blob: Blob) -> str:
    """The blob's tag, without quotes."""
    return tag_in(blob.metadata) or tag_of_sha256(blob.sha256)


def tag_in(attributes: Mapping[str, str]) -> str | None:
    """The stored tag; None if there is none. A record that was made by hand may hold anything."""
    tag = attributes.get(ETAG)
    return tag if tag is not None and _TAG.fullmatch(tag) else None


def tag_of_sha256(sha256: bytes) -> str:
    """The tag of an object without an MD5."""
    return f"{sha256[:16].hex()}-1"


def multipart_tag(tags: Iterable[str]) -> str:
    """MD5 of the parts' MD5s, then a dash and their number. A part without an MD5 counts by its tag."""
    given = list(tags)
    raw = b"".join(bytes.fromhex(tag.partition("-")[0]) for tag in given)
    return f"{hashlib.md5(raw, usedforsecurity=False).hexdigest()}-{len(given)}"


def modified_s(blob: Blob) -> int:
    """Last-Modified as Unix time in whole seconds."""
    return last_modified_s(blob.modified_ns)


def conditions(fields: Mapping[str, str], before: str = "") -> dict[str, str]:
    """The conditions in `fields` by canonical name, tags in quotes. `before`: a prefix of their names."""
    found = {}
    for name, lower in _CONDITIONS:
        value = fields.get(before + lower)
        if value is not None:
            found[name] = _quoted(value) if name.endswith("Match") else value
    return found


def write_condition(fields: Mapping[str, str], check_update: Callable[[], None]) -> Condition:
    """The condition of a write that creates or replaces. When it is judged, it raises what S3 answers.

    `check_update` raises if the client may not replace an object.
    """
    wanted: dict[str, str] = {}
    if not _LOWER.isdisjoint(fields):  # hardly ever
        wanted = conditions(fields)
        wanted.pop("If-Modified-Since", None)

    def judge(blob: Blob | None, damaged: bool) -> None:
        if blob is not None or damaged:
            check_update()
        if not wanted:
            return
        if blob is None and not damaged and "If-Match" in wanted:
            raise S3Error("NoSuchKey", "The specified key does not exist.")
        _check(wanted, blob, "PUT")

    return judge


def delete_condition(fields: Mapping[str, str]) -> Condition:
    """The condition of a DELETE. The caller treats a missing object as deleted."""
    wanted = conditions(fields)

    def judge(blob: Blob | None, damaged: bool) -> None:
        if blob is not None or damaged:
            _check(wanted, blob, "DELETE")

    return judge


def source_condition(fields: Mapping[str, str], version: str | None = None) -> Condition:
    """The condition of a copy's source: x-amz-copy-source-if-*, and that it is still `version`.

    All of them fail with 412, as in S3, also those for which a GET would get 304.
    """
    wanted = conditions(fields, "x-amz-copy-source-")

    def judge(blob: Blob | None, damaged: bool) -> None:
        if blob is None:
            return
        if version is not None and blob.version != version:
            raise S3Error("ConditionalRequestConflict", "The source changed while it was copied: try again.")
        tag, modified = f'"{etag_of(blob)}"', modified_s(blob)
        if evaluate(wanted, tag, modified, "GET").name != "PROCEED":
            raise not_held()

    return judge


def not_held() -> PreconditionFailed:
    """The error for a condition that does not hold."""
    return PreconditionFailed("At least one of the preconditions you specified did not hold.")


def _check(wanted: Mapping[str, str], blob: Blob | None, method: str) -> None:
    tag, modified = (f'"{etag_of(blob)}"', modified_s(blob)) if blob is not None else (None, None)
    if evaluate(wanted, tag, modified, method) is PRECONDITION_FAILED:
        raise not_held()


def _quoted(value: str) -> str:
    """The tag in quotes, which many clients leave out."""
    value = value.strip(" \t")
    return value if not value or value == "*" or value[-1] == '"' or "," in value else f'"{value}"'
