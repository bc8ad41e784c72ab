"""The fields at the beginning of every answer, and the form of errors: shared by the connection, the
handlers, and the server during recovery. Pure."""

from __future__ import annotations

import functools
import json

from services.rules.dates import format_http_date

Fields = list[tuple[str, str]]
"""Header fields of an answer: name and value, in the order in which they are sent; some more than once."""

SERVER = "Blobkeep"
# A stored page must not act on this origin: it runs no script, submits no form, loads nothing.
STORED_CSP = "sandbox; default-src 'none'"


def common_fields(now_s: int) -> Fields:
    """The fields that every answer begins with. `now_s`: Unix time."""
    return [
        ("Server", SERVER),
        ("Date", format_http_date(now_s)),
        ("X-Content-Type-Options", "nosniff"),
    ]


def sent(fields: Fields) -> bytes:
    """The lines of `fields`, with names spelled as in answers of handlers.

    Raises ValueError for a line break or NUL in one: what follows it would be another field, or the body.
    """
    text = "".join([f"{spelled(name)}: {value}\r\n" for name, value in fields])
    if text.count("\n") != len(fields) or text.count("\r") != len(fields) or "\0" in text:
        raise ValueError(f"a line break in a header field: {fields!r}")
    return text.encode("latin-1")


@functools.lru_cache(2)
def sent_common(now_s: int) -> bytes:
    """The lines of common_fields: the same for all answers of a second."""
    return sent(common_fields(now_s))


@functools.lru_cache(100)
def spelled(name: str) -> str:
    """As Tornado spells it, but for S3's: clients take the names of metadata as they are spelled."""
    if name.lower().startswith("x-amz-"):
        return name.lower()
    return "-".join(word.capitalize() for word in name.split("-"))


def error_fields(retry_after_s: int | None = None) -> Fields:
    """The other fields of an error: for its body, and when to try again."""
    fields = [("Content-Type", "application/json")]
    return fields if retry_after_s is None else [*fields, ("Retry-After", str(retry_after_s))]


def error_body(status: int, text: str) -> bytes:
    """The JSON of an error: `{"code": 409, "text": "..."}`. `text`: one sentence on what to do."""
    return json.dumps({"code": status, "text": text}, ensure_ascii=False).encode() + b"\n"
