"""How a pointer and a state object look in the bucket. Pure.

    blobkeep pointer 1 crc32c 3d0f41a9 json 412   the head line: a checksum of the JSON, its length in bytes
    {"location": ...}                             the JSON, and one or two line ends
    <the bytes of a small blob, where there are any>

The JSON can be read without the bytes behind it. One or two line ends make the length of the whole object odd
or even. So the lengths in a LIST show which objects are marked (a deleted location, a write in Failure),
without a request for each.
"""

from __future__ import annotations

import re

from common import checksum
from common.checksum import Bytes
from common.errors import CorruptRecord

_HEAD = re.compile(rb"blobkeep (\w+) (\d+) crc32c ([0-9a-f]{8}) json (\d{1,8})\n")
_FORMAT = b"1"
MAX_HEAD_BYTES = 64


def frame(kind: str, json: bytes, *body: Bytes, marked: bool = False) -> bytes:
    """The whole object, with `body` in pieces. Its length is even where it is `marked`, else odd."""
    head = b"blobkeep %b %b crc32c %08x json %d\n" % (kind.encode(), _FORMAT, checksum.crc(json), len(json))
    length = len(head) + len(json) + 1 + sum(map(len, body))
    return b"".join((head, json, b"\n" if is_marked(length) == marked else b"\n\n", *body))


def is_marked(length: int) -> bool:
    """Whether an object of so many bytes is marked."""
    return length % 2 == 0


def needed(begin: Bytes) -> int:
    """How many bytes of an object hold its head line and JSON. Raises CorruptRecord where it has no head."""
    return _found(begin)[1]


def parse(kind: str, begin: Bytes) -> tuple[bytes, int]:
    """The JSON of an object that begins with `begin`, and where its line ends begin.

    Raises CorruptRecord where the JSON is not what was written, or is of another kind or format.
    """
    found, end = _found(begin)
    if found[1] != kind.encode() or found[2] != _FORMAT:
        raise CorruptRecord(f"The object is a {found[1].decode()} of format {found[2].decode()}.")
    json = bytes(begin[found.end() : end - 1])
    if len(json) != int(found[4]) or checksum.crc(json) != int(found[3], 16):
        raise CorruptRecord("The object's JSON does not fit its checksum.")
    return json, end - 1


def _found(begin: Bytes) -> tuple[re.Match[bytes], int]:
    """The head line, and where the JSON with its first line end ends. Raises CorruptRecord."""
    found = _HEAD.match(begin, 0, MAX_HEAD_BYTES)
    if found is None:
        raise CorruptRecord("The object has no head line of ours.")
    return found, found.end() + int(found[4]) + 1
