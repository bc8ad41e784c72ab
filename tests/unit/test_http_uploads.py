"""What the head of an upload says of its body (RFC 9110, RFC 9530, RFC 9651)."""

from __future__ import annotations

import base64
import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadRequest
from services.rules.uploads import (
    expected_digests,
    format_digest,
    parse_digests,
    parse_expect,
    refuse_partial,
    stored_encoding,
    stored_media_type,
)
from tests.support.work import is_in_proportion


def sha256_of(name: str, header: str) -> bytes | None:
    return parse_digests(name, header).get("sha-256")


def expected_sha256(headers: dict[str, str]) -> bytes | None:
    return expected_digests(headers).get("sha-256")


fuzz = settings(deadline=None, max_examples=100)
SHA = hashlib.sha256(b"body").digest()
B64 = base64.b64encode(SHA).decode()
OURS = f"sha-256=:{B64}:"
OTHER = format_digest(hashlib.sha256(b"other").digest())
OCTETS = "application/octet-stream"


@pytest.mark.parametrize(
    ("header", "digest"),
    [
        pytest.param(OURS, SHA, id="ours alone"),
        pytest.param(f"  {OURS}  ", SHA, id="blanks around"),
        pytest.param(f"sha-3=:AAAA:, {OURS}", SHA, id="after another"),
        pytest.param(f"{OURS},sha-3=:AAAA:", SHA, id="before another"),
        pytest.param(f"{OURS}\t,\tcrc32c=:AAAA:", SHA, id="tabs around the comma"),
        pytest.param(f"{OTHER}, {OURS}", SHA, id="the last of two counts"),
        pytest.param(f"{OURS};a;b=1;c=?0", SHA, id="with parameters"),
        pytest.param(f"sha-256=:{B64.rstrip('=')}:", SHA, id="without padding"),
        pytest.param("sha-3=:AAAA:", None, id="only one that we do not know"),
        pytest.param("unixsum=:1a:;x", None, id="another, with a parameter"),
        pytest.param("a, b;c, d=?1", None, id="booleans"),
        pytest.param('a=1, b=-2.5, c="x\\"y", d=tok/en:*, e=@16, f=%"a%c3"', None, id="all bare items"),
        pytest.param('a=(1 "b";c=d  :AA==: ), b=()', None, id="inner lists"),
        pytest.param("", None, id="an empty dictionary"),
    ],
)
def test_the_sha256_is_found_among_other_digests(header: str, digest: bytes | None) -> None:
    assert sha256_of("Repr-Digest", header) == digest


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("sha-256", id="a flag"),
        pytest.param("sha-256=", id="no value"),
        pytest.param(f"sha-256={B64}", id="no colons"),
        pytest.param(f"sha-256=:{B64}", id="one colon"),
        pytest.param(f'sha-256="{B64}"', id="a string"),
        pytest.param(f"sha-256=(:{B64}:)", id="a list"),
        pytest.param("sha-256=::", id="no bytes"),
        pytest.param("sha-256=:AAAA:", id="three bytes"),
        pytest.param(f"sha-256=:{base64.b64encode(SHA + b'x').decode()}:", id="33 bytes"),
        pytest.param(f"sha-256=:{B64[:-2]}:", id="a digit short"),
        pytest.param(f"sha-256=:={B64}:", id="padding in front"),
        pytest.param(f"sha-256=:{B64.replace('=', '==')}:", id="padding twice"),
        pytest.param("sha-256=:" + "-_" * 22 + ":", id="base64url"),
        pytest.param(f"sha-256=:{B64}:,", id="a comma at the end"),
        pytest.param(f",{OURS}", id="a comma in front"),
        pytest.param(f"{OURS},, a", id="two commas"),
        pytest.param(f"{OURS} a", id="no comma"),
        pytest.param(f"{OURS};", id="a semicolon at the end"),
        pytest.param(f"SHA-256=:{B64}:", id="capitals"),
        pytest.param(f"sha-256 = :{B64}:", id="blanks around the equals sign"),
        pytest.param(f"{OURS}, a=(1", id="an open list"),
        pytest.param(f'{OURS}, a=(1"b")', id="a list without blanks"),
        pytest.param(f"{OURS}, a=(1,2)", id="a list with commas"),
        pytest.param(f'{OURS}, a="', id="an open string"),
        pytest.param(f"{OURS}, a=1.", id="half a number"),
        pytest.param(f"{OURS}\n", id="a newline"),
        pytest.param(f"{OTHER}, sha-256=1", id="the last of two is none"),
        pytest.param(hashlib.sha256(b"body").hexdigest(), id="plain hex"),
    ],
)
def test_a_malformed_digest_is_refused_by_name(header: str) -> None:
    with pytest.raises(BadRequest, match=r"^Content-Digest is malformed"):
        sha256_of("Content-Digest", header)


def test_both_digest_fields_say_what_the_body_must_be() -> None:
    assert expected_sha256({}) is None
    assert expected_sha256({"Repr-Digest": OURS}) == SHA
    assert expected_sha256({"Content-Digest": OURS}) == SHA
    assert expected_sha256({"Content-Digest": OURS, "Repr-Digest": OURS}) == SHA
    assert expected_sha256({"Content-Digest": "sha-3=:AAAA:", "Repr-Digest": OURS}) == SHA
    assert expected_sha256({"Content-Digest": "sha-3=:AAAA:"}) is None


def test_two_digests_that_differ_are_refused() -> None:
    with pytest.raises(BadRequest, match="differ"):
        expected_sha256({"Repr-Digest": OURS, "Content-Digest": OTHER})


@fuzz
@given(st.binary(min_size=32, max_size=32))
def test_a_digest_is_read_back(sha256: bytes) -> None:
    assert sha256_of("Repr-Digest", format_digest(sha256)) == sha256


