"""Signed links that expire: with one, anybody may read or write one blob, without being a client. Pure.

    /store/<location>?expires=<Unix time>&signature=<HMAC-SHA256 of kind, location and time, in base64url>

The key is in the access file; whoever can read that can make links, as `blobkeep link` does. A new key ends
all links that were made with the old one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from urllib.parse import parse_qs

from common.errors import Forbidden
from services.access.decisions import Action, Client, Role
from services.access.secret_hash import NoSecret

READ, WRITE = "read", "write"
_ALLOWS = {READ: frozenset({Action.READ}), WRITE: frozenset({Action.CREATE, Action.UPDATE})}
_TIME = re.compile(r"[0-9]{1,12}")


class LinkHolder(Client, frozen=True):
    """The holder of a link: it may do one thing to one location."""

    location: str = ""
    kind: str = READ

    def _refusal(self, action: Action, location: str | None) -> str | None:
        """See Client."""
        if location == self.location and action in _ALLOWS[self.kind]:
            return None
        return f"This link is to {self.kind} one blob: ask for another link."

    def sees(self, folder: str) -> bool:
        """See Client."""
        return False


def query(key: str, kind: str, location: str, expires_s: int) -> str:
    """The query of a link to `location` that ends at Unix time `expires_s`."""
    return f"expires={expires_s}&signature={_signature(key, kind, location, expires_s)}"


def is_link(text: str) -> bool:
    """Whether a query claims to be that of a link."""
    return "signature=" in text


def holder(key: str, action: Action, location: str, text: str, now_s: float) -> LinkHolder:
    """The holder of the link with the query `text`. Raises Forbidden if it is wrong or expired."""
    kind = READ if action is Action.READ else WRITE
    fields = parse_qs(text)
    expires, signature = fields.get("expires", [""])[0], fields.get("signature", [""])[0]
    if not key or not _TIME.fullmatch(expires):
        raise Forbidden("This link is not one of ours: ask for another one.")
    right = _signature(key, kind, location, int(expires))
    if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "surrogatepass")):
        raise Forbidden(f"This link is not one of ours, or not to {kind} this blob: ask for another one.")
    if now_s >= int(expires):
        raise Forbidden("This link has expired: ask for another one.")
    return LinkHolder("link", Role.READ_WRITE, "", NoSecret(), location=location, kind=kind)


def _signature(key: str, kind: str, location: str, expires_s: int) -> str:
    # A location has no line break, so no two of these are the same text.
    message = f"blobkeep link 1\n{kind}\n{location}\n{expires_s}".encode("utf-8", "surrogatepass")
    digest = hmac.digest(key.encode(), message, hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
