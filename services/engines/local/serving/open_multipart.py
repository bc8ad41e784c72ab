"""One upload in parts under way: what was remembered of it, where parts go, and when they are hashed.

The first part that is begun sets the distance between parts in the upload's data.raw. A part that fits is
written at its place there; others go to files of their own. A place is used once. A part that is sent again
goes elsewhere, so that the acknowledged one stays intact until the new part is durable.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping

from common import checksum
from common.checksum import CHUNK_BYTES
from services.engines.local.disk import layout
from services.engines.local.disk.multipart_folder import Placed
from services.engines.local.serving.hash_turns import HashOrder, HashTurn
from services.engines.local.serving.joined_hash import JoinedHash
from services.engines.local.serving.part_upload import LocalPart, PartPlace
from services.store import Multipart

# No object may be longer, and ext4 takes no file of more than 16 TiB: parts whose numbers have large gaps.
_MOST_FILE_BYTES = 5 << 40


class OpenMultipart:
    """`lock`: held to remember a part, or to end the upload."""

    def __init__(self, upload: Multipart, path: str, parts: Mapping[int, Placed]) -> None:
        self.upload = upload
        self.path = path
        self.parts = dict(parts)
        self.slot_bytes = max((part.slot_bytes for part in parts.values()), default=0)
        # Places in data.raw that a part was remembered in, or is being written to.
        self.used = {part.number for part in parts.values() if part.is_in_place}
        self.may_write_in_place = True  # into data.raw
        self.writers: set[LocalPart] = set()
        self.lock = asyncio.Lock()
        self.is_over = False
        self.is_ending = False
        self.hash = JoinedHash(f"{path}/{layout.DATA_NAME}")
        self.hash_lock = asyncio.Lock()
        self.order = HashOrder(self.hash)
        self.following: asyncio.Task[None] | None = None

    def newest_ns(self) -> int:
        """The time of its last request."""
        if self.writers:
            return time.time_ns()
        return max([self.upload.begun_ns, *(part.modified_ns for part in self.parts.values())])

    def place(self, number: int, size: int | None) -> PartPlace:
        """Where a new part goes, which is its own from now on."""
        upload_id, part_id = self.upload.id, secrets.token_hex(8)
        if size is not None and not self.slot_bytes:
            self.slot_bytes = max(1, checksum.chunk_count(size)) * CHUNK_BYTES
        fits = size is not None and size <= self.slot_bytes and number not in self.used
        fits = fits and number * self.slot_bytes <= _MOST_FILE_BYTES
        if not fits or not self.may_write_in_place:
            return PartPlace(upload_id, number, part_id, f"{number}-{part_id}", 0)
        self.used.add(number)
        return PartPlace(upload_id, number, part_id, layout.DATA_NAME, self.slot_bytes)

    def turn_at(self, place: PartPlace) -> HashTurn:
        """The turn of a new part to be hashed for the whole."""
        return HashTurn(self.order if place.slot_bytes else None, place.number)
