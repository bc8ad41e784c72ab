"""Byte ranges (RFC 9110, section 14)."""

from __future__ import annotations

import email.parser
import email.policy
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RangeNotSatisfiable
from services.rules.ranges import (
    MAX_PARTS,
    MAX_RANGES,
    Range,
    content_range,
    multipart,
    parse_ranges,
    unsatisfied_range,
)
from tests.support.work import is_in_proportion

fuzz = settings(deadline=None, max_examples=100)
DIGEST = hashlib.sha256(b"0123456789").digest()

SERVED = [
    pytest.param("bytes=0-0", [(0, 0)], id="the first byte"),
    pytest.param("bytes=0-4", [(0, 4)], id="the first five"),
    pytest.param("bytes=5-", [(5, 9)], id="from the sixth on"),
    pytest.param("bytes=0-", [(0, 9)], id="all of it, as a part"),
    pytest.param("bytes=-3", [(7, 9)], id="the last three"),
    pytest.param("bytes=-10", [(0, 9)], id="as many last ones as there are"),
    pytest.param("bytes=-99", [(0, 9)], id="more last ones than there are"),
    pytest.param("bytes=9-9", [(9, 9)], id="the last byte"),
    pytest.param("bytes=8-99", [(8, 9)], id="past the end is cut to the end"),
    pytest.param("bytes=8-" + "9" * 5000, [(8, 9)], id="a number of 5,000 digits"),
    pytest.param("bytes=-" + "9" * 5000, [(0, 9)], id="a suffix of 5,000 digits"),
    pytest.param("bytes=" + "0" * 5000 + "2-3", [(2, 3)], id="5,000 zeros before it"),
    pytest.param("BYTES=1-2", [(1, 2)], id="the unit in capitals"),
    pytest.param("bytes=0-1,4-5", [(0, 1), (4, 5)], id="two parts"),
    pytest.param("bytes=4-5,0-1", [(4, 5), (0, 1)], id="two parts keep their order"),
    pytest.param("bytes=0-1 ,\t4-5", [(0, 1), (4, 5)], id="blanks around the comma"),
    pytest.param("bytes=,0-1,,4-5,", [(0, 1), (4, 5)], id="empty elements"),
    pytest.param("bytes=0-1,99-", [(0, 1)], id="an unsatisfiable one is left out"),
    pytest.param("bytes=0-1,-0", [(0, 1)], id="an empty suffix is left out"),
    pytest.param("bytes=0-4,3-6", [(0, 6)], id="overlapping ones are merged"),
    pytest.param("bytes=0-4,5-6", [(0, 6)], id="adjacent ones are merged"),
    pytest.param("bytes=0-9,2-3", [(0, 9)], id="one inside another"),
    pytest.param("bytes=8-,0-1,5-8", [(5, 9), (0, 1)], id="a merged one stands where its first stood"),
    pytest.param("bytes=0-0,2-2,1-1", [(0, 2)], id="a bridge between two"),
    pytest.param("bytes=" + ",".join(["0-"] * 200), [(0, 9)], id="200 times all of it"),
]

IGNORED = [
    pytest.param("", id="nothing"),
    pytest.param("bytes", id="no equals sign"),
    pytest.param("bytes=", id="no range"),
    pytest.param("bytes=,", id="only commas"),
    pytest.param("items=0-4", id="another unit"),
    pytest.param("bytes =0-4", id="a blank before the equals sign"),
    pytest.param("bytes=-", id="a dash alone"),
    pytest.param("bytes=5", id="no dash"),
    pytest.param("bytes=a-b", id="letters"),
    pytest.param("bytes=0x0-4", id="hex"),
    pytest.param("bytes=+1-4", id="a sign"),
    pytest.param("bytes=0--4", id="two dashes"),
    pytest.param("bytes=0 - 4", id="blanks around the dash"),
    pytest.param("bytes=5-4", id="the end before the beginning"),
    pytest.param("bytes=99-98", id="the same beyond the end"),
    pytest.param("bytes=0-1,5-4", id="one bad range spoils the header"),
    pytest.param("bytes=0-1;4-5", id="semicolons"),
    pytest.param("bytes=\u0660-\u0664", id="digits that are not ASCII"),
    pytest.param("bytes=0-1\n", id="a newline"),
    pytest.param("bytes=" + "0-0," * MAX_RANGES, id="too many in the header"),
]

REFUSED = [
    pytest.param("bytes=10-", 10, id="from the end on"),
    pytest.param("bytes=10-10", 10, id="the byte after the last"),
    pytest.param("bytes=99-100,-0", 10, id="several, none inside"),
    pytest.param("bytes=-0", 10, id="an empty suffix"),
    pytest.param("bytes=" + "9" * 5000 + "-", 10, id="5,000 digits"),
    pytest.param("bytes=1-", 0, id="a later byte of an empty blob"),
    pytest.param("bytes=-0", 0, id="an empty suffix of an empty blob"),
]


@pytest.mark.parametrize(("header", "parts"), SERVED)
def test_parts_of_ten_bytes(header: str, parts: list[Range]) -> None:
    assert parse_ranges(header, 10) == parts


@pytest.mark.parametrize("header", IGNORED)
def test_a_header_that_makes_no_sense_is_ignored(header: str) -> None:
    assert parse_ranges(header, 10) is None


