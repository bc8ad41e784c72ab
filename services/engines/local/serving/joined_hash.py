"""Computes the checksums of an upload in parts while it goes on, so that they are ready for its completion.

Parts come in any order, but SHA-256 needs the bytes in order. So the bytes are read again in the background,
part after part, mostly from the page cache: 0.6 ms a MiB. Each MiB is verified on the way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from common import checksum
from common.checksum import CHUNK_BYTES, Hasher
from common.errors import PartsChanged
from common.ours import open_ours, read_at
from services.engines.local.disk.multipart_folder import Placed


class RottenPart(PartsChanged):
    """The bytes of part `number` on disk are not those that came."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Part {number} is damaged on disk: send it again.")
        self.number = number


class JoinedHash:
    """The hash of the parts in the file `path`, from the first on. Used by one thread at a time."""

    def __init__(self, path: str) -> None:
        self.ids: list[str] = []  # of the parts that it has taken
        self.hasher = Hasher()
        self._path = path
        self._before = self.hasher.copy()  # when the part under way began
        self._at = 0  # of its bytes taken
        self._id = ""  # which it is

    def advance(self, parts: Mapping[int, Placed], most_bytes: int) -> bool:
        """Take some more bytes; True if there may be more. Raises RottenPart, OSError."""
        if self._next(parts) is None:
            return False
        fd = open_ours(self._path)
        try:
            buffer = memoryview(bytearray(CHUNK_BYTES))
            left = most_bytes
            while left > 0 and (part := self._next(parts)) is not None:
                length = min(CHUNK_BYTES, part.size - self._at)
                view = buffer[:length]
                got = read_at(fd, view, part.offset + self._at)
                self._take(part, view[:got], length)
                left -= CHUNK_BYTES
            return left <= 0
        finally:
            os.close(fd)

    def _next(self, parts: Mapping[int, Placed]) -> Placed | None:
        part = parts.get(len(self.ids) + 1)
        return part if part is not None and part.is_in_place else None

    def _take(self, part: Placed, data: memoryview, length: int) -> None:
        if part.id != self._id:
            if self._at:  # it was replaced while we read it
                self.hasher, self._at = self._before.copy(), 0
                self._id = part.id
                return
            self._id, self._before = part.id, self.hasher.copy()
        if length:
            crcs = bytes.fromhex(part.crcs)
            if len(data) != length or checksum.crc(data) != checksum.unpack_crc(
                crcs, self._at // CHUNK_BYTES
            ):
                self.hasher, self._at, self._id = self._before.copy(), 0, ""
                raise RottenPart(part.number)
            self.hasher.update(data)
            self._at += length
        if self._at == part.size:
            self.ids.append(part.id)
            self._at, self._id = 0, ""
