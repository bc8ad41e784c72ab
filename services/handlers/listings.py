"""Listings of locations: pages of /store/ and of the folders below it, as JSON or as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn
from urllib.parse import urlencode

from common.errors import NotFound
from common.times import rfc3339
from services.handlers.base import BaseHandler
from services.handlers.http_headers import modified_s
from services.handlers.listing_html import PAGE_CSP, Link, listing_html
from services.handlers.location import PREFIX
from services.rules.conditions import etag
from services.rules.dates import format_http_date
from services.rules.listing import Listing, follows_links, parse_listing, wants_html
from services.rules.locations import parse_location, quote_location, split_listing
from services.store import Blob, Page


class ListingHandler(BaseHandler):
    """/store/ and /store/{path}/"""

    ALLOW = "GET, HEAD, OPTIONS"

    def before_body(self) -> None:
        """See BaseHandler. Raises BadLocation."""
        self.folder = split_listing(self.request.path.removeprefix(PREFIX)) or ""

    def refuse_method(self) -> NoReturn:
        """405; of a write 400, as it is one to a location that cannot be."""
        if self.request.method in ("POST", "PUT", "DELETE"):
            parse_location(self.request.path.removeprefix(PREFIX))
        super().refuse_method()

    async def get(self) -> None:
        """A page of the locations: JSON, unless the client would rather have HTML or walks links."""
        headers = self.request.headers
        browsed = wants_html(headers.get("Accept"), otherwise=follows_links(headers.get("User-Agent")))
        listing = parse_listing(self.request.query, self.folder, browsed=browsed)
        page = await self.store.list(*listing)
        if self.folder and not page.blobs and not page.prefixes and not listing.after:
            raise NotFound("There is no blob under this path.")
        self.set_header("Vary", "Accept, User-Agent")
        if browsed:
            self.set_header("Content-Security-Policy", PAGE_CSP)
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(listing_html(PREFIX + self.folder, self._links(listing, page)))
        else:
            self.send_json(
                {"blobs": list(map(_entry, page.blobs)), "prefixes": page.prefixes, "next": page.next}
            )

    head = get

    def _links(self, listing: Listing, page: Page) -> Iterator[Link]:
        """Folders end in a slash. Links start from the last slash of the path as it was sent."""
        path = self.request.path.removeprefix(PREFIX)
        base = len(split_listing(path[: path.rfind("/") + 1]) or "")
        shown = len(self.folder)
        if self.folder and path.endswith("/"):
            yield Link("../", "../")
        entries = [(prefix, "") for prefix in page.prefixes]
        entries += [
            (blob.location, f"{blob.size}  {format_http_date(modified_s(blob))}") for blob in page.blobs
        ]
        for location, about in sorted(entries):
            yield Link(quote_location(location[base:]), location[shown:], about)
        if page.next is not None:
            query = {"after": page.next, "limit": listing.limit, "delimiter": listing.delimiter}
            if listing.prefix != self.folder:
                query["prefix"] = listing.prefix
            yield Link("?" + urlencode(query), "more")


def _entry(blob: Blob) -> dict[str, object]:
    return {
        "location": blob.location,
        "id": blob.id,
        "size": blob.size,
        "etag": etag(blob.sha256),
        "modified": rfc3339(blob.modified_ns),
        "type": blob.type,
    }
