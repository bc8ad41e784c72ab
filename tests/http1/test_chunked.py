"""The chunked coding: content, extensions, trailers, and what is refused, wherever the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.http1.chunked import ChunkedDecoder
from services.http1.errors import Refusal
from services.http1.limits import Limits
from tests.support.work import is_in_proportion

LIMITS = Limits(chunk_line_bytes=100, chunk_extra_bytes=300)


def decode(data: bytes, cuts: list[int] | None = None, at_most: int = 1 << 20) -> tuple[bytes, bytes, bool]:
    """The content, what follows the body, and whether the body is complete. `data` arrives in pieces, cut
    at `cuts`.
    """
    decoder = ChunkedDecoder(LIMITS)
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts or []}), len(data)]
    content = rest = b""
    for start, end in pairwise(places):
        rest += data[start:end]
        while not decoder.done:
            piece, rest = decoder.decode(rest, at_most)
            assert len(piece) <= at_most
            content += piece
            if not piece:
                break
    return content, rest, decoder.done


@pytest.mark.parametrize(
    ("data", "content", "rest"),
    [
        (b"0\r\n\r\n", b"", b""),
        (b"3\r\nabc\r\n0\r\n\r\nGET", b"abc", b"GET"),
        (b"0003\r\nabc\r\n00\r\n\r\n", b"abc", b""),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2, b""),
        (b'3;a=b;c="d;e"\r\nabc\r\n0 ; x\r\n\r\n', b"abc", b""),
        (b"3 \t;\xe9\r\nabc\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\nrest", b"abc", b"rest"),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", b""),
    ],
)
def test_content_and_what_follows_it(data: bytes, content: bytes, rest: bytes) -> None:
    assert decode(data) == (content, rest, True)
    assert decode(data[: len(data) - len(rest)], list(range(len(data)))) == (content, b"", True)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1,\r\n",
        b"\xb9\r\n",
        b"1000000000000000\r\n",
        b"ffffffffffffffffffff\r\n",
        b"3\nabc\n0\n\n",
        b"3\rabc\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabc\r\r\n",
        b"3;\0\r\nabc\r\n",
        b"3;a\nb\r\nabc\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nX : a\r\n\r\n",
        b"0\r\nX: a\0\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n\n",
        b"1;" + b"a" * 100 + b"\r\n",
        b"1;" + b"a" * 200,
        b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 20,
        b"0\r\n" + b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 20,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_malformed_chunks_are_refused(data: bytes) -> None:
    with pytest.raises(Refusal) as whole:
        decode(data)
    with pytest.raises(Refusal) as bytewise:
        decode(data, list(range(len(data))))
    assert whole.value.code == bytewise.value.code == 400


chunk_lists = st.lists(st.binary(min_size=1, max_size=50), max_size=10)
cut_lists = st.lists(st.integers(0, 2000), max_size=30)


@given(
    chunk_lists,
    st.sampled_from([b"", b";x", b" ;a=b"]),
    st.binary(max_size=20),
    cut_lists,
    st.integers(1, 70),
)
def test_what_was_encoded_is_decoded_however_it_is_cut(
    chunks: list[bytes], extension: bytes, after: bytes, cuts: list[int], at_most: int
) -> None:
    body = (
        b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
        + b"0\r\nA: b\r\n\r\n"
    )
    assert decode(body, cuts, at_most) == (b"".join(chunks), b"", True)
    content, rest, whole = decode(body + after, cuts, at_most)
    assert (content, rest, whole) == (b"".join(chunks), after, True)


@given(
    st.lists(st.sampled_from([b"1", b"0", b"a", b"\r\n", b"\n", b"\r", b";", b"x", b":", b" "]), max_size=40),
    cut_lists,
)
def test_any_bytes_mean_the_same_however_they_are_cut(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)

    def outcome(cut_at: list[int]) -> object:
        try:
            return decode(data, cut_at)
        except Refusal as err:
            return err.code

    # What is refused early in one piece may, byte by byte, be refused only when its line is complete.
    whole, cut = outcome([]), outcome(cuts)
    assert whole == cut or (whole == 400 and isinstance(cut, tuple) and not cut[2])


def test_a_bare_line_feed_is_refused_at_once() -> None:
    with pytest.raises(Refusal):
        decode(b"5\n")


def test_many_tiny_chunks_take_linear_time() -> None:
    def decode_chunks(count: int) -> None:
        assert len(decode(b"1\r\nx\r\n" * count)[0]) == count

    assert is_in_proportion(decode_chunks, 40_000)
