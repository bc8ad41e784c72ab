"""GET / and its files: the dashboard is one page, served from memory, that needs no other host.

It shows what /events sends, and uses the blobs' own resources with the rights of its user. So the page itself
is public: it asks for the token.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from common.errors import NotFound
from services.frontends.native.base import BaseHandler
from services.rules.conditions import NOT_MODIFIED, evaluate

FOLDER = Path(__file__).with_name("static")
INDEX = "index.html"
# Only our own scripts and styles; no other page may have this one in a frame.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


class Asset(msgspec.Struct, frozen=True):
    """One file. `etag` changes with its content."""

    content: bytes
    type: str
    etag: str


def load() -> dict[str, Asset]:
    """All files of the page, by name."""
    assets = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            assets[path.name] = Asset(content, _TYPES[path.suffix], etag)
    return assets


class DashboardHandler(BaseHandler):
    """/ and /dashboard/{name}"""

    PUBLIC = True
    ASSETS = load()

    async def get(self, name: str = INDEX) -> None:
        """The file, or 304 if the client has it already."""
        asset = self.ASSETS.get(name)
        if asset is None:
            raise NotFound("There is no such file of the dashboard.")
        self.set_header("Content-Type", asset.type)
        self.set_header("Content-Security-Policy", CSP)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-cache")  # kept, and asked for: an upgrade shows at once
        self.set_header("ETag", asset.etag)
        if evaluate(self.request.headers, asset.etag, None, "GET") is NOT_MODIFIED:
            self.clear_header("Content-Type")
            self.set_status(304)
            return
        self.finish(asset.content)

    head = get
