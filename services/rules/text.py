"""Shared by the parsers of heads: percent-decoding, and the characters that no name may have. Pure."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

# C0, DEL and C1: they could forge lines in logs and terminals, and no client needs them.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# More members of a list than a client has reason to send. Each costs us 1 us or more.
MAX_MEMBERS = 256
# RFC 9110, section 5.6.4; one that is never closed goes to the end. Possessive: linear on any input.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class BadEscape(ValueError):
    """A percent sign without two hex digits after it."""


def list_members(header: str) -> list[str]:
    """The members of a comma-separated field, without the empty ones (RFC 9110, section 5.6.1).

    What they have in quotes is left out, as a comma in it separates nothing. Members after the first
    MAX_MEMBERS are not looked at.
    """
    if '"' in header:
        header = _QUOTED.sub('""', header)
    members = header.split(",", MAX_MEMBERS)[:MAX_MEMBERS]
    return [member for text in members if (member := text.strip(" \t"))]


def decode_percent(raw: str | bytes) -> str:
    """The text of percent-encoded UTF-8, decoded exactly once (RFC 3986, section 2.4).

    A `str` is taken as HTTP heads are decoded: one character a byte (latin-1). Raises BadEscape, or
    UnicodeError for what is not UTF-8; both are ValueError.
    """
    if isinstance(raw, str):
        if raw.isascii() and "%" not in raw:
            return raw
        raw = raw.encode("latin-1")
    if _BAD_ESCAPE.search(raw):
        raise BadEscape
    return unquote_to_bytes(raw).decode("utf-8")
