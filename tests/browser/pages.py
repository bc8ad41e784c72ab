"""Common steps of the dashboard's tests, and an access file with one client of each kind."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, expect

from services.access import file as access_file
from services.access.secret_hash import hash_token
from tests.browser.conftest import Visit
from tests.support.processes import Server


def opened(visit: Visit, server: Server, address: str = "") -> Page:
    """The page of `server` at `address`, such as "#/blobs/a/"."""
    visit.page.goto("about:blank")  # otherwise a new address that differs only after the # loads nothing
    visit.page.goto(f"http://127.0.0.1:{server.port}/{address}")
    return visit.page


def overview(visit: Visit, server: Server) -> Page:
    """Open the view of the server's state, with its first figures."""
    page = opened(visit, server)
    expect(page.locator("#process-server .word")).to_have_text("Running")
    return page


def folder(visit: Visit, server: Server, prefix: str = "") -> Page:
    """Open the folder, and wait until it is listed."""
    page = opened(visit, server, f"#/blobs/{quote(prefix)}")
    expect(page.locator("#listing-table:visible, #listing-empty:visible")).to_have_count(1)
    return page


def blob(visit: Visit, server: Server, location: str) -> Page:
    """Open the page of an existing blob."""
    page = opened(visit, server, f"#/blob/{quote(location)}")
    expect(page.locator("#blob-title")).to_have_text(location)
    expect(page.locator("#blob-body")).to_be_visible()
    return page


def told(page: Page, location: str) -> list[str]:
    """The words in the feed of one location, oldest first."""
    rows = page.locator("#feed li").filter(has=page.get_by_role("link", name=location, exact=True))
    return [text.strip() for text in reversed(rows.locator(".word").all_inner_texts())]


def names(page: Page) -> list[str]:
    """The names in the list, from top to bottom."""
    return page.locator("#listing .name a").all_text_contents()


def address(page: Page) -> str:
    """The part of the address after the #."""
    return page.url.partition("#")[2]


def access(path: Path, *clients: tuple[str, str, str]) -> Path:
    """An access file of clients (name, role, prefix); the token of ann is "secret-of-ann"."""
    entries = [
        access_file.make_client(name, role, prefix, hash_token(f"secret-of-{name}"))
        for name, role, prefix in clients
    ]
    path.write_text(access_file.new_file() + "".join(map(access_file.entry_text, entries)))
    path.chmod(0o600)
    return path


def sign_in(page: Page, secret: str) -> None:
    """Fill in the sign-in window; open it if it is closed."""
    expect(page.locator("#sign-in:visible, #token-button:visible").first).to_be_visible()
    if not page.locator("#sign-in").is_visible():
        page.click("#token-button")
    page.fill("#sign-in-secret", secret)
    page.press("#sign-in-secret", "Enter")


def png(width: int, height: int) -> bytes:
    """A picture: a gradient."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (x * 255 // width, y * 255 // height, 128))
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts
