"""Listings of locations: pages of /store/ and of the folders below it, as JSON or as HTML."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import NoReturn

from tornado.iostream import StreamClosedError

from common.errors import BadLocation, BlobkeepError, NotFound
from services.access.decisions import Action
from services.frontends.native.base import BaseHandler
from services.frontends.native.headers import PREFIX
from services.frontends.native.listing_pages import PAGE_CSP, Folder, html_pieces, json_pieces, steps
from services.frontends.native.webdav import href_of, multistatus
from services.rules.listing import follows_links, parse_listing, wants_html
from services.rules.locations import split_listing

_WRITE_BYTES = 64 << 10


class ListingHandler(BaseHandler):
    """/store/ and /store/{path}/"""

    ALLOW = "GET, HEAD, OPTIONS"
    ALSO = ("PROPFIND", "MKCOL")

    @functools.cached_property
    def folder(self) -> str:
        """The prefix of locations that the path names. Raises BadLocation."""
        return split_listing(self.request.path.removeprefix(PREFIX)) or ""

    def asked(self) -> tuple[Action, str | None]:
        """See BaseHandler."""
        return self.action(), parse_listing(self.request.query, self.folder).prefix

    def before_body(self) -> None:
        """See BaseHandler. Raises BadLocation."""
        _ = self.folder

    def refuse_method(self) -> NoReturn:
        """405; for a write 400, since a location cannot end in a slash."""
        if self.request.method in ("POST", "PUT", "DELETE"):
            raise BadLocation("The location ends in a slash, as folders do: name the blob after it.")
        super().refuse_method()

    async def get(self) -> None:
        """A page of the locations: JSON, unless the client prefers HTML or follows links."""
        headers = self.request.headers
        browsed = wants_html(headers.get("Accept"), otherwise=follows_links(headers.get("User-Agent")))
        listing = parse_listing(self.request.query, self.folder, browsed=browsed)
        if self.folder and not listing.after and not await self.is_anything_under(listing.prefix):
            raise NotFound("There is no blob under this path.")
        self.set_header("Vary", "Accept, User-Agent")
        pages = steps(self.store, listing)
        if browsed:
            self.set_header("Content-Security-Policy", PAGE_CSP)
            self.set_header("Content-Type", "text/html; charset=utf-8")
            await self._send(html_pieces(pages, self._shown_folder(), listing))
        else:
            self.set_header("Content-Type", "application/json")
            await self._send(json_pieces(pages))

    head = get

    async def propfind(self) -> None:
        """207 about the folder; 404 if nothing is under it, except for /store/ itself."""
        if self.folder and not await self.is_anything_under(self.folder):
            raise NotFound("There is no blob under this path.")
        self.send_multistatus(multistatus(href_of(self.prefix, self.folder), None))

    async def mkcol(self) -> None:
        """201: a folder need not be made."""
        self.set_status(201)
        self.set_header("Content-Length", "0")

    def _shown_folder(self) -> Folder:
        """Links start from the last slash of the path as it was sent, which may stand there as %2F."""
        path = self.request.path.removeprefix(PREFIX)
        base = len(split_listing(path[: path.rfind("/") + 1]) or "")
        return Folder(self.folder, base, bool(self.folder) and path.endswith("/"))

    async def _send(self, pieces: AsyncIterator[bytes]) -> None:
        """Send each piece when the client has taken the one before; others have their turn in between.

        A page that fits into one write is sent with its length. A HEAD stops there.
        """
        held = b""
        try:
            async for piece in pieces:
                held += piece
                if len(held) >= _WRITE_BYTES:
                    self.write(held)
                    held = b""
                    await self.flush()
                    if self.request.method == "HEAD":
                        break
                    await asyncio.sleep(0)  # a flush waits only for clients that are slow
        except StreamClosedError:
            return  # the client has left; nothing is owed
        except BlobkeepError:
            if not self._headers_written:
                raise
            self.cut_off()
            return
        self.finish(held)
