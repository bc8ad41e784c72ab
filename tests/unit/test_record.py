"""The format of the state file: writing and reading, the original server's files, and a change of every
single byte.
"""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common import checksum
from common.errors import CorruptRecord
from common.states import (
    MSG_CREATED,
    MSG_DELETED,
    MSG_WRITING,
    NEXT,
    IllegalTransition,
    State,
    advance,
)
from common.times import rfc3339
from services.engines.local.disk import record
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.record import BlobRecord
from services.engines.local.recovery import scan

NOW_NS = 1_795_507_830_364_475_953


def complete(location: str = "a/✓ b", body: bytes = b"hello") -> BlobRecord:
    first = record.created(5, location, 123, MSG_CREATED, NOW_NS, "text/plain", "gzip")
    pending = first.advanced(State.PENDING, MSG_WRITING, NOW_NS)
    return pending.completed(len(body), *checksum.sums_of(body), NOW_NS + 5)


@pytest.mark.parametrize("wanted", list(State))
@pytest.mark.parametrize("current", [None, *State])
def test_only_the_table_s_transitions_are_allowed(current: State | None, wanted: State) -> None:
    if wanted in NEXT[current]:
        assert advance(current, wanted) is wanted
    else:
        with pytest.raises(IllegalTransition):
            advance(current, wanted)


def test_six_transitions_are_allowed() -> None:
    assert sum(len(after) for after in NEXT.values()) == 6


@pytest.mark.parametrize("body", [b"", b"x", b"y" * (checksum.CHUNK_BYTES + 1)])
def test_what_is_dumped_is_loaded(body: bytes) -> None:
    blob = complete(body=body)
    assert record.load(record.dump(blob)) == blob


def test_a_blob_that_came_whole_has_the_record_of_one_that_went_through_every_state() -> None:
    sums = checksum.sums_of(b"hello")
    first = record.created(5, "a", 123, MSG_CREATED, NOW_NS, "text/plain", "gzip")
    slowly = first.advanced(State.PENDING, MSG_WRITING, NOW_NS).completed(5, *sums, NOW_NS)
    assert record.whole(5, "a", 123, MSG_CREATED, NOW_NS, "text/plain", "gzip", 5, *sums) == slowly


def test_a_failure_keeps_its_history_newest_first() -> None:
    failure = complete().advanced(State.FAILURE, MSG_DELETED, NOW_NS + 10**10)
    lines = record.dump(failure).decode().splitlines()
    assert lines[1] == ""
    assert lines[2].endswith(" - Failure - Deleted!")
    assert lines[3].endswith(" - OK - Blob Data WR Complete!")
    assert lines[4].endswith(" - Pending - Starting Data WR")
    assert lines[5].endswith(" - OK - Blob Created & Saved!")


def test_the_log_keeps_the_newest_16_entries() -> None:
    events = tuple(record.Transition(0, f"event {i}", rfc3339(NOW_NS + i)) for i in range(40))
    blob = BlobRecord(1, "x", 9, State.CREATED, events[:16])
    loaded = record.load(record.dump(blob))
    assert [e.message for e in loaded.events] == [f"event {i}" for i in range(16)]
    failed = loaded.advanced(State.FAILURE, MSG_DELETED, NOW_NS)
    assert len(failed.events) == 16
    assert failed.events[-1].message == MSG_DELETED


# --- the line that names the location ---


def read_by_the_original(content: bytes) -> tuple[int, str]:
    """(id, location) as the original server reads them, by the grammar that was observed."""
    line = next(line for line in content.decode().split("\n") if "BLOB_BASE64_" in line)
    _, packed = line.split(":")
    document = json.loads(base64.b64decode(packed, validate=True))
    return document["id"], document["location"]


TRICKY = [
    'a"\nstate: crc32c 00000000\n',
    "a\nBLOB_BASE64_blobkeep1:e30=\n",
    "BLOB_BASE64_x:y",
    "state: crc32c 00000000",
    "a\nchunks: 00000000\n",
    "\nlocation: b",
    "a\u2028b\x85c\x0bd\re\x00f\u202eg\ufeff",
    "\\",
    '"',
    "with space/✓/\U0001f600/\U000e0001",
]


@given(st.text(min_size=1) | st.sampled_from(TRICKY))
@example("foo")
def test_whatever_the_location_its_line_is_one_and_says_it(location: str) -> None:
    failure = complete(location, b"").advanced(State.FAILURE, MSG_DELETED, NOW_NS)
    for blob in (complete(location), complete(location, b""), failure):
        content = record.dump(blob)
        assert record.load(content) == blob
        assert read_by_the_original(content) == (5, location)
        lines = content.decode().splitlines()  # also at what only some programs take for the end of a line
        (named,) = [line for line in lines if line.startswith("location: ")]
        assert json.loads(named.removeprefix("location: ")) == location
        assert named.isprintable()
        assert sum(line.startswith("state: ") for line in lines) == 1
        if blob is not failure:
            served = scan.parse(content, 5)
            assert isinstance(served, Blob)
            assert (served.location, served.size) == (location, blob.size)


def test_a_history_from_elsewhere_forges_no_line() -> None:
    told = [record.Transition(0, "hello\nstate: crc32c 00000000\n", "2026-01-01T00:00:00Z\nchunks: 00000000")]
    blob = complete().moved(NOW_NS, told)
    assert [line.partition(b" ")[0] for line in record.dump(blob).splitlines()[-4:]] == [
        *(b"location:", b"data:", b"chunks:", b"state:")
    ]
    assert len(record.dump(blob).splitlines()) == len(record.dump(complete()).splitlines()) - 1


def test_a_location_is_found_by_whoever_searches_for_it() -> None:
    assert b'\nlocation: "a/\xe2\x9c\x93 b"\n' in record.dump(complete())


@given(st.text(min_size=1))
def test_a_file_from_before_there_was_a_line_for_the_location_is_as_good(location: str) -> None:
    blob = complete(location)
    lines = record.dump(blob).split(b"\n")
    body = b"\n".join(line for line in lines[:-2] if not line.startswith(b"location: ")) + b"\n"
    old = body + b"state: crc32c %08x\n" % checksum.crc(body)
    assert len(old) < len(record.dump(blob))
    assert record.load(old) == blob
    served = scan.parse(old, 5)
    assert isinstance(served, Blob)
    assert served.location == location


def test_no_single_byte_can_change_unseen() -> None:
    content = record.dump(complete())
    for at in range(len(content)):
        for flip in (0x01, 0x20, 0x80):
            rotten = bytearray(content)
            rotten[at] ^= flip
            with pytest.raises(CorruptRecord):
                record.load(bytes(rotten))


def test_no_cut_goes_unseen() -> None:
    content = record.dump(complete())
    for length in range(len(content)):
        with pytest.raises(CorruptRecord):
            record.load(content[:length])


@given(st.binary(max_size=400))
def test_any_bytes_are_a_record_or_corrupt(content: bytes) -> None:
    with pytest.raises(CorruptRecord):
        record.load(content)


def test_sequence_numbers_are_microseconds_so_that_they_compare_with_log_times() -> None:
    assert abs(time.time_ns() // 1000 - NOW_NS // 1000) < 100 * 365 * 86400 * 10**6
