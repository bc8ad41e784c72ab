"""The framing aws-chunked: exactly the content comes out, whatever pieces come in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.frontends.s3 import aws_chunked
from services.frontends.s3.aws_chunked import ChunkSigning, Decoder
from services.frontends.s3.errors import S3Error
from services.frontends.s3.sigv4 import signing_key
from tests.s3.signing import chunk_signatures

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
DATE, SCOPE = "20130524T000000Z", "20130524/us-east-1/s3/aws4_request"
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
TRAILER = "x-amz-checksum-crc32c:sOO8/Q==\n"


Way = Callable[[Decoder, bytes, list[int]], bytes]
"""Decodes a body that comes cut at these places."""


def signing(seed: str = SEED) -> ChunkSigning:
    return ChunkSigning(signing_key(SECRET, SCOPE), DATE, SCOPE, seed)


def framed(chunks: list[bytes], *, signed: bool, trailer: str | None, seed: str = SEED) -> bytes:
    whole = [*chunks, b""]
    signatures, last = chunk_signatures(SECRET, DATE, SCOPE, seed, whole, trailer)
    body = b""
    for chunk, signature in zip(whole, signatures, strict=True):
        extension = f";chunk-signature={signature}" if signed else ""
        body += f"{len(chunk):x}{extension}\r\n".encode() + chunk + (b"\r\n" if chunk else b"")
    if trailer is not None:
        body += trailer.replace("\n", "\r\n").encode()
        if signed:
            body += f"x-amz-trailer-signature:{last}\r\n".encode()
    return body + b"\r\n"


def decode(decoder: Decoder, body: bytes, cuts: list[int]) -> bytes:
    content, at = b"", 0
    for end in [*sorted(cuts), len(body)]:
        content += b"".join(decoder.feed(body[at:end]))
        at = max(at, end)
    decoder.finish()
    return content


def decode_in_place(decoder: Decoder, body: bytes, cuts: list[int]) -> bytes:
    content, at = b"", 0
    for end in [*sorted(cuts), len(body)]:
        data = bytearray(body[at:end])
        content += data[: decoder.remove_framing(memoryview(data))]
        at = max(at, end)
    decoder.finish()
    return content


WAYS = pytest.mark.parametrize("way", [decode, decode_in_place])
CUTS = st.lists(st.integers(0, 700), max_size=20)
CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


@WAYS
@given(CHUNKS, st.booleans(), st.sampled_from([None, TRAILER, ""]), CUTS)
def test_every_cut_gives_the_content(
    way: Way, chunks: list[bytes], signed: bool, trailer: str | None, cuts: list[int]
) -> None:
    body = framed(chunks, signed=signed, trailer=trailer)
    size = sum(map(len, chunks))
    decoder = Decoder(size, signing() if signed else None, has_trailer=trailer is not None)
    assert way(decoder, body, [cut for cut in cuts if cut <= len(body)]) == b"".join(chunks)
    assert decoder.trailers == ({"x-amz-checksum-crc32c": "sOO8/Q=="} if trailer else {})


@WAYS
@given(CHUNKS, st.booleans(), st.sampled_from([None, TRAILER]), st.data())
def test_a_changed_byte_of_a_signed_body_never_passes_as_another_content(
    way: Way, chunks: list[bytes], signed: bool, trailer: str | None, data: st.DataObject
) -> None:
    body = bytearray(framed(chunks, signed=signed, trailer=trailer))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    decoder = Decoder(sum(map(len, chunks)), signing() if signed else None, has_trailer=trailer is not None)
    with contextlib.suppress(S3Error):
        content = way(decoder, bytes(body), [])
        if signed:
            assert content == b"".join(chunks)
            assert decoder.trailers in ({}, {"x-amz-checksum-crc32c": "sOO8/Q=="})


@pytest.mark.parametrize("changed", [b"first", b"other"])
def test_a_chunk_that_was_changed_on_its_way_is_refused(changed: bytes) -> None:
    body = framed([b"first", b"other"], signed=True, trailer=None)
    decoder = Decoder(10, signing(), has_trailer=False)
    with pytest.raises(S3Error) as refused:
        decode(decoder, body.replace(changed, changed[::-1]), [])
    assert refused.value.code == "SignatureDoesNotMatch"


@given(CHUNKS, st.booleans(), st.data())
def test_a_body_that_is_cut_short_is_refused(chunks: list[bytes], signed: bool, data: st.DataObject) -> None:
    body = framed(chunks, signed=signed, trailer=TRAILER)
    cut = data.draw(st.integers(0, body.rindex(b"0;" if signed else b"0\r\nx-amz")))
    decoder = Decoder(sum(map(len, chunks)), signing() if signed else None, has_trailer=True)
    with pytest.raises(S3Error):
        decode(decoder, body[:cut], [])


@given(st.binary(max_size=300), st.booleans(), st.booleans())
def test_noise_is_no_more_than_an_error(noise: bytes, signed: bool, trailer: bool) -> None:
    decoder = Decoder(100, signing() if signed else None, has_trailer=trailer)
    with contextlib.suppress(S3Error):
        decode(decoder, noise, [])


def test_the_published_example_of_signed_chunks() -> None:
    # "Transferring payload in multiple chunks", AWS's documents.
    chunks = [b"a" * 65536, b"a" * 1024]
    signatures = [
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ]
    body = b"".join(
        f"{len(chunk):x};chunk-signature={signature}\r\n".encode() + chunk + b"\r\n"
        for chunk, signature in zip([*chunks, b""], signatures, strict=True)
    )
    assert decode(Decoder(66560, signing(), has_trailer=False), body, []) == b"".join(chunks)


def test_the_published_example_of_a_signed_trailer() -> None:
    chunks = [b"a" * 65536, b"a" * 1024]
    signatures = [
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ]
    body = b""
    for chunk, signature in zip([*chunks, b""], signatures, strict=True):
        end = b"\r\n" if chunk else b""
        body += f"{len(chunk):x};chunk-signature={signature}\r\n".encode() + chunk + end
    # As in those documents, the field's line ends in LF before the CR LF.
    body += b"x-amz-checksum-crc32c:sOO8/Q==\n\r\n"
    body += b"x-amz-trailer-signature:"
    body += b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
    seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    decoder = Decoder(66560, signing(seed), has_trailer=True)
    assert decode(decoder, body, []) == b"".join(chunks)
    assert decoder.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", 6),  # shorter than declared
        (b"5\r\nhello\r\n0\r\n\r\n", 4),  # longer
        (b"5\r\nhelloX\r\n0\r\n\r\n", 5),  # a chunk that is longer than it says
        (b"5\r\nhello\r\n", 5),  # no last chunk
        (b"-5\r\nhello\r\n0\r\n\r\n", 5),
        (b"5" * 2000, 5),
        (b"0\r\n" + b"a:b\r\n" * 9000, 0),
        (b"0\r\na:b\r\na:c\r\n\r\n", 0),
        (b"0\r\nno field\r\n\r\n", 0),
        # signed, though the head does not say so
        (b"5;chunk-signature=" + b"0" * 64 + b"\r\nhello\r\n0\r\n\r\n", 5),
    ],
)
@WAYS
def test_refused(way: Way, body: bytes, size: int) -> None:
    with pytest.raises(S3Error):
        way(Decoder(size, None, has_trailer=True), body, [])


def test_a_trailer_that_nobody_signed_is_refused_where_it_must_be() -> None:
    body = framed([b"x"], signed=True, trailer=TRAILER).split(b"x-amz-trailer-signature")[0] + b"\r\n"
    with pytest.raises(S3Error, match="trailer"):
        decode(Decoder(1, signing(), has_trailer=True), body, [])


@WAYS
def test_very_many_small_chunks_are_refused_as_s3_does(way: Way) -> None:
    small, most = [b"x" * 8191], aws_chunked._SMALL_CHUNKS
    for chunks in (small * most, [b"x" * 8192] * (most + 1), [b"x"]):
        body = framed(chunks, signed=False, trailer="")
        whole = b"".join(chunks)
        assert way(Decoder(len(whole), None, has_trailer=True), body, []) == whole
    body = framed(small * (most + 1), signed=False, trailer="")
    with pytest.raises(S3Error) as refused:
        way(Decoder(len(body), None, has_trailer=True), body, [])
    assert refused.value.code == "InvalidChunkSizeError"


@WAYS
def test_the_work_for_a_chunk_does_not_grow_with_what_follows_it(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What followed was copied, three times a chunk: 256 KiB in chunks of a byte held the loop for 2.6 s."""
    looked_at: list[int] = []
    real = Decoder._read_head

    def note(self: Decoder, data: bytes) -> bytes:
        looked_at.append(len(data))
        return real(self, data)

    monkeypatch.setattr(Decoder, "_read_head", note)
    chunks = [b"x" * 8192] * 32
    body = framed(chunks, signed=False, trailer="")
    assert way(Decoder(32 * 8192, None, has_trailer=True), body, []) == b"".join(chunks)
    assert len(looked_at) == 33
    assert max(looked_at) <= aws_chunked._FRAMING_BYTES
