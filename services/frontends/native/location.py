"""What the resources under /store/ share: the location in their path."""

from __future__ import annotations

from collections.abc import Awaitable

from services.frontends.native.base import BaseHandler
from services.rules.locations import parse_location

PREFIX = "/store/"


class LocationHandler(BaseHandler):
    """/store/{location}"""

    ALLOW = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
    location: str

    def before_body(self) -> Awaitable[None] | None:
        """See BaseHandler. Raises BadLocation."""
        self.location = parse_location(self.request.path.removeprefix(PREFIX))
        return None
