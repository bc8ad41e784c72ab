"""The file format of a run of the index. Pure.

A run has locations in order, each with its blob, or with nothing if it was deleted. It is written once, and
never changed. Every part has a checksum that is checked before use. It also depends on the run and on the
place in it, so that neither a flipped bit nor a block in a wrong place is taken for right.

    data blocks    length u32, CRC-32C u32, then a msgpack list of locations and one of their blobs
    fence blocks   the same frame: the first location of each data block, and where it begins. A fence block
                   follows its data blocks
    folder blocks  the same frame, among the data blocks: see Folders
    table          pages of 2 KiB: CRC-32C u32, then entries of 8 bytes of a hash and 8 of a block's place
    footer         the same frame: see Footer
    tail           16 bytes: magic "BKIX", CRC-32C u32 of the rest, where the footer begins u64

All numbers are little endian. The table finds one location or one id: a hash that is not on its page is not
in the run. The checksum of the page protects that answer, too. LMDB and SQLite cannot do this: a flipped bit
in one of their inner pages makes a lookup miss, and a blob that is there would be called missing
(docs/decisions/index-of-runs.md).
"""

from __future__ import annotations

import hashlib
import struct

import msgspec
from crc32c import crc32c

from common.errors import Unavailable
from services.engines.local.disk.blob import Blob

BLOCK_BLOBS = 16
FENCE_BLOCKS = 128  # data blocks that one fence block tells of
FOLDERS_MARKS = 512  # stretches that one folder block tells of
PAGE_BYTES = 2048
ENTRY = struct.Struct("<8sQ")
PAGE_ENTRIES = (PAGE_BYTES - 4) // ENTRY.size
PAGE_FILL = 70  # entries of a page on average: that one gets more than PAGE_ENTRIES happens to one in 10^10
FRAME = struct.Struct("<II")
TAIL = struct.Struct("<4sIQ")
TAIL_MAGIC = b"BKIX"
SALT_BYTES = 16


class IndexDamaged(Unavailable):
    """The index is damaged. Nothing is lost: the next start reads the folders."""


class Footer(msgspec.Struct, array_like=True, frozen=True):
    """The part of a run that is read when it is opened."""

    salt: bytes
    count: int  # locations
    table_at: int
    pages: int
    firsts: list[str]  # of each fence block: the first location
    fences: list[int]  # where it begins
    folder_firsts: list[str]  # of each folder block: the first mark
    folders: list[int]  # where it begins
    removes: bool  # whether a location was deleted


class Fence(msgspec.Struct, array_like=True, frozen=True):
    """One fence block."""

    firsts: list[str]
    blocks: list[int]


class Folders(msgspec.Struct, array_like=True, frozen=True):
    """One folder block: of some stretches the marks, in order, and the nets: see `stretches`."""

    marks: list[str]
    nets: list[int]


class Block(msgspec.Struct, array_like=True, frozen=True):
    """One data block. A blob is decoded when it is asked for."""

    locations: list[str]
    blobs: list[msgspec.Raw]


class Rows(msgspec.Struct, array_like=True, frozen=True):
    """A data block with all its blobs."""

    locations: list[str]
    blobs: list[Blob | None]


class RunInfo(msgspec.Struct, array_like=True, frozen=True):
    """What the manifest says of a run. `nonce`: random; the run's checksums begin with it."""

    name: str
    count: int
    size_bytes: int
    nonce: int


encode = msgspec.msgpack.Encoder().encode
decode_block = msgspec.msgpack.Decoder(Block).decode
decode_rows = msgspec.msgpack.Decoder(Rows).decode
decode_fence = msgspec.msgpack.Decoder(Fence).decode
decode_folders = msgspec.msgpack.Decoder(Folders).decode
decode_footer = msgspec.msgpack.Decoder(Footer).decode
decode_blob = msgspec.msgpack.Decoder(Blob | None).decode


def checksum(payload: bytes | memoryview, nonce: int, at: int) -> int:
    """The checksum of a part at place `at` of the run with this nonce."""
    return crc32c(payload, (nonce + at) & 0xFFFFFFFF)


def framed(payload: bytes, nonce: int, at: int) -> bytes:
    """A block for the place `at`."""
    return FRAME.pack(len(payload), checksum(payload, nonce, at)) + payload


def folder_of(location: str) -> str:
    """Up to its last "/"; may be empty."""
    return location[: location.rfind("/") + 1]


def location_key(salt: bytes, location: str) -> bytes:
    """12 bytes: 4 choose the page, 8 are in the entry. Salted, so that nobody can make locations collide."""
    return hashlib.blake2b(b"l" + location.encode(), digest_size=12, salt=salt).digest()


def id_key(salt: bytes, blob_id: int) -> bytes:
    """The same for an id."""
    return hashlib.blake2b(b"i%d" % blob_id, digest_size=12, salt=salt).digest()


def page_of(key: bytes, pages: int) -> int:
    """The number of the page that a key belongs to."""
    return int.from_bytes(key[:4], "little") % pages


def pages_for(count: int) -> int:
    """How many pages the table of so many locations has: two entries each, one by location, one by id."""
    return 2 * count // PAGE_FILL + 1
