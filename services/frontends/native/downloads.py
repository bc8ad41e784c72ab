"""Links to a blob for clients that may read it: POST /tickets/{location}. A ticket for a download lasts a
minute; with ?for=SECONDS it is a signed link that lasts so long, as `blobkeep link` makes it.

A browser saves a link to disk as it comes, but sends no token with it. A script could send the token, but
would hold the whole blob in memory. So a client that may read a blob gets a link to it without the token: 128
random bits, for one blob, for a minute, void when the access file changes. A signed link stays valid then,
since it is made to be given to somebody else.
"""

from __future__ import annotations

import functools
import re
import secrets
import time
from typing import NamedTuple, cast
from urllib.parse import quote

from common.errors import BadRequest, Forbidden, NotFound
from common.times import rfc3339, to_the_second
from services.access import links
from services.access.decisions import Access, Action
from services.frontends.native.base import BaseHandler
from services.frontends.native.blobs import BlobReader
from services.frontends.native.headers import PREFIX
from services.frontends.native.read_plan import ReadPlan
from services.rules.locations import parse_location, quote_location

TICKETS = "/tickets/"
DOWNLOADS = "/downloads/"
VALID_S = 60.0
_MAX_TICKETS = 1024
MAX_LINK_S = 7 * 86400  # as long as S3 lets a presigned URL last
_FOR = re.compile(r"for=([1-9][0-9]{0,5})")


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
        """A new ticket. If there are too many, the oldest becomes void."""
        if len(self._valid) >= _MAX_TICKETS:
            del self._valid[next(iter(self._valid))]
        name = secrets.token_urlsafe(16)
        self._valid[name] = Ticket(location, user, time.monotonic() + VALID_S)
        return name

    def find(self, name: str) -> Ticket:
        """The ticket. Raises NotFound if it is not valid, or no longer."""
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
        """See BaseHandler: a client that may read the blob may have a ticket for it."""
        return Action.READ, self.location

    async def post(self) -> None:
        """201 and `{"url": ..., "expires": ...}`, relative to the dashboard. Raises NotFound, BadRequest,
        Forbidden."""
        location = self.location
        lasts_s = _lasts_s(self.request.query)
        if await self.store.stat(location) is None:
            raise NotFound("There is no such blob.")
        if lasts_s is None:
            url = DOWNLOADS[1:] + cast(Tickets, self.settings["tickets"]).issue(location, self.user)
            expires_s = int(time.time() + VALID_S)
        else:
            expires_s = int(time.time()) + lasts_s
            url = f"{PREFIX[1:]}{quote_location(location)}?{self._signed(location, expires_s)}"
        self.set_status(201)
        self.set_header("Cache-Control", "no-store")
        self.send_json({"url": url, "expires": to_the_second(rfc3339(expires_s * 10**9))})

    def _signed(self, location: str, expires_s: int) -> str:
        """The query of a link. Raises Forbidden if the link would not expire, or cannot be signed."""
        if self.access.is_open:
            raise Forbidden("This server is open to everyone: the address of the blob is a link without end.")
        if not self.access.link_key:
            raise Forbidden("This server has no key for links: `blobkeep link`, run beside it, makes one.")
        return links.query(self.access.link_key, links.READ, location, expires_s)


def _lasts_s(query: str) -> int | None:
    """How long the signed link shall last, in seconds; None if a ticket is wanted. Raises BadRequest."""
    if not query:
        return None
    found = _FOR.fullmatch(query)
    if not found or int(found[1]) > MAX_LINK_S:
        raise BadRequest(f"There is one parameter, ?for=SECONDS, from 1 to {MAX_LINK_S}.")
    return int(found[1])


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
