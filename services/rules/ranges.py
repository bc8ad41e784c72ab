"""Byte ranges: which parts of a blob a Range header asks for, and how several are sent in one body. Pure.

RFC 9110, sections 14 (requests) and 14.6 (multipart/byteranges). Ranges are pairs (first, last), inclusive
and counted from 0, as on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from common.errors import RangeNotSatisfiable

Range = tuple[int, int]

# Parts of one answer. Readers of archives and maps ask for a handful; each costs a seek and 100 bytes.
MAX_PARTS = 16
# Ranges in one header, before they are merged: beyond it is an attack (CVE-2011-3192), not a client.
MAX_RANGES = 256
# More digits than any size has: the number is only compared, and int() refuses thousands of digits.
MAX_DIGITS = 19

_SPEC = re.compile(r"([0-9]*)-([0-9]*)")


def parse_ranges(header: str, size: int) -> list[Range] | None:
    """The parts of a blob of `size` bytes that a Range header asks for; None: serve it whole, with 200.

    Overlapping and adjacent parts are merged, so no byte is sent twice; the rest stay in the order asked
    for (RFC 9110, section 15.3.7.2). Ignored, as section 14.2 allows: another unit than bytes, a header that
    is not as the grammar says, more than MAX_RANGES ranges or MAX_PARTS parts. Only for GET: section 14.2 has
    any other method ignore Range, HEAD included. A suffix of an empty blob, or a range that begins at 0, is
    the whole of it: a client that reads everything by ranges must not fail on an empty blob.

    Raises RangeNotSatisfiable if no range has a byte in the blob; answer 416 with unsatisfied_range(size).
    """
    unit, equals, spec_list = header.partition("=")
    if not equals or unit.lower() != "bytes" or spec_list.count(",") >= MAX_RANGES:
        return None
    asked: list[Range] = []
    is_any = is_all_of_nothing = False
    for spec in spec_list.split(","):
        spec = spec.strip(" \t")
        if not spec:
            continue  # RFC 9110, section 5.6.1.2: empty elements are ignored
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-":
            return None
        is_any = True
        if not match[1]:
            length = _number(match[2])
            first, last = max(size - length, 0), size - 1
            is_all_of_nothing |= size == 0 and length > 0
        else:
            first, last = _number(match[1]), _number(match[2]) if match[2] else size - 1
            is_all_of_nothing |= size == 0 and first == 0
            if match[2] and last < first:
                return None  # section 14.1.2: invalid, and one invalid range spoils the header
            last = min(last, size - 1)
        if first <= last:
            asked.append((first, last))
    if not is_any or is_all_of_nothing:
        return None
    if not asked:
        raise RangeNotSatisfiable(f"No byte of this range is in the blob: it has {size} bytes.", size)
    merged = _merge(asked)
    return merged if len(merged) <= MAX_PARTS else None


def content_range(part: Range, size: int) -> str:
    """Content-Range of a 206 with one part (RFC 9110, section 14.4)."""
    return f"bytes {part[0]}-{part[1]}/{size}"


def unsatisfied_range(size: int) -> str:
    """Content-Range of a 416."""
    return f"bytes */{size}"


class ByterangesBody(msgspec.Struct, frozen=True):
    """The body of a 206 with several parts: heads[0], the bytes of part 0, heads[1], ..., tail.

    `length`: of the whole body in bytes, for Content-Length.
    """

    content_type: str
    heads: list[bytes]
    tail: bytes
    length: int


def multipart(parts: Sequence[Range], size: int, media_type: str, digest: bytes) -> ByterangesBody:
    """How to send `parts` of a blob of `size` bytes as multipart/byteranges (RFC 9110, section 14.6).

    The delimiter is made of the blob's own SHA-256, `digest` (32 bytes): no one can put a content's hash
    into that content, so it never occurs in a part.
    """
    boundary = digest.hex()
    fields = f"Content-Type: {media_type}\r\n"
    heads = [
        f"\r\n--{boundary}\r\n{fields}Content-Range: {content_range(part, size)}\r\n\r\n".encode("latin-1")
        for part in parts
    ]
    heads[0] = heads[0].removeprefix(b"\r\n")
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(map(len, heads)) + sum(last + 1 - first for first, last in parts) + len(tail)
    return ByterangesBody(f"multipart/byteranges; boundary={boundary}", heads, tail, length)


def _number(digits: str) -> int:
    """The number, or one that is larger than any size."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= MAX_DIGITS else 10**MAX_DIGITS


def _merge(asked: list[Range]) -> list[Range]:
    """Disjoint ranges, none next to another, in the order in which the first of each was asked for."""
    merged: list[tuple[int, int, int]] = []  # first, last, place in the request
    for (first, last), place in sorted(zip(asked, range(len(asked)), strict=True)):
        if merged and first <= merged[-1][1] + 1:
            start, end, before = merged[-1]
            merged[-1] = (start, max(end, last), min(before, place))
        else:
            merged.append((first, last, place))
    merged.sort(key=lambda part: part[2])
    return [(first, last) for first, last, _ in merged]
