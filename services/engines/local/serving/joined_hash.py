"""Computes the checksums of an upload in parts while it goes on, so that they are ready for its completion.

SHA-256 needs the bytes in order, and parts come in any. A part that is the next in order is hashed as its
bytes come: whoever writes it goes on from a copy of the hash so far (`ahead`), or of that of the part before
(see hash_turns), and offers the result when the part is remembered. Other parts are read again in the
background, and each MiB is verified on the way (`advance`). That costs a thread, and 0.1 ms a MiB beside the
hash.

The CRCs are those of the parts. They are right for the whole if every part but the last has whole MiB, as
those have that stand in order (see joining.stand_in_order).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Protocol

from common import checksum
from common.checksum import CHUNK_BYTES, Bytes
from common.errors import PartsChanged
from common.ours import open_ours, read_at
from services.engines.local.disk.multipart_folder import Placed


class RunningSha256(Protocol):
    """The methods of hashlib's object."""

    def update(self, data: Bytes, /) -> None: ...

    def digest(self) -> bytes: ...

    def copy(self) -> RunningSha256: ...


class RottenPart(PartsChanged):
    """The bytes of `part` on disk are not those that came."""

    def __init__(self, part: Placed) -> None:
        super().__init__(f"Part {part.number} is damaged on disk: send it again.")
        self.part = part


class JoinedHash:
    """The checksums of the parts in the file `path`, from the first on. Used by one thread at a time."""

    def __init__(self, path: str) -> None:
        self.ids: list[str] = []  # of the parts that it has taken
        self.size = 0  # of these
        self._crcs = bytearray()
        self._sha256: RunningSha256 = hashlib.sha256()
        self._path = path
        self._id = ""  # of the part that is being read
        self._at = 0  # of its bytes taken
        self._reading: RunningSha256 = self._sha256  # with these
        # Parts that were offered before their turn, by number.
        self._offered: dict[int, tuple[Placed, bytes, RunningSha256]] = {}

    def sha256(self) -> bytes:
        """SHA-256 of all parts taken."""
        return self._sha256.digest()

    def crcs(self) -> bytes:
        """CRC-32C of every chunk of them, packed."""
        return bytes(self._crcs)

    def awaits(self, number: int) -> bool:
        """Whether part `number` is the next."""
        return number == len(self.ids) + 1

    def ahead(self, number: int) -> RunningSha256 | None:
        """The hash of what stands before part `number`, to go on from; None if not all of that was taken."""
        return self._sha256.copy() if self.awaits(number) else None

    def offer(self, part: Placed, begins: bytes, sha256: RunningSha256) -> None:
        """Take `part` when it is the next, if all before it has the SHA-256 `begins` then. `sha256`: of all
        bytes to its end; nobody updates it any more."""
        self._offered[part.number] = part, begins, sha256
        self._take_offered()

    def _take_offered(self) -> None:
        offered = self._offered.pop(len(self.ids) + 1, None)
        if offered is not None and offered[1] == self.sha256():
            self._take_over(offered[0], offered[2])

    def _take_over(self, part: Placed, sha256: RunningSha256) -> None:
        self.size += part.size
        self._crcs += bytes.fromhex(part.crcs)
        self._sha256 = sha256
        self._id = ""
        self.ids.append(part.id)  # last: `ahead` looks at it while a thread reads
        self._take_offered()

    def has_next(self, parts: Mapping[int, Placed]) -> bool:
        """Whether the next part is there, to be read."""
        return self._next(parts) is not None

    def advance(self, parts: Mapping[int, Placed], most_bytes: int) -> bool:
        """Read and take some more bytes; True if there may be more. Raises RottenPart, OSError."""
        if self._next(parts) is None:
            return False
        fd = open_ours(self._path)
        try:
            buffer = memoryview(bytearray(CHUNK_BYTES))
            left = most_bytes
            while left > 0 and (part := self._next(parts)) is not None:
                if part.id != self._id:  # or it was replaced while it was read
                    self._id, self._at, self._reading = part.id, 0, self._sha256.copy()
                view = buffer[: part.size - self._at]
                got = read_at(fd, view, part.offset + self._at)
                self._take(part, view, got)
                left -= CHUNK_BYTES
            return left <= 0
        finally:
            os.close(fd)

    def _next(self, parts: Mapping[int, Placed]) -> Placed | None:
        part = parts.get(len(self.ids) + 1)
        return part if part is not None and part.is_in_place else None

    def _take(self, part: Placed, data: memoryview, got: int) -> None:
        if data:
            wanted = checksum.unpack_crc(bytes.fromhex(part.crcs), self._at // CHUNK_BYTES)
            if got != len(data) or checksum.crc(data) != wanted:
                self._id = ""
                raise RottenPart(part)
            self._reading.update(data)
            self._at += got
        if self._at == part.size:
            self._take_over(part, self._reading)
