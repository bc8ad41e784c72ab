"""Checksums agree with the public definitions, and do not depend on how the bytes are cut."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.checksum import CHUNK_BYTES, Hasher, chunk_count, crc, pack_crcs, sums_of, unpack_crc


def test_the_crc_is_castagnoli_s() -> None:
    assert crc(b"123456789") == 0xE3069283  # the check value of the CRC catalogue
    assert crc(b"6789", crc(b"12345")) == crc(b"123456789")


@pytest.mark.parametrize(
    ("size", "chunks"), [(0, 0), (1, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 2), (3 * CHUNK_BYTES, 3)]
)
def test_every_begun_mebibyte_has_a_crc(size: int, chunks: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    sha256, crcs = sums_of(data)
    assert chunk_count(size) == chunks == len(crcs) // 4
    assert sha256 == hashlib.sha256(data).digest()
    for chunk in range(chunks):
        assert unpack_crc(crcs, chunk) == crc(data[chunk * CHUNK_BYTES :][:CHUNK_BYTES])


@given(st.lists(st.integers(0, 700_000), max_size=8))
def test_cutting_the_bytes_changes_nothing(lengths: list[int]) -> None:
    data = bytes(sum(lengths))
    hasher = Hasher()
    at = 0
    for length in lengths:
        hasher.update(data[at : at + length])
        at += length
    assert (hasher.size, hasher.sha256(), hasher.crcs()) == (len(data), *sums_of(data))


def test_crcs_are_packed_big_endian() -> None:
    assert pack_crcs([1, 0x01020304]) == b"\0\0\0\1\1\2\3\4"
