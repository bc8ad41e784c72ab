"""What every answer of this server begins with, and how an error reads: one place for the connection, the
handlers, and the server that recovers. Pure."""

from __future__ import annotations

import json

from services.rules.dates import format_http_date

SERVER = "Blobkeep"
# A stored page must not act on this origin: it runs no script, submits no form, loads nothing.
STORED_CSP = "sandbox; default-src 'none'"


def common_fields(now_s: int) -> list[tuple[str, str]]:
    """The fields that every answer begins with. `now_s`: Unix time."""
    return [
        ("Server", SERVER),
        ("Date", format_http_date(now_s)),
        ("X-Content-Type-Options", "nosniff"),
    ]


def error_fields(retry_after_s: int | None = None) -> list[tuple[str, str]]:
    """The fields of an error beside those: what is in its body, and when to try again."""
    fields = [("Content-Type", "application/json")]
    return fields if retry_after_s is None else [*fields, ("Retry-After", str(retry_after_s))]


def error_body(status: int, text: str) -> bytes:
    """The JSON of an error: `{"code": 409, "text": "..."}`. `text`: one sentence on what to do."""
    return json.dumps({"code": status, "text": text}, ensure_ascii=False).encode() + b"\n"
