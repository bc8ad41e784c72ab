"""A head that differs from an earlier one in some values is parsed as if there had been no earlier one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.http1.errors import Refusal
from services.http1.parser import _normalized, _parse_fields
from services.http1.similar_fields import FieldBlock, SimilarFields

FIRST = (
    b"Accept: */*\r\nHost: a\r\nX-Amz-Date: 1\r\nContent-Length: 5\r\nAuthorization: b\r\n"
    b"Connection: keep-alive\r\n"
)


def told(block: FieldBlock) -> tuple[object, ...]:
    return (
        list(block.fields.items()),
        *(block.host, block.body_bytes, block.close, block.keep_alive, block.expects_continue),
    )


def outcome(parse: Callable[[bytes], FieldBlock], data: bytes) -> tuple[object, ...]:
    try:
        return told(parse(data))
    except Refusal as err:
        return err.code, str(err)


def similar() -> SimilarFields:
    return SimilarFields(_parse_fields, _normalized)


@pytest.mark.parametrize(
    ("old", "new", "is_alike"),
    [
        (b"Date: 1", b"Date: 2", True),
        (b"Authorization: b", b"Authorization: \xff \t", True),
        (b"Length: 5", b"Length: 700", True),
        (b"Length: 5", b"Length: 5, 5", False),
        (b"Host: a", b"Host: b", False),
        (b"Connection: keep-alive", b"Connection: close", False),
        (b"Authorization", b"authorization", False),
        (b"X-Amz-Date: 1", b"X-Amz-Date-2: 1", False),
        (b"Date: 1\r\n", b"Date: 1\r\nDate: 2\r\n", False),
    ],
)
def test_what_follows_from_the_names_is_shared_by_those_alike(old: bytes, new: bytes, is_alike: bool) -> None:
    fields = similar()
    first = fields.block(FIRST)
    other = FIRST.replace(old, new)
    assert other != FIRST
    found = fields.block(other)
    assert told(found) == told(_parse_fields(other))
    assert (found.shape is first.shape) == is_alike
    assert told(first) == told(_parse_fields(FIRST))  # which others may still have


def test_what_stands_there_twice_has_no_shape() -> None:
    assert similar().block(b"Host: a\r\nA: 1\r\nA: 2\r\n").shape is None


LINES = st.lists(
    st.one_of(
        st.sampled_from(FIRST.splitlines(keepends=True)),
        st.sampled_from(
            (
                *(b"Host: b\r\n", b"X-Amz-Date: 2\r\n", b"Content-Length: 9\r\n", b"Content-Length: +9\r\n"),
                *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Authorization:\r\n"),
                *(b"Authorization : c\r\n", b"Authorization: c\x00\r\n", b"Authorization: c\rd\r\n"),
                *(b"Authorization: c\nd\r\n", b" folded\r\n", b"authorization: c\r\n"),
            )
        ),
    ),
    max_size=6,
)


@given(st.lists(LINES, min_size=2, max_size=5))
def test_each_is_understood_as_it_would_be_alone(heads: list[list[bytes]]) -> None:
    fields = similar()
    for lines in heads:
        data = b"".join(lines)
        assert outcome(fields.block, data) == outcome(_parse_fields, data)


def test_a_line_without_its_end_is_parsed_as_if_nothing_were_known() -> None:
    """The connection never passes such bytes, but the fuzzer does."""
    known = similar()
    known.block(FIRST)
    for end in range(len(FIRST)):
        assert outcome(known.block, FIRST[:end]) == outcome(_parse_fields, FIRST[:end])
        assert outcome(known.block, FIRST) == outcome(_parse_fields, FIRST)
