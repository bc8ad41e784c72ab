"""What the resources under /store/ share: the location in their path."""

from __future__ import annotations

import re
from collections.abc import Awaitable

from services.frontends.native.base import BaseHandler
from services.rules.locations import parse_location, quote_location

PREFIX = "/store/"
FORWARDED_PREFIX = "X-Forwarded-Prefix"
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~%-]+)+")


def location_field(location: str, forwarded_prefix: str | None) -> str:
    """The Location of a blob that was created.

    `forwarded_prefix`: the path under which a proxy shows us, by its X-Forwarded-Prefix field; ignored where
    it is no path. Whoever makes it up misleads nobody but the one who gets this answer.
    """
    prefix = (forwarded_prefix or "").rstrip("/")
    return (prefix if _PREFIX.fullmatch(prefix) else "") + PREFIX + quote_location(location)


class LocationHandler(BaseHandler):
    """/store/{location}"""

    ALLOW = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
    location: str

    def before_body(self) -> Awaitable[None] | None:
        """See BaseHandler. Raises BadLocation."""
        self.location = parse_location(self.request.path.removeprefix(PREFIX))
        return None