@fuzz
@given(st.one_of(st.text(max_size=50), st.text('sha-256=:;,()"%@?\\1a*. \t', max_size=50)), st.booleans())
def test_whatever_comes_is_a_digest_none_or_refused(text: str, with_ours: bool) -> None:
    header = f"{OURS}, {text}" if with_ours else text
    try:
        digest = sha256_of("Repr-Digest", header)
    except BadRequest:
        return
    assert digest is None or len(digest) == 32
    assert not with_ours or digest is not None


@pytest.mark.parametrize(
    ("header", "stored"),
    [
        pytest.param(None, OCTETS, id="absent"),
        pytest.param("", OCTETS, id="empty"),
        pytest.param("text/html", "text/html", id="a type"),
        pytest.param(" text/html\t", "text/html", id="blanks around"),
        pytest.param("Text/HTML; Charset=utf-8", "Text/HTML; Charset=utf-8", id="kept letter by letter"),
        pytest.param('a/b;x="q, \\"u\\";"', 'a/b;x="q, \\"u\\";"', id="a quoted parameter"),
        pytest.param("a/b;", "a/b;", id="an empty parameter"),
        pytest.param("application/vnd.x+json", "application/vnd.x+json", id="a suffix"),
        pytest.param("application/x-www-form-urlencoded", OCTETS, id="curl's form default"),
        pytest.param("Application/X-WWW-Form-URLencoded; charset=UTF-8", OCTETS, id="in another spelling"),
        pytest.param("application/x-www-form-urlencoded2", "application/x-www-form-urlencoded2", id="not it"),
        pytest.param("text", OCTETS, id="no slash"),
        pytest.param("text/", OCTETS, id="no subtype"),
        pytest.param("a/b/c", OCTETS, id="two slashes"),
        pytest.param("text/html, text/plain", OCTETS, id="two types"),
        pytest.param("text/html; charset", OCTETS, id="a parameter without a value"),
        pytest.param('text/html; a="', OCTETS, id="an open quote"),
        pytest.param("text/html\r\nSet-Cookie: a=b", OCTETS, id="a header behind it"),
        pytest.param("text/html\n", OCTETS, id="a newline"),
        pytest.param('text/html; a="\r\n"', OCTETS, id="a quoted CR LF"),
        pytest.param('text/html; a="\x00"', OCTETS, id="a quoted NUL"),
        pytest.param("text/h\xe9", OCTETS, id="not ASCII"),
        pytest.param("a/" + "b" * 253, "a/" + "b" * 253, id="255 characters"),
        pytest.param("a/" + "b" * 254, OCTETS, id="256 characters"),
    ],
)
def test_the_media_type_is_stored_as_sent_or_is_octets(header: str | None, stored: str) -> None:
    assert stored_media_type(header) == stored


@pytest.mark.parametrize(
    ("header", "stored"),
    [
        (None, ""),
        ("", ""),
        (" ", ""),
        ("gzip", "gzip"),
        (" br ,  gzip ", "br ,  gzip"),
        ("GZip", "GZip"),
        ("x" * 255, "x" * 255),
    ],
)
def test_the_coding_is_stored_as_sent(header: str | None, stored: str) -> None:
    assert stored_encoding(header) == stored


@pytest.mark.parametrize(
    "header",
    ["gzip;q=1", "gzip,", ",gzip", "gzip br", "g\xe9", "gzip\r\nA: b", "gzip\n", '"gzip"', "x" * 256],
)
def test_a_malformed_coding_is_refused(header: str) -> None:
    with pytest.raises(BadRequest, match=r"^Content-Encoding is malformed"):
        stored_encoding(header)


@fuzz
@given(st.one_of(st.text(max_size=80), st.text('a/b;=" \\\r\n\x00\x7f,', max_size=40)))
def test_what_is_stored_is_fit_for_a_header(text: str) -> None:
    stored = [stored_media_type(text), stored_media_type("a/b;" + text)]
    with contextlib.suppress(BadRequest):
        stored.append(stored_encoding(text))
    for value in stored:
        assert len(value) <= 255
        assert all(" " <= c <= "~" or c == "\t" for c in value)


@pytest.mark.parametrize(
    "unit", [" ", "a", "a/b;", ";", '"', '\\"', "a=(", "1 ", "a;b=1", ":", "a,", "(", '%"']
)
@pytest.mark.parametrize("start", ["", "a=", "a=(", "a/b;x=", 'a="', "sha-256=:"])
def test_a_large_header_takes_time_in_proportion(unit: str, start: str) -> None:
    def judge(size: int) -> None:
        text = start + unit * (size // len(unit))
        assert stored_media_type(text) == OCTETS
        for other in (stored_encoding, lambda value: sha256_of("Repr-Digest", value)):
            with contextlib.suppress(BadRequest):
                assert not other(text)

    assert is_in_proportion(judge, 200_000)


def test_an_upload_of_a_part_is_refused() -> None:
    refuse_partial({"Content-Length": "5"})
    with pytest.raises(BadRequest, match="whole"):
        refuse_partial({"Content-Range": "bytes 100-104/105"})


@pytest.mark.parametrize(
    ("header", "waits"),
    [
        (None, False),
        ("", False),
        ("100-continue", True),
        ("100-Continue", True),
        (" 100-CONTINUE\t", True),
        ("100-continue, 100-continue", True),
        ("x=y, 100-continue", True),
        ("100-continued", False),
        ("100", False),
        ("continue", False),
    ],
)
def test_an_expectation_is_read_in_any_letter_case(header: str | None, waits: bool) -> None:
    assert parse_expect(header) is waits
