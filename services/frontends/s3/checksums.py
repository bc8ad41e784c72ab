"""The checksums of S3 other than MD5: computed as the bytes come, compared, and combined from those of parts.

There are five algorithms. The CRC of an object can be computed from those of its parts, without the bytes
(FULL_OBJECT). SHA-1 and SHA-256 cannot, so a multipart upload has the hash of its parts' hashes (COMPOSITE).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from crc32c import crc32c

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:  # no wheel for this platform: 12 times as slow
    from zlib import crc32

from common.checksum import Bytes
from services.frontends.digests import Hash
from services.frontends.s3.errors import S3Error

HEADER = "x-amz-checksum-"
FULL_OBJECT, COMPOSITE = "FULL_OBJECT", "COMPOSITE"


class Crc:
    """A CRC with the methods of a Hash."""

    def __init__(self, step: Callable[[Bytes, int], int], size_bytes: int) -> None:
        self._step = step
        self._size_bytes = size_bytes
        self._value = 0

    def update(self, data: Bytes, /) -> None:
        """Add `data` to the end."""
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        """The CRC of all data so far, big endian."""
        return self._value.to_bytes(self._size_bytes, "big")


class Algorithm(NamedTuple):
    """One of the five.

    `combine`: from (CRC of A, CRC of B, length of B) to the CRC of A and B; None if that is not possible.
    """

    name: str
    size_bytes: int
    make: Callable[[], Hash]
    combine: Callable[[int, int, int], int] | None

    @property
    def is_quick(self) -> bool:
        """Whether it is computed in next to no time: the CRCs."""
        return self.combine is not None

    @property
    def header(self) -> str:
        """The field that carries it, in lower case."""
        return HEADER + self.name.lower()

    @property
    def default_type(self) -> str:
        """The type for a multipart upload whose client does not name one."""
        return FULL_OBJECT if self.name == "CRC64NVME" else COMPOSITE


def _crt() -> Any:
    """The CRCs of awscrt. To load it takes 80 ms of CPU, so the first S3 request that needs one loads it, not
    the start.
    """
    from awscrt import checksums

    return checksums


def _crc32c(data: Bytes, before: int) -> int:
    return int(crc32c(data, before))


ALGORITHMS: dict[str, Algorithm] = {
    one.name: one
    for one in (
        Algorithm("CRC32", 4, lambda: Crc(crc32, 4), lambda *of: _crt().combine_crc32(*of)),
        Algorithm("CRC32C", 4, lambda: Crc(_crc32c, 4), lambda *of: _crt().combine_crc32c(*of)),
        Algorithm(
            "CRC64NVME", 8, lambda: Crc(_crt().crc64nvme, 8), lambda *of: _crt().combine_crc64nvme(*of)
        ),
        Algorithm("SHA1", 20, lambda: hashlib.sha1(usedforsecurity=False), None),
        Algorithm("SHA256", 32, hashlib.sha256, None),
    )
}
_BY_HEADER = {one.header: one for one in ALGORITHMS.values()}


class Wanted(NamedTuple):
    """The checksum that a request declares for its body.

    `value`: in base64; None if a trailer will have it.
    """

    algorithm: Algorithm
    value: str | None


def wanted(headers: Mapping[str, str], trailer_names: Iterable[str]) -> Wanted | None:
    """The checksum that the header of an upload declares, if any.

    Raises S3Error for more than one, or an unknown one.
    """
    given = [Wanted(one, headers[header]) for header, one in _BY_HEADER.items() if header in headers]
    for name in trailer_names:
        if not name.startswith(HEADER):
            raise S3Error("InvalidRequest", f"A trailer is a checksum, not {name[:60]!r}: send a header.")
        if name not in _BY_HEADER:
            raise _unknown(name.removeprefix(HEADER))
        given.append(Wanted(_BY_HEADER[name], None))
    if len(given) > 1:
        raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header: send one checksum.")
    if given and given[0].value is not None:
        check_form(given[0].algorithm, given[0].value)
    return given[0] if given else None


def algorithm(name: str) -> Algorithm:
    """The algorithm that a header names. Raises S3Error."""
    found = ALGORITHMS.get(name.upper())
    if found is None:
        raise _unknown(name)
    return found


def named(fields: Mapping[str, str], also: Algorithm | None = None) -> Algorithm | None:
    """The algorithm that the fields name for the content, whether or not its checksum is sent; `also` if they
    name none. Raises S3Error for one that differs from `also`.
    """
    for field in (HEADER + "algorithm", "x-amz-sdk-checksum-algorithm"):
        if field in fields:
            one = algorithm(fields[field])
            if also is not None and one is not also:
                text = f"{field} is {one.name}, where {also.name} was named before."
                raise S3Error("InvalidRequest", text)
            also = one
    return also


def check_form(one: Algorithm, value: str) -> bytes:
    """The bytes of a checksum in base64. Raises S3Error if no body could have it."""
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != one.size_bytes:
        # S3 answers BadDigest for a value that cannot match.
        raise S3Error("BadDigest", f"The value of {one.header} is not {one.size_bytes} bytes in base64.")
    return raw


def encoded(raw: bytes) -> str:
    """In base64, as in a header."""
    return base64.b64encode(raw).decode()


def full_object(one: Algorithm, parts: Iterable[tuple[str, int]]) -> str:
    """The checksum of a whole from (checksum, size in bytes) of its parts, in order."""
    assert one.combine is not None
    total = 0
    for value, size in parts:
        total = one.combine(total, int.from_bytes(base64.b64decode(value), "big"), size)
    return encoded(total.to_bytes(one.size_bytes, "big"))


def composite(one: Algorithm, parts: Iterable[str]) -> str:
    """The checksum of the parts' checksums, with their number after a dash."""
    values = list(parts)
    hashed: Any = one.make()
    hashed.update(b"".join(base64.b64decode(value) for value in values))
    return f"{encoded(hashed.digest())}-{len(values)}"


def content_md5(header: str | None) -> bytes | None:
    """The 16 bytes of a Content-MD5 field; None if there is none. Raises S3Error."""
    if header is None:
        return None
    try:
        raw = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        raise S3Error("InvalidDigest", "The Content-MD5 is not 16 bytes in base64.")
    return raw


def _unknown(name: str) -> S3Error:
    known = ", ".join(ALGORITHMS)
    return S3Error("InvalidRequest", f"Checksum algorithm {name[:40]!r} is not known: it is one of {known}.")
