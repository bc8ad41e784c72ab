"""Locations in request targets (http.md, "Refusals"; RFC 3986)."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.errors import BadLocation, BadRequest
from services.rules.locations import MAX_LOCATION_BYTES, parse_location, quote_location, split_listing
from tests.support.work import is_in_proportion

fuzz = settings(deadline=None, max_examples=100)

GOOD = [
    pytest.param("a", "a", id="one letter"),
    pytest.param("a/b/c.txt", "a/b/c.txt", id="a path"),
    pytest.param("a%2Fb", "a/b", id="%2F is a slash"),
    pytest.param("a%2fb", "a/b", id="%2f is a slash"),
    pytest.param("%252F", "%2F", id="decoded once only"),
    pytest.param("a%25", "a%", id="a percent sign"),
    pytest.param("a+b%20c", "a+b c", id="plus is a plus, %20 is a space"),
    pytest.param("...", "...", id="three dots are a name"),
    pytest.param(".a/..b/c./d..", ".a/..b/c./d..", id="dots beside letters"),
    pytest.param("a:b@c;d=e,f!$&'()*~-_", "a:b@c;d=e,f!$&'()*~-_", id="every other character of a path"),
    pytest.param("%E2%82%AC", "€", id="escaped UTF-8"),
    pytest.param("€".encode(), "€", id="raw UTF-8 as bytes"),
    pytest.param("€".encode().decode("latin-1"), "€", id="raw UTF-8, one character a byte"),
    pytest.param("%F0%9F%98%80", "\U0001f600", id="beyond the basic plane"),
    pytest.param("%EF%BF%BF", "\uffff", id="a noncharacter is UTF-8"),
    pytest.param("%C2%A0", "\xa0", id="no-break space is the first after C1"),
    pytest.param("caf%C3%A9", "caf\u00e9", id="composed stays composed"),
    pytest.param("cafe%CC%81", "cafe\u0301", id="decomposed stays decomposed"),
    pytest.param("a\\..\\b", "a\\..\\b", id="a backslash does not part segments"),
    pytest.param("a/./b", "a/b", id="a dot between"),
    pytest.param("./a", "a", id="a dot before"),
    pytest.param("a/.", "a", id="a dot after"),
    pytest.param("%2e/a/%2E/b", "a/b", id="dots, escaped"),
    pytest.param("/a", "a", id="a slash before"),
    pytest.param("a/", "a", id="a slash after"),
    pytest.param("a//b///c", "a/b/c", id="two slashes and three"),
    pytest.param("a/%2Fb", "a/b", id="two slashes, one escaped"),
    pytest.param("x" * 1000 + "/." * 1000, "x" * 1000, id="what is dropped does not count"),
    pytest.param("x" * 1024, "x" * 1024, id="1,024 bytes"),
    pytest.param("%C3%A9" * 512, "é" * 512, id="1,024 bytes of two-byte letters, escaped"),
    pytest.param("\U0001f600".encode() * 256, "\U0001f600" * 256, id="1,024 bytes of four-byte letters"),
]

BAD = [
    pytest.param("", "empty", id="nothing"),
    pytest.param("x" * 1025, "1,024", id="1,025 bytes"),
    pytest.param("%C3%A9" * 513, "1,024", id="513 letters of two bytes"),
    pytest.param("%F0%9F%98%80" * 256 + "a", "1,024", id="256 letters of four bytes and one more"),
    pytest.param("%78" * 1025, "1,024", id="1,025 escaped bytes"),
    pytest.param("%41" * 100_000, "1,024", id="300 kB"),
    pytest.param("%FF", "UTF-8", id="a byte that UTF-8 never has"),
    pytest.param("\xe9", "UTF-8", id="latin-1"),
    pytest.param(b"\xe9", "UTF-8", id="latin-1 as bytes"),
    pytest.param("%C3", "UTF-8", id="half a letter"),
    pytest.param("%C0%AF", "UTF-8", id="an overlong slash"),
    pytest.param("%C0%80", "UTF-8", id="an overlong NUL"),
    pytest.param("%ED%A0%80", "UTF-8", id="a lone surrogate, escaped"),
    pytest.param("%ED%A0%BD%ED%B8%80", "UTF-8", id="a surrogate pair, escaped"),
    pytest.param("%F4%90%80%80", "UTF-8", id="beyond U+10FFFF"),
    pytest.param("\ud800", "UTF-8", id="a lone surrogate in the text"),
    pytest.param("€", "UTF-8", id="text that is not one character a byte"),
    pytest.param("%", "%25", id="a percent sign alone"),
    pytest.param("a%4", "%25", id="one digit at the end"),
    pytest.param("%zz", "%25", id="no hex digits"),
    pytest.param("%4g", "%25", id="half a hex number"),
    pytest.param("%+1", "%25", id="a signed number"),
    pytest.param("%u0041", "%25", id="JavaScript's escape"),
    pytest.param("%00", "control", id="NUL"),
    pytest.param("a%0a", "control", id="a newline at the end"),
    pytest.param("a%0D%0Ab", "control", id="CR LF"),
    pytest.param("\t", "control", id="a raw tab"),
    pytest.param("%7F", "control", id="DEL"),
    pytest.param("%C2%80", "control", id="the first of C1"),
    pytest.param("%C2%9F", "control", id="the last of C1"),
    pytest.param(".", "empty", id="a dot"),
    pytest.param("././/.", "empty", id="nothing but what is dropped"),
    pytest.param("..", '".."', id="two dots"),
    pytest.param("%2e%2E", '".."', id="two dots, escaped"),
    pytest.param("a/../b", '".."', id="two dots between"),
    pytest.param("a/..", '".."', id="two dots at the end"),
    pytest.param("..%2fa", '".."', id="two dots before an escaped slash"),
    pytest.param("a/./../b", '".."', id="two dots between dropped ones"),
    pytest.param("/", "empty", id="a slash"),
]


@pytest.mark.parametrize(("raw", "location"), GOOD)
def test_a_good_location_is_decoded_exactly_once(raw: str | bytes, location: str) -> None:
    assert parse_location(raw) == location


@pytest.mark.parametrize(("raw", "says"), BAD)
def test_a_bad_location_is_refused_in_a_sentence_that_says_why(raw: str | bytes, says: str) -> None:
    with pytest.raises(BadLocation, match=r"^The location ") as caught:
        parse_location(raw)
    text = str(caught.value)
    assert says in text
    assert text.endswith(".")
    assert "\n" not in text


def test_every_control_character_is_refused_wherever_it_stands() -> None:
    controls = [*range(0x20), *range(0x7F, 0xA0)]
    for code in controls:
        for text in (chr(code), f"a{chr(code)}", f"{chr(code)}a", f"a/{chr(code)}/b"):
            with pytest.raises(BadLocation, match="control"):
                parse_location(quote_location(text))


@fuzz
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60), st.text("%/.2eFf0cC3", max_size=30)))
def test_whatever_comes_either_is_a_location_or_is_refused(raw: str | bytes) -> None:
    try:
        location = parse_location(raw)
    except BadLocation:
        return
    assert 1 <= len(location.encode()) <= MAX_LOCATION_BYTES
    assert not {"", ".", ".."} & set(location.split("/"))
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in location)
    assert parse_location(quote_location(location)) == location


@fuzz
@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=5).map("/".join))
@example("a?b#c&d\"e'f<g>")
def test_a_quoted_location_is_plain_ascii_and_gives_back_the_same(location: str) -> None:
    try:
        quoted = quote_location(location)
        parsed = parse_location(quoted)
    except (BadLocation, UnicodeEncodeError):
        return
    assert parsed == "/".join(name for name in location.split("/") if name not in ("", "."))
    assert set(quoted) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/%")


@pytest.mark.parametrize(
    ("raw", "prefix"),
    [
        pytest.param("", "", id="the whole store"),
        pytest.param(b"", "", id="the whole store, as bytes"),
        pytest.param("a/", "a/", id="a folder"),
        pytest.param(b"a/", "a/", id="a folder, as bytes"),
        pytest.param("/", "", id="a slash too many"),
        pytest.param("./", "", id="apt's flat repository"),
        pytest.param("a//", "a/", id="a folder, and a slash too many"),
        pytest.param("a/./b/.//", "a/b/", id="dots among folders"),
        pytest.param("a/b%20c/", "a/b c/", id="a folder with an escape"),
        pytest.param("a%2F", "a/", id="an escaped slash ends a folder, too"),
        pytest.param("a%2f", "a/", id="in either letter case"),
        pytest.param(b"a%2f", "a/", id="and as bytes"),
        pytest.param("a", None, id="a blob"),
        pytest.param("a/b", None, id="a blob in a folder"),
        pytest.param("a%252F", None, id="a blob whose name ends in %2F"),
        pytest.param("€", None, id="what parse_location refuses is its business"),
    ],
)
def test_a_slash_at_the_end_asks_for_a_listing(raw: str | bytes, prefix: str | None) -> None:
    assert split_listing(raw) == prefix


@pytest.mark.parametrize("raw", ["../", "a/../", "%00/", "%ff/", "%/", "%%2F", "x" * 1025 + "/"])
def test_a_listing_of_what_no_location_begins_with_is_refused(raw: str) -> None:
    with pytest.raises(BadLocation):
        split_listing(raw)


def test_a_bad_location_is_a_bad_request() -> None:
    assert issubclass(BadLocation, BadRequest)


@pytest.mark.parametrize("unit", ["%", "/", "%2F", "../", "%C3", "a", "\x00", "%41"])
def test_a_large_target_takes_time_in_proportion(unit: str) -> None:
    def judge(size: int) -> None:
        with pytest.raises(BadLocation):
            parse_location(unit * (size // len(unit)))

    assert is_in_proportion(judge, 1_000_000)
