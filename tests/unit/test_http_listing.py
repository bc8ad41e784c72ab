"""Parameters of listings, and the choice between HTML and JSON (http.md; RFC 9110, section 12.5.1)."""

from __future__ import annotations

import contextlib
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import BadRequest
from services.rules.listing import (
    IdListing,
    Listing,
    follows_links,
    parse_id_listing,
    parse_listing,
    wants_html,
)
from tests.support.work import is_in_proportion

fuzz = settings(deadline=None, max_examples=100)


@pytest.mark.parametrize(
    ("query", "listing"),
    [
        pytest.param("", Listing("", "", "", 1000), id="nothing said"),
        pytest.param("prefix=a%2Fb", Listing("a/b", "", "", 1000), id="a prefix"),
        pytest.param("prefix=a/b", Listing("a/b", "", "", 1000), id="a prefix with a plain slash"),
        pytest.param("prefix=", Listing("", "", "", 1000), id="an empty prefix"),
        pytest.param("prefix", Listing("", "", "", 1000), id="no equals sign"),
        pytest.param("delimiter=/", Listing("", "/", "", 1000), id="a delimiter"),
        pytest.param("delimiter=%2F", Listing("", "/", "", 1000), id="an escaped delimiter"),
        pytest.param("delimiter=", Listing("", "", "", 1000), id="an empty delimiter"),
        pytest.param("after=a+b", Listing("", "", "a b", 1000), id="form encoding: plus is a space"),
        pytest.param("after=a%2Bb", Listing("", "", "a+b", 1000), id="an escaped plus"),
        pytest.param("after=%C3%A9", Listing("", "", "é", 1000), id="UTF-8"),
        pytest.param(b"after=\xc3\xa9", Listing("", "", "é", 1000), id="raw UTF-8"),
        pytest.param("after=a=b", Listing("", "", "a=b", 1000), id="an equals sign in a value"),
        pytest.param("limit=1", Listing("", "", "", 1), id="the least limit"),
        pytest.param("limit=10000", Listing("", "", "", 10000), id="the greatest limit"),
        pytest.param("&&limit=5&", Listing("", "", "", 5), id="empty fields"),
        pytest.param("limit=5&after=x&delimiter=/&prefix=p", Listing("p", "/", "x", 5), id="everything"),
    ],
)
def test_a_listing_of_the_store(query: str | bytes, listing: Listing) -> None:
    assert parse_listing(query) == listing


@pytest.mark.parametrize(
    ("query", "listing"),
    [
        ("", Listing("a/b/", "/", "", 1000)),
        ("after=a/b/c&limit=2", Listing("a/b/", "/", "a/b/c", 2)),
        ("delimiter=/", Listing("a/b/", "/", "", 1000)),
        ("delimiter=", Listing("a/b/", "", "", 1000)),
    ],
)
def test_a_listing_of_a_folder(query: str, listing: Listing) -> None:
    assert parse_listing(query, folder="a/b/") == listing


def test_who_follows_links_gets_folders_and_long_pages() -> None:
    assert parse_listing("", browsed=True) == Listing("", "/", "", 10_000)
    assert parse_listing("limit=5&delimiter=", browsed=True) == Listing("", "", "", 5)
    assert parse_listing("after=a/b/c", folder="a/b/", browsed=True) == Listing("a/b/", "/", "a/b/c", 10_000)
    assert follows_links("Wget/1.21.3")
    assert follows_links("rclone/v1.60.1-DEV")
    assert follows_links("lftp/4.9.2")
    assert not follows_links("curl/7.88.1 with Wget/1")
    assert not follows_links(None)


def test_a_folder_takes_no_second_prefix() -> None:
    with pytest.raises(BadRequest, match="not both"):
        parse_listing("prefix=c", folder="a/b/")


BAD = [
    ("limit=0", "limit="),
    ("limit=10001", "limit="),
    ("limit=-1", "limit="),
    ("limit=%2B1", "limit="),
    ("limit=1.5", "limit="),
    ("limit=", "limit="),
    ("limit", "limit="),
    ("limit=1_0", "limit="),
    ("limit=" + "9" * 1000, "limit="),
    ("limit=%D9%A1", "limit="),
    ("delimiter=,", "delimiter"),
    ("delimiter=//", "delimiter"),
    ("prefx=a", "no such parameter"),
    ("Prefix=a", "no such parameter"),
    ("state=OK", "no such parameter"),
    ("=a", "no such parameter"),
    ("prefix=a&prefix=b", "twice"),
    ("prefix=%ff", "UTF-8"),
    ("prefix=%ED%A0%80", "UTF-8"),
    ("prefix=%", "%25"),
    ("prefix=%zz", "%25"),
    ("after=%00", "control"),
    ("after=a%0Ab", "control"),
    ("after=" + "x" * 1025, "1,024"),
]


