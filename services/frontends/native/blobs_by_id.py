"""Blobs by id, in any state: the content of the state file over HTTP."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import cast

from tornado.iostream import StreamClosedError

from common.errors import Busy
from services.engine import Admin
from services.frontends.native.base import BaseHandler
from services.rules.clients import client_of
from services.rules.listing import parse_id_listing
from services.store import Description

PREFIX = "/blobs/"
# Pages that may be read or sent at a time. A page may have 600 KB, and a slow reader holds one for long.
MAX_PAGES = 32
MAX_PAGES_OF_CLIENT = 8


class Pages:
    """Counts the pages by id that are under way, by client."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @contextlib.contextmanager
    def one(self, client: str) -> Iterator[None]:
        """While it lasts, one more. Raises Busy."""
        if self._of[client] >= MAX_PAGES_OF_CLIENT or self._of.total() >= MAX_PAGES:
            raise Busy("Many pages of /blobs/ are being read: try again in a moment.")
        self._of[client] += 1
        try:
            yield
        finally:
            self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]


class ByIdHandler(BaseHandler):
    """A handler that asks the engine, not the store."""

    @property
    def admin(self) -> Admin:
        """The engine's."""
        return cast(Admin, self.settings["admin"])


class BlobsHandler(ByIdHandler):
    """/blobs/"""

    async def get(self) -> None:
        """A page of the blobs that have a folder, by id."""
        state, after, limit = parse_id_listing(self.request.query)
        pages: Pages = self.settings["pages_by_id"]
        with pages.one(client_of(self.request.remote_ip or "")):
            found = await self.admin.list_by_id(state, after, limit + 1)  # one more: is there a next page
            blobs = found[:limit]
            following = blobs[-1].id if len(found) > limit else None
            with contextlib.suppress(StreamClosedError):  # the client has left; nothing is owed
                await self.send_json({"blobs": [_entry(blob) for blob in blobs], "next": following})

    head = get


class BlobByIdHandler(ByIdHandler):
    """/blobs/{id}"""

    async def get(self) -> None:
        """The state of one blob and its whole history."""
        blob = await self.admin.describe(self.request.path.removeprefix(PREFIX))
        history = [{"time": e.time, "state": e.state, "message": e.message} for e in blob.history]
        more = {"encoding": blob.encoding, "metadata": dict(blob.metadata)}
        self.send_json({**_entry(blob), **more, "history": history})

    head = get


def _entry(blob: Description) -> dict[str, object]:
    return {
        "id": blob.id,
        "location": blob.location,
        "state": blob.state,
        "size": blob.size,
        "etag": blob.etag,
        "modified": blob.modified,
        "type": blob.type,
        "sequence": blob.seq,
        "kept_until": blob.kept_until,
        "expires": blob.expires,
    }
