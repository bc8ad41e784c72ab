"""Downloads by a browser: POST /tickets/{location} gives a link that anyone may follow for a minute.

A browser saves a link to disk as it comes, but sends no token with it. A script could send the token, and
would hold the whole blob in memory. So who may read a blob gets a link to it that says nothing of the token:
128 random bits, for one blob, for a minute, forgotten when the access file changes.
"""

from __future__ import annotations

import functools
import secrets
import time
from typing import NamedTuple, cast
from urllib.parse import quote

from common.errors import NotFound
from services.access.decisions import Access, Action
from services.frontends.native.base import BaseHandler
from services.frontends.native.blobs import BlobReader
from services.frontends.native.read_plan import ReadPlan
from services.rules.locations import parse_location

TICKETS = "/tickets/"
DOWNLOADS = "/downloads/"
VALID_S = 60.0
_MAX_TICKETS = 1024


class Ticket(NamedTuple):
    """`user` may read the blob at `location` until `until_s` of the monotonic clock."""

    location: str
    user: str
    until_s: float


class Tickets:
    """Those of the last minute, in memory. Used from the event loop alone."""

    def __init__(self, access: Access) -> None:
        self._valid: dict[str, Ticket] = {}  # oldest first
        access.on_replaced.append(self._valid.clear)

    def issue(self, location: str, user: str) -> str:
        """A new one. Where there are too many, the oldest is void."""
        if len(self._valid) >= _MAX_TICKETS:
            del self._valid[next(iter(self._valid))]
        name = secrets.token_urlsafe(16)
        self._valid[name] = Ticket(location, user, time.monotonic() + VALID_S)
        return name

    def find(self, name: str) -> Ticket:
        """Raises NotFound where it is none, or not any more."""
        ticket = self._valid.get(name)
        if ticket is None or ticket.until_s < time.monotonic():
            self._valid.pop(name, None)
            raise NotFound("This link is good for a minute only: begin the download anew.")
        return ticket


class TicketHandler(BaseHandler):
    """/tickets/{location}"""

    ALLOW = "POST, OPTIONS"

    @functools.cached_property
    def location(self) -> str:
        """Of the blob. Raises BadLocation."""
        return parse_location(self.request.path.removeprefix(TICKETS))

    def asked(self) -> tuple[Action, str | None]:
        """See BaseHandler: who may read the blob may have a ticket for it."""
        return Action.READ, self.location

    async def post(self) -> None:
        """201 and `{"url": ...}`, relative to the dashboard. Raises NotFound."""
        location = self.location
        if await self.store.stat(location) is None:
            raise NotFound("There is no such blob.")
        tickets = cast(Tickets, self.settings["tickets"])
        self.set_status(201)
        self.set_header("Cache-Control", "no-store")
        self.send_json({"url": DOWNLOADS[1:] + tickets.issue(location, self.user)})


class DownloadHandler(BlobReader):
    """/downloads/{ticket}: the blob, to be saved and not shown."""

    PUBLIC = True  # the ticket says who may

    @functools.cached_property
    def location(self) -> str:
        """Of the blob. Raises NotFound."""
        tickets = cast(Tickets, self.settings["tickets"])
        ticket = tickets.find(self.request.path.removeprefix(DOWNLOADS))
        self.user = ticket.user
        return ticket.location

    def _begin(self, plan: ReadPlan) -> None:
        super()._begin(plan)
        name = quote(self.location.rpartition("/")[2], safe="")
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
        self.set_header("Cache-Control", "no-store")
