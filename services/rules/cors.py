"""Which pages of other origins may use the server from a browser: CORS, from the Fetch standard. Pure.

The browser's own credentials (cookies, passwords that it remembers) are not used: a page sends a token
itself.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from services.rules.answers import Fields

ANY = "*"
_METHODS = "GET, HEAD, PUT, POST, DELETE"
_REMEMBERED_S = "600"


class Origins:
    """`given`: the option `cors_origins`: origins with commas between them, or `*`; empty: none."""

    def __init__(self, given: str) -> None:
        self._origins = frozenset(one.strip().rstrip("/").lower() for one in given.split(",") if one.strip())
        self._any = ANY in self._origins

    def allows(self, origin: str | None) -> bool:
        """Whether a page of `origin` may read answers, and write."""
        return origin is not None and (self._any or origin.lower() in self._origins)

    def answer_fields(self, origin: str | None) -> Fields:
        """The fields of an answer to a request that may come from a page of `origin`."""
        if not self._origins:
            return []
        if self._any:
            return [("Access-Control-Allow-Origin", ANY), ("Access-Control-Expose-Headers", ANY)]
        if not self.allows(origin) or origin is None:
            return [("Vary", "Origin")]
        return [
            ("Vary", "Origin"),
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", ANY),
        ]

    def preflight_fields(self, method: str | None, headers: Mapping[str, str]) -> Fields | None:
        """The answer to a preflight, without `answer_fields`; None if it is no preflight, or not allowed."""
        asked = headers.get("Access-Control-Request-Method")
        if method != "OPTIONS" or asked is None or not self.allows(headers.get("Origin")):
            return None
        fields = [("Access-Control-Allow-Methods", _METHODS), ("Access-Control-Max-Age", _REMEMBERED_S)]
        named = headers.get("Access-Control-Request-Headers")
        if named is not None:
            fields.append(("Access-Control-Allow-Headers", named))
        return fields


@functools.lru_cache(8)
def origins_of(given: str) -> Origins:
    """Of an option's value."""
    return Origins(given)
