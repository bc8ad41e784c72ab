"""Parsing a plain state file quickly gives what the full parser gives, or nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import checksum
from common.states import MSG_CREATED, MSG_DELETED, MSG_WRITING, State
from services.engines.local.disk import blob_folder, record
from services.engines.local.disk.blob import Blob, served
from services.engines.local.disk.record import BlobRecord
from services.engines.local.recovery.scan import parse

NOW_NS = 1_795_507_830_364_475_953


def pending(location: str = "a/✓ b", seq: int = 123) -> BlobRecord:
    first = record.created(5, location, seq, MSG_CREATED, NOW_NS, "text/plain", "gzip")
    return first.advanced(State.PENDING, MSG_WRITING, NOW_NS)


def complete(body: bytes = b"hello", location: str = "a/✓ b", seq: int = 123) -> BlobRecord:
    return pending(location, seq).completed(len(body), *checksum.sums_of(body), NOW_NS + 5)


@pytest.mark.parametrize("size", [0, 1, checksum.CHUNK_BYTES, checksum.CHUNK_BYTES + 1, 25 << 20])
def test_a_complete_record_of_ours_is_plain(size: int) -> None:
    blob = complete(bytes(size))
    assert parse(record.dump(blob), 5) == served(blob)


@given(st.text(min_size=1, max_size=40), st.integers(0, 2**63 - 1))
def test_whatever_its_location_and_number(location: str, seq: int) -> None:
    blob = complete(location=location, seq=seq)
    assert parse(record.dump(blob), 5) == served(blob)


NAMES = st.from_regex(r"[!-~]{1,20}", fullmatch=True) | st.text(max_size=20).map(lambda text: "." + text)
VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
METADATA = st.dictionaries(NAMES, VALUES, max_size=4)


@given(METADATA, METADATA, st.integers(0, 3 << 20))
def test_metadata_is_kept_by_the_state_file_and_by_the_blob(
    said: dict[str, str], known_later: dict[str, str], size: int
) -> None:
    first = record.created(5, "a", 1, MSG_CREATED, NOW_NS, "text/plain", "", said)
    sums = (size, b"s" * 32, b"c" * (4 * checksum.chunk_count(size)))
    blob = first.advanced(State.PENDING, MSG_WRITING, NOW_NS).completed(*sums, NOW_NS, known_later)
    assert record.load(record.dump(blob)) == blob
    found = parse(record.dump(blob), 5)
    assert found == served(blob)
    assert isinstance(found, Blob)
    assert found.metadata == {**said, **known_later}
    assert found.crcs == sums[2]


def test_types_are_held_once() -> None:
    content = record.dump(complete())
    one, two = parse(content, 5), parse(content, 5)
    assert isinstance(one, Blob)
    assert isinstance(two, Blob)
    assert one.type is two.type
    assert one.encoding is two.encoding


@pytest.mark.parametrize("body", [b"", b"hello"])
@pytest.mark.parametrize("keeps", [False, True])
def test_one_in_failure_is_known_by_its_number(body: bytes, keeps: bool) -> None:
    for before in (complete(body), pending()):
        failure = blob_folder.failed(before, MSG_DELETED, NOW_NS, keeps=keeps)
        assert record.load(record.dump(failure)).state is State.FAILURE
        assert parse(record.dump(failure), 5) == 123


@pytest.mark.parametrize(
    "other",
    [
        record.created(5, "a", 1, MSG_CREATED, NOW_NS, "", ""),
        pending(),
        msgspec.structs.replace(complete().advanced(State.FAILURE, MSG_DELETED, NOW_NS), id=6),
        msgspec.structs.replace(complete(), sha256=b""),
        msgspec.structs.replace(complete(), crcs=b""),
        msgspec.structs.replace(complete(), size=checksum.CHUNK_BYTES + 1),
        msgspec.structs.replace(complete(), id=6),
        # A full ring may have wrapped, and then its last entry is not the newest.
        msgspec.structs.replace(complete(), events=complete().events[-1:] * record.LOG_SLOTS),
    ],
)
def test_any_other_is_not(other: BlobRecord) -> None:
    assert parse(record.dump(other), 5) is None


def test_a_record_of_the_original_server_is_not() -> None:
    first_line = record.dump(complete()).splitlines()[0].replace(b"blobkeep1", b"dev")
    assert parse(first_line + b"\n\n", 5) is None


def test_no_byte_can_change_or_be_lost_unseen() -> None:
    for blob in (complete(), complete().advanced(State.FAILURE, MSG_DELETED, NOW_NS)):
        content = record.dump(blob)
        for at in range(len(content)):
            assert parse(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], 5) is None
            assert parse(content[:at], 5) is None
