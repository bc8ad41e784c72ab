"""Listings of locations: pages of /store/ and of the folders below it."""

from __future__ import annotations

from typing import NoReturn

from common.errors import NotFound
from common.record import rfc3339
from services.base_handler import BaseHandler
from services.http_conditions import etag
from services.http_listing import parse_listing
from services.http_locations import parse_location, split_listing
from services.location_handler import PREFIX
from services.store import Blob


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

    def get(self) -> None:
        """A page of the locations."""
        listing = parse_listing(self.request.query, self.folder)
        page = self.store.page(*listing)
        if self.folder and not page.blobs and not page.prefixes and not listing.after:
            raise NotFound("There is no blob under this path.")
        self.send_json(
            {"blobs": [_entry(blob) for blob in page.blobs], "prefixes": page.prefixes, "next": page.next}
        )

    head = get


def _entry(blob: Blob) -> dict[str, object]:
    return {
        "location": blob.location,
        "id": blob.id,
        "size": blob.size,
        "etag": etag(blob.sha256),
        "modified": rfc3339(blob.modified_ns),
        "type": blob.type,
    }
