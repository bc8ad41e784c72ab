"""A blob on its way into a store, and the bytes of one on their way out: each MiB compared first. Pure."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from common import checksum
from common.errors import Damaged
from services.engines.local.disk.record import BlobRecord


class Outcome(enum.Enum):
    """What became of one blob that was offered to a store."""

    CREATED = "created"
    REPLACED = "replaced"
    SAME = "same"  # it was there, with the same bytes
    DIFFERS = "differs"  # it was there, with other bytes, and still is


@dataclass
class Incoming:
    """One blob to be stored. `chunks`: its bytes from the start, raising Damaged where they are not good.

    `sha256` is empty where nobody ever computed it (the original server's blobs).
    """

    location: str
    media_type: str
    encoding: str
    metadata: Mapping[str, str]
    size: int
    sha256: bytes
    chunks: Callable[[], Iterator[bytes]]


def verified(read: Callable[[int], bytes], blob: BlobRecord) -> Iterator[bytes]:
    """The data of `blob` in chunks of 1 MiB, none yielded before it was compared with its checksum.

    `read(n)` gives up to n next bytes. The last chunk comes only once the whole agrees. Raises Damaged.
    """
    whole = hashlib.sha256()
    left = blob.size
    chunk = 0
    while left:
        data = _read_exactly(read, min(checksum.CHUNK_BYTES, left))
        if len(data) < min(checksum.CHUNK_BYTES, left):
            raise Damaged(f"data.raw ends {left - len(data)} bytes early")
        if blob.crcs and checksum.crc(data) != checksum.unpack_crc(blob.crcs, chunk):
            raise Damaged(f"data.raw fails its checksum in MiB {chunk}")
        whole.update(data)
        left -= len(data)
        chunk += 1
        if not left and blob.sha256 and whole.digest() != blob.sha256:
            raise Damaged("data.raw fails its SHA-256")
        yield data


def _read_exactly(read: Callable[[int], bytes], count: int) -> bytes:
    data = read(count)
    while len(data) < count and (more := read(count - len(data))):
        data += more
    return data
