"""Checksums do not depend on the pieces in which bytes come, and those of parts combine to that of the
whole.
"""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from botocore.httpchecksum import Crc32Checksum, Sha1Checksum, Sha256Checksum
from hypothesis import given
from hypothesis import strategies as st

from services.frontends.s3.checksums import (
    ALGORITHMS,
    Algorithm,
    check_form,
    composite,
    content_md5,
    encoded,
    full_object,
    wanted,
)
from services.frontends.s3.errors import S3Error

EACH = pytest.mark.parametrize("one", ALGORITHMS.values(), ids=ALGORITHMS.keys())


def of(one: Algorithm, data: bytes) -> str:
    made = one.make()
    made.update(data)
    return encoded(made.digest())


# Of "123456789": the catalogue's check values, and the hashes that hashlib gives.
CHECKS = {
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "CRC64NVME": "ae8b14860a799888",
    "SHA1": hashlib.sha1(b"123456789").hexdigest(),
    "SHA256": hashlib.sha256(b"123456789").hexdigest(),
}


@EACH
def test_check_values(one: Algorithm) -> None:
    assert base64.b64decode(of(one, b"123456789")).hex() == CHECKS[one.name]


@EACH
@given(parts=st.lists(st.binary(max_size=300), max_size=6))
def test_pieces_make_no_difference(one: Algorithm, parts: list[bytes]) -> None:
    made = one.make()
    for part in parts:
        made.update(part)
    assert encoded(made.digest()) == of(one, b"".join(parts))


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "CRC64NVME"])
@given(parts=st.lists(st.binary(max_size=300), max_size=6))
def test_the_whole_from_its_parts(name: str, parts: list[bytes]) -> None:
    one = ALGORITHMS[name]
    assert full_object(one, [(of(one, part), len(part)) for part in parts]) == of(one, b"".join(parts))


@given(st.binary(max_size=300))
def test_as_botocore_has_them(data: bytes) -> None:
    for name, theirs in (("CRC32", Crc32Checksum()), ("SHA1", Sha1Checksum()), ("SHA256", Sha256Checksum())):
        theirs.update(data)
        assert encoded(theirs.digest()) == of(ALGORITHMS[name], data)


def test_composite_has_the_number_of_parts() -> None:
    one = ALGORITHMS["CRC32"]
    parts = [of(one, b"a"), of(one, b"b")]
    raw = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in (b"a", b"b"))
    assert composite(one, parts) == encoded(zlib.crc32(raw).to_bytes(4, "big")) + "-2"


def test_which_one_is_wanted() -> None:
    assert wanted({}, []) is None
    found = wanted({"x-amz-checksum-crc32": "AAAAAA=="}, [])
    assert found is not None
    assert (found.algorithm.name, found.value) == ("CRC32", "AAAAAA==")
    found = wanted({}, ["x-amz-checksum-crc64nvme"])
    assert found is not None
    assert (found.algorithm.name, found.value) == ("CRC64NVME", None)
    with pytest.raises(S3Error, match="single"):
        wanted({"x-amz-checksum-crc32": "AAAAAA=="}, ["x-amz-checksum-sha1"])
    with pytest.raises(S3Error, match="not known"):
        wanted({}, ["x-amz-checksum-md4"])


@EACH
@pytest.mark.parametrize("bad", ["", "bad", "AA==", "é", "A" * 200, "!!!!"])
def test_what_no_body_could_have(one: Algorithm, bad: str) -> None:
    with pytest.raises(S3Error) as raised:
        check_form(one, bad)
    assert raised.value.code == "BadDigest"


def test_content_md5() -> None:
    assert content_md5(None) is None
    assert content_md5(base64.b64encode(bytes(16)).decode()) == bytes(16)
    for bad in ("", "AAAA", "?"):
        with pytest.raises(S3Error) as raised:
            content_md5(bad)
        assert raised.value.code == "InvalidDigest"