@pytest.mark.parametrize(("header", "size"), REFUSED)
def test_ranges_without_a_byte_in_the_blob_are_refused(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable, match=f"it has {size} bytes"):
        parse_ranges(header, size)


@pytest.mark.parametrize("header", ["bytes=-5", "bytes=0-", "bytes=0-0", "bytes=0-0,5-"])
def test_a_suffix_or_the_beginning_of_an_empty_blob_is_the_whole_of_it(header: str) -> None:
    assert parse_ranges(header, 0) is None


def test_sixteen_parts_are_sent_and_seventeen_are_not() -> None:
    specs = [f"{2 * n}-{2 * n}" for n in range(MAX_PARTS + 1)]
    assert parse_ranges("bytes=" + ",".join(specs[:-1]), 100) == [(2 * n, 2 * n) for n in range(MAX_PARTS)]
    assert parse_ranges("bytes=" + ",".join(specs), 100) is None


SPECS = st.one_of(
    st.tuples(st.integers(0, 40), st.integers(0, 15)).map(lambda p: f"{p[0]}-{p[0] + p[1]}"),
    st.integers(0, 40).map(lambda n: f"{n}-"),
    st.integers(0, 40).map(lambda n: f"-{n}"),
)


def asked_bytes(specs: list[str], size: int) -> set[int]:
    """What section 14.1.2 says of each range, byte by byte."""
    positions: set[int] = set()
    for spec in specs:
        first, last = spec.split("-")
        if not first:
            positions |= set(range(size)[-int(last) :]) if int(last) else set()
        else:
            positions |= set(range(size)) & set(range(int(first), int(last) + 1 if last else size))
    return positions


@fuzz
@given(st.lists(SPECS, min_size=1, max_size=30), st.integers(0, 40))
def test_just_the_bytes_that_were_asked_for_are_sent_once(specs: list[str], size: int) -> None:
    asked = asked_bytes(specs, size)
    try:
        parts = parse_ranges("bytes=" + ", ".join(specs), size)
    except RangeNotSatisfiable:
        assert not asked
        return
    if parts is None:
        assert size == 0 or len(asked) > MAX_PARTS
        return
    sent = [at for first, last in parts for at in range(first, last + 1)]
    assert len(sent) == len(set(sent))
    assert set(sent) == asked
    assert len(parts) <= MAX_PARTS


@fuzz
@given(st.one_of(st.text(max_size=60), st.text("bytes=0129-, \t", max_size=60)), st.integers(0, 1 << 62))
def test_whatever_comes_no_byte_outside_the_blob_is_sent(header: str, size: int) -> None:
    for text in (header, "bytes=" + header):
        try:
            parts = parse_ranges(text, size)
        except RangeNotSatisfiable:
            continue
        assert parts is None or all(0 <= first <= last < size for first, last in parts)
        assert parts is None or sum(last + 1 - first for first, last in parts) <= size


@pytest.mark.parametrize("unit", ["0-,", ",", " ", "9", "-", "0-0 ", "\t,", "1-1,"])
def test_a_large_header_takes_time_in_proportion(unit: str) -> None:
    def judge(size: int) -> None:
        assert parse_ranges("bytes=" + unit * (size // len(unit)), 10) is None

    assert is_in_proportion(judge, 600_000)


def test_content_range_names_the_part_and_the_size() -> None:
    assert content_range((2, 5), 10) == "bytes 2-5/10"
    assert unsatisfied_range(10) == "bytes */10"


DATA = bytes(range(256))


@fuzz
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)).map(sorted).map(tuple), min_size=1))
def test_a_multipart_body_is_what_a_mime_reader_reads(parts: list[Range]) -> None:
    answer = multipart(parts, len(DATA), "image/png", hashlib.sha256(DATA).digest())
    pieces = [head + DATA[first : last + 1] for head, (first, last) in zip(answer.heads, parts, strict=True)]
    body = b"".join(pieces) + answer.tail
    assert len(body) == answer.length
    # The reader takes heads as lines, so the bytes are compared by splitting at the delimiter.
    boundary = answer.content_type.removeprefix("multipart/byteranges; boundary=").encode()
    before, *read, after = (b"\r\n" + body).split(b"\r\n--" + boundary)
    assert before == b""
    assert after == b"--\r\n"
    for part, (first, last) in zip(read, parts, strict=True):
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = email.parser.BytesHeaderParser(policy=email.policy.HTTP).parsebytes(head)
        assert fields["Content-Type"] == "image/png"
        assert fields["Content-Range"] == f"bytes {first}-{last}/256"
        assert content == DATA[first : last + 1]


def test_python_reads_a_multipart_body() -> None:
    answer = multipart([(0, 1), (4, 6)], 10, "text/plain", DIGEST)
    body = answer.heads[0] + b"01" + answer.heads[1] + b"456" + answer.tail
    message = email.message_from_bytes(f"Content-Type: {answer.content_type}\r\n\r\n".encode() + body)
    texts = [part.get_payload() for part in message.walk() if not part.is_multipart()]
    assert texts == ["01", "456"]


def test_sixteen_parts_cost_less_than_three_thousand_bytes_beyond_the_data() -> None:
    parts = [(2 * n, 2 * n) for n in range(MAX_PARTS)]
    size = (1 << 62) + 1
    assert multipart(parts, size, "application/octet-stream", DIGEST).length < MAX_PARTS + 3000
