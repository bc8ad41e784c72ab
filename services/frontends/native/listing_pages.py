"""A page of /store/ as pieces of JSON or HTML, each made when the client has taken the one before. Pure.

A page takes little memory, however long it is, since the store is asked for a few entries at a time. It ends
after `limit` entries or about MAX_PAGE_BYTES, whichever comes first. Both forms say where the next one
begins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from html import escape
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from common.times import rfc3339
from services.frontends.native.headers import PREFIX, modified_s
from services.rules.conditions import etag
from services.rules.dates import format_http_date
from services.rules.listing import Listing
from services.rules.locations import quote_location
from services.store import Blob, Page, Store

MAX_PAGE_BYTES = 4 << 20  # 10,000 entries with names of up to some 100 characters
# Prefixes follow the blobs in the JSON, so they are in memory until then, for each slow client.
MAX_PREFIXES_BYTES = 128 << 10
# Entries at a time. Names of 1,024 quotes take some 200 µs each to escape: 6 ms of the event loop.
STEP_ENTRIES = 32

# Our own pages have links and text: nothing may run, load, or frame them, whatever a name contains.
PAGE_CSP = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Folder(NamedTuple):
    """Which folder an HTML page shows, as its path names it ("" for /store/ itself, else "a/b/").

    Links leave out the first `base` characters of a location. `has_parent`: a link "../" leads out of it.
    """

    location: str
    base: int
    has_parent: bool


async def steps(store: Store, listing: Listing) -> AsyncIterator[Page]:
    """The page that `listing` asks for, a few entries at a time. `next` says where the rest begins."""
    left, after = listing.limit, listing.after
    while True:
        page = await store.list(listing.prefix, listing.delimiter, after, min(left, STEP_ENTRIES))
        yield page
        left -= len(page.blobs) + len(page.prefixes)
        if page.next is None or left <= 0:
            return
        after = page.next


async def json_pieces(pages: AsyncIterator[Page]) -> AsyncIterator[bytes]:
    """`{"blobs": [...], "prefixes": [...], "next": ...}`"""
    prefixes: list[str] = []
    sent_bytes = held_bytes = 0
    following: str | None = None
    before = b'{"blobs":['
    async for page in pages:
        if page.blobs:
            piece = before + msgspec.json.encode([_entry(blob) for blob in page.blobs])[1:-1]
            before = b","
            sent_bytes += len(piece)
            yield piece
        prefixes += page.prefixes
        held_bytes += sum(3 + len(prefix.encode()) for prefix in page.prefixes)
        following = page.next
        if sent_bytes + held_bytes >= MAX_PAGE_BYTES or held_bytes >= MAX_PREFIXES_BYTES:
            break
    encoded = (msgspec.json.encode(prefixes), msgspec.json.encode(following))
    yield (before if before != b"," else b"") + b'],"prefixes":%b,"next":%b}\n' % encoded


async def html_pieces(pages: AsyncIterator[Page], folder: Folder, listing: Listing) -> AsyncIterator[bytes]:
    """The page for browsers and for clients that walk links; every name in it is escaped."""
    heading = escape(PREFIX + folder.location)
    yield (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n<title>{heading}</title></head>\n'
        f"<body><h1>{heading}</h1><pre>\n" + (_link("../", "../") if folder.has_parent else "")
    ).encode()
    sent_bytes = 0
    following: str | None = None
    async for page in pages:
        piece = "".join(_lines(page, folder)).encode()
        sent_bytes += len(piece)
        yield piece
        following = page.next
        if sent_bytes >= MAX_PAGE_BYTES:
            break
    more = "" if following is None else _link(_query(listing, folder, following), "more")
    yield f"{more}</pre></body></html>\n".encode()


def _entry(blob: Blob) -> dict[str, object]:
    return {
        "location": blob.location,
        "id": blob.id,
        "size": blob.size,
        "etag": etag(blob.sha256),
        "modified": rfc3339(blob.modified_ns),
        "type": blob.type,
    }


def _lines(page: Page, folder: Folder) -> Iterator[str]:
    entries: Iterable[tuple[str, str]] = [
        *((prefix, "") for prefix in page.prefixes),
        *((blob.location, f"{blob.size}  {format_http_date(modified_s(blob))}") for blob in page.blobs),
    ]
    shown = len(folder.location)
    for location, about in sorted(entries):
        yield _link(quote_location(location[folder.base :]), location[shown:], about)


def _link(href: str, name: str, about: str = "") -> str:
    """One line. `href`: relative and percent-encoded; `name` and `about` are plain text."""
    return f'<a href="{escape(href)}">{escape(name)}</a>  {escape(about)}\n'


def _query(listing: Listing, folder: Folder, after: str) -> str:
    query: dict[str, object] = {"after": after, "limit": listing.limit, "delimiter": listing.delimiter}
    if listing.prefix != folder.location:
        query["prefix"] = listing.prefix
    return "?" + urlencode(query)
