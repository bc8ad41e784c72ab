"""Blobs by id, whatever their state: what the state file shows a person on disk, over HTTP."""

from __future__ import annotations

import re

from common.errors import NotFound
from services.handlers.base import BaseHandler
from services.rules.listing import parse_id_listing
from services.store import Description

PREFIX = "/blobs/"
_ID = re.compile(r"0|[1-9][0-9]{0,9}")  # 32 bits; as the folders are named, so each blob has one URL


class BlobsHandler(BaseHandler):
    """/blobs/"""

    async def get(self) -> None:
        """A page of the blobs that have a folder, by id."""
        state, after, limit = parse_id_listing(self.request.query)
        found = await self.store.list_by_id(state, after, limit + 1)  # one more: whether there is a next page
        blobs = found[:limit]
        following = blobs[-1].id if len(found) > limit else None
        self.send_json({"blobs": [_entry(blob) for blob in blobs], "next": following})

    head = get


class BlobByIdHandler(BaseHandler):
    """/blobs/{id}"""

    async def get(self) -> None:
        """The state of one blob and its whole history."""
        text = self.request.path.removeprefix(PREFIX)
        if not _ID.fullmatch(text):
            raise NotFound("No blob has such an id: ids are decimal numbers.")
        blob = await self.store.describe(int(text))
        history = [{"time": e.time, "state": e.state, "message": e.message} for e in blob.history]
        self.send_json({**_entry(blob), "encoding": blob.encoding, "sequence": blob.seq, "history": history})

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
    }
