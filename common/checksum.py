"""The two checksums of a blob's data: CRC-32C of every chunk, SHA-256 of the whole. Pure.

The CRC lets a part be verified before it is sent (36 µs a MiB); the SHA-256 is the ETag and the digest
(600 µs a MiB), and is computed once, while the bytes come in.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Protocol

from crc32c import crc32c as _crc32c
from crc32c import hardware_based

# Data is verified in whole chunks. 1 MiB limits the bytes that are read for nothing at the ends of a range.
CHUNK_BYTES = 1 << 20

Bytes = bytes | bytearray | memoryview

# Keep Python's lock meanwhile: a chunk takes 36 µs, and to get the lock back takes a switch of threads. Not
# where the processor has no instruction for it: there a chunk takes a millisecond.
_RELEASES_LOCK = 0 if hardware_based else -1


def crc(data: Bytes, before: int = 0) -> int:
    """CRC-32C of `data`, continuing from `before` (the CRC of what came before it)."""
    return int(_crc32c(data, before, _RELEASES_LOCK))


def chunk_count(size: int) -> int:
    """How many chunks `size` bytes have; none where there are no bytes."""
    return -(-size // CHUNK_BYTES)


def pack_crcs(crcs: list[int]) -> bytes:
    """The CRCs as one compact value: 4 bytes each, big endian."""
    return struct.pack(f">{len(crcs)}I", *crcs)


def unpack_crc(packed: Bytes, chunk: int) -> int:
    """The CRC of chunk number `chunk`, counted from 0. Raises struct.error where there is none."""
    value: int = struct.unpack_from(">I", packed, chunk * 4)[0]
    return value


class Crcs:
    """Takes bytes in order, in pieces of any length; gives their size, and the CRC of every chunk."""

    __slots__ = ("_crc", "_crcs", "_filled", "size")

    def __init__(self) -> None:
        self.size = 0
        self._crcs: list[int] = []
        self._crc = 0
        self._filled = 0  # bytes in the chunk that is not complete yet

    def update(self, data: Bytes) -> None:
        """Add `data` to the end."""
        self.size += len(data)
        view = memoryview(data)
        while len(view):
            part = view[: CHUNK_BYTES - self._filled]
            self._crc = crc(part, self._crc)
            self._filled += len(part)
            if self._filled == CHUNK_BYTES:
                self._crcs.append(self._crc)
                self._crc = self._filled = 0
            view = view[len(part) :]

    def crcs(self) -> bytes:
        """CRC-32C of every chunk so far, the last one perhaps short, packed by `pack_crcs`."""
        return pack_crcs([*self._crcs, self._crc] if self._filled else self._crcs)


class Checksums(Protocol):
    """The checksums of bytes, such as a Hasher that has taken them."""

    size: int

    def sha256(self) -> bytes: ...

    def crcs(self) -> bytes: ...


class Hasher(Crcs):
    """The same of one blob, with the SHA-256 of all its bytes."""

    __slots__ = ("_sha256",)

    def __init__(self) -> None:
        super().__init__()
        self._sha256 = hashlib.sha256()

    def update(self, data: Bytes) -> None:
        """Add `data` to the end."""
        self._sha256.update(data)
        super().update(data)

    def copy(self) -> Hasher:
        """Another one that has taken the same bytes."""
        made = Hasher()
        made.size = self.size
        made._sha256 = self._sha256.copy()
        made._crcs = list(self._crcs)
        made._crc, made._filled = self._crc, self._filled
        return made

    def sha256(self) -> bytes:
        """SHA-256 of all so far, 32 bytes."""
        return self._sha256.digest()


def sums_of(data: Bytes, sha256: bytes = b"") -> tuple[bytes, bytes]:
    """(SHA-256, packed CRCs) of a body that is whole in memory. `sha256`: its SHA-256, if that is known."""
    if 0 < len(data) <= CHUNK_BYTES:
        return sha256 or hashlib.sha256(data).digest(), struct.pack(">I", crc(data))
    hasher = Hasher()
    hasher.update(data)
    return hasher.sha256(), hasher.crcs()