@pytest.mark.parametrize(("query", "says"), BAD)
def test_a_bad_parameter_is_refused_in_a_sentence_that_says_why(query: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_listing(query)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("query", "listing"),
    [
        ("", IdListing(None, None, 100)),
        ("state=Failure", IdListing("Failure", None, 100)),
        ("state=OK&after=0&limit=10", IdListing("OK", "0", 10)),
        ("after=4294967295", IdListing(None, "4294967295", 100)),
    ],
)
def test_a_listing_by_id(query: str, listing: IdListing) -> None:
    assert parse_id_listing(query) == listing


@pytest.mark.parametrize("query", ["state=failure", "state=", "limit=x", "after=1&after=2", "prefix=a"])
def test_a_bad_listing_by_id_is_refused(query: str) -> None:
    with pytest.raises(BadRequest):
        parse_id_listing(query)


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


@fuzz
@given(TEXT, TEXT, st.integers(1, 10_000))
def test_what_a_client_library_encodes_is_read_back(prefix: str, after: str, limit: int) -> None:
    query = urlencode({"prefix": prefix, "after": after, "limit": limit})
    assert parse_listing(query) == Listing(prefix, "", after, limit)


@fuzz
@given(st.one_of(st.binary(max_size=40), st.text(max_size=40)), st.sampled_from(["", "after=", "limit="]))
def test_whatever_comes_is_a_listing_or_is_refused(query: str | bytes, start: str) -> None:
    whole = start + query if isinstance(query, str) else start.encode() + query
    for parse in (parse_listing, parse_id_listing):
        with contextlib.suppress(BadRequest):
            assert 1 <= parse(whole).limit <= 10_000


FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        pytest.param(FIREFOX, True, id="a browser"),
        pytest.param("text/html", True, id="only HTML"),
        pytest.param("TEXT/HTML", True, id="in capitals"),
        pytest.param("text/*", True, id="any text"),
        pytest.param("text/html;level=1", True, id="HTML with a parameter"),
        pytest.param("application/json", False, id="only JSON"),
        pytest.param("application/*", False, id="any application"),
        pytest.param("text/html;q=0.5, application/json", False, id="JSON rather"),
        pytest.param("text/html, application/json;q=0.5", True, id="HTML rather"),
        pytest.param("text/html; Q=0.4, */*;q=0.5", False, id="a specific one over a wildcard"),
        pytest.param("text/html;q=0, */*", False, id="anything but HTML"),
        pytest.param("application/json;q=0, */*", True, id="anything but JSON"),
        pytest.param(
            "text/*;q=0.9, text/html;q=0.1, application/json;q=0.5", False, id="most specific counts"
        ),
        pytest.param("application/json, text/html;q=2", False, id="a malformed weight is ignored"),
        pytest.param("application/json, text/html;q=nan", False, id="not a number"),
    ],
)
def test_a_preference_decides_whatever_the_default(accept: str, html: bool) -> None:
    assert wants_html(accept) is html
    assert wants_html(accept, otherwise=True) is html


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "image/png",
        "text/html, application/json",
        "text/html;q=0.5, */*;q=0.5",
        "text/html;q=0, application/json;q=0",
        ";",
    ],
)
def test_without_a_preference_the_default_decides(accept: str | None) -> None:
    assert wants_html(accept) is False
    assert wants_html(accept, otherwise=True) is True


@fuzz
@given(st.one_of(st.text(max_size=50), st.text("texhml/*;q=0.1, ", max_size=50)))
def test_whatever_is_accepted_gives_an_answer(accept: str) -> None:
    assert wants_html(accept) in (True, False)


@pytest.mark.parametrize("unit", [",", ";", "=", " ", "text/html;q=0,", "&", "a=&", "%", "q=;", "+"])
def test_a_large_input_takes_time_in_proportion(unit: str) -> None:
    def judge(size: int) -> None:
        text = unit * (size // len(unit))
        wants_html(text)
        wants_html("text/html;" + text)
        for query in (text, "after=" + text):
            with contextlib.suppress(BadRequest):
                parse_listing(query)

    assert is_in_proportion(judge, 200_000)
