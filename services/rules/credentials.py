"""Parses the Authorization header (RFC 9110, section 11.6.2). Pure.

Nothing is checked or compared here.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field

from services.rules.text import CONTROL

_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]++=*+")  # RFC 9110, section 11.2; a bearer token is one (RFC 6750)


@dataclass(frozen=True, slots=True)
class Credentials:
    """`user`: None for a bearer token, which is then the secret. The secret never shows in a repr or log."""

    user: str | None
    secret: str = field(repr=False)


def parse_authorization(header: str | None) -> Credentials | None:
    """The bearer token (RFC 6750) or basic user and password (RFC 7617) in an Authorization header.

    None if it is missing, malformed or of another kind: all of these are answered with 401.
    """
    scheme, _, rest = (header or "").strip(" \t").partition(" ")
    token = rest.strip(" ")
    if not _TOKEN68.fullmatch(token):
        return None
    match scheme.lower():
        case "bearer":
            return Credentials(None, token)
        case "basic":
            return _basic(token)
    return None


def _basic(token: str) -> Credentials | None:
    if len(token) % 4:
        return None
    try:
        data = base64.b64decode(token, validate=True)
    except ValueError:
        return None
    try:
        pair = data.decode("utf-8")
    except UnicodeDecodeError:
        pair = data.decode("latin-1")  # what Python's requests sends, among others
    user, colon, password = pair.partition(":")
    if not colon or CONTROL.search(pair):
        return None
    return Credentials(user, password)
