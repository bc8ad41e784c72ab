"""Pages of listings are made in pieces of bounded size, only as fast as the client takes them, and are
complete when joined.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Iterable
from urllib.parse import parse_qs

import pytest

from services.engines.local.disk.blob import Blob
from services.engines.local.serving.index import Index
from services.frontends.native.listing_pages import (
    MAX_PAGE_BYTES,
    MAX_PREFIXES_BYTES,
    STEP_ENTRIES,
    Folder,
    html_pieces,
    json_pieces,
    steps,
)
from services.rules.listing import Listing
from services.store import Page, Store
from tests.support.pages import page_of

ROOT = Folder("", 0, has_parent=False)
_MAX_ENTRY_BYTES = 10 << 10  # a name of 1,024 quotes: 3 KiB as a link, 6 KiB as text


class Counting(Index):
    """The index of a real store. Counts how many entries it was asked for."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__({name: _blob(number, name) for number, name in enumerate(names)}, {})
        self.given = 0

    async def list(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        self.given += limit
        return page_of(self, prefix, delimiter, after, limit)


def _blob(number: int, location: str) -> Blob:
    return Blob.make(
        location=location,
        id=number,
        seq=number + 1,
        size=number,
        sha256=bytes(32),
        crcs=b"",
        type="text/plain",
        encoding="",
        modified_ns=1,
    )


def _json(maps: Index, listing: Listing) -> AsyncIterator[bytes]:
    return json_pieces(steps(_store(maps), listing))


def _html(maps: Index, listing: Listing, folder: Folder = ROOT) -> AsyncIterator[bytes]:
    return html_pieces(steps(_store(maps), listing), folder, listing)


def _store(maps: Index) -> Store:
    return maps  # type: ignore[return-value]  # of a store, only `list` is asked


def taken(pieces: AsyncIterator[bytes]) -> list[bytes]:
    async def take() -> list[bytes]:
        return [piece async for piece in pieces]

    return asyncio.run(take())


@pytest.mark.parametrize("count", [0, 1, STEP_ENTRIES, STEP_ENTRIES + 1, 500])
@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("limit", [1, 7, STEP_ENTRIES, 1000])
def test_the_pieces_are_the_page_that_the_store_has(count: int, delimiter: str, limit: int) -> None:
    maps = Counting(f"{'' if n % 3 else f'd{n % 40}/'}{n:03}" for n in range(count))
    page = page_of(maps, "", delimiter, "", limit)
    found = json.loads(b"".join(taken(_json(maps, Listing("", delimiter, "", limit)))))
    assert [one["location"] for one in found["blobs"]] == [blob.location for blob in page.blobs]
    assert (found["prefixes"], found["next"]) == (page.prefixes, page.next)


def quotes(count: int) -> list[str]:
    return ['"' * 1019 + f"{n:05}" for n in range(count)]


@pytest.mark.parametrize("form", [_json, _html])
def test_a_page_is_bounded_in_bytes_whatever_the_names(form: object) -> None:
    """10,000 names of 1,024 quotes were 92 MB of HTML."""
    maps = Counting(quotes(3000))
    pieces = taken(form(maps, Listing("", "", "", 10_000)))  # type: ignore[operator]
    assert max(map(len, pieces)) <= STEP_ENTRIES * _MAX_ENTRY_BYTES
    assert MAX_PAGE_BYTES <= sum(map(len, pieces)) <= MAX_PAGE_BYTES + STEP_ENTRIES * _MAX_ENTRY_BYTES


@pytest.mark.parametrize("form", [_json, _html])
def test_a_client_that_takes_nothing_has_no_more_made_for_it(form: object) -> None:
    maps = Counting(f"{n:04}" for n in range(9999))

    async def take_three() -> None:
        pieces = form(maps, Listing("", "", "", 9999))  # type: ignore[operator]
        for _ in range(3):
            await anext(pieces)

    asyncio.run(take_three())
    assert maps.given <= 3 * STEP_ENTRIES


def test_prefixes_are_held_until_the_end_so_they_are_fewer() -> None:
    maps = Counting(f"{n:05}{'p' * 250}/x" for n in range(2000))
    found = json.loads(b"".join(taken(_json(maps, Listing("", "/", "", 10_000)))))
    held = sum(map(len, found["prefixes"]))
    assert MAX_PREFIXES_BYTES * 0.9 < held < MAX_PREFIXES_BYTES + STEP_ENTRIES * 260
    assert found["next"] == found["prefixes"][-1]


def test_every_name_is_on_exactly_one_page() -> None:
    names = quotes(1500)
    maps = Counting(names)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        found = json.loads(b"".join(taken(_json(maps, Listing("", "", after, 10_000)))))
        seen += [one["location"] for one in found["blobs"]]
        after = found["next"]
    assert seen == names
    seen, after = [], ""
    while after is not None:
        text = b"".join(taken(_html(maps, Listing("", "", after, 10_000)))).decode()
        links = re.findall('<a href="([^"]*)">([^<]*)</a>', text)
        after = None
        if links[-1][1] == "more":
            (after,) = parse_qs(html.unescape(links.pop()[0])[1:])["after"]
        seen += [html.unescape(name) for _, name in links]
    assert seen == names
