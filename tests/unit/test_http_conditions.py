"""Entity tags and preconditions (RFC 9110, sections 8.8.3 and 13)."""

from __future__ import annotations

import hashlib
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.errors import BadRequest
from services.rules.conditions import (
    NOT_MODIFIED,
    PRECONDITION_FAILED,
    PROCEED,
    Verdict,
    etag,
    evaluate,
    if_range_holds,
    parse_etags,
)
from services.rules.dates import format_http_date
from services.rules.text import MAX_MEMBERS
from tests.support.work import is_in_proportion

fuzz = settings(deadline=None, max_examples=100)
TAG = etag(hashlib.sha256(b"now").digest())
OTHER = etag(hashlib.sha256(b"before").digest())
WEAK = "W/" + TAG
MODIFIED_S = 1_790_000_000
AT = format_http_date(MODIFIED_S)
BEFORE = format_http_date(MODIFIED_S - 1)
AFTER = format_http_date(MODIFIED_S + 1)
READS = ("GET", "HEAD")
WRITES = ("PUT", "POST", "DELETE")
FAILS = PRECONDITION_FAILED


def judge(method: str, headers: dict[str, str], present: bool = True) -> Verdict:
    return evaluate(headers, TAG if present else None, MODIFIED_S if present else None, method)


def test_a_tag_is_the_sha256_in_hex_in_quotes_and_strong() -> None:
    assert f'"{hashlib.sha256(b"now").hexdigest()}"' == TAG


# header, value, what reads answer, what writes answer; the blob is there and has TAG and AT
ALONE = [
    ("If-Match", TAG, PROCEED, PROCEED),
    ("If-Match", "*", PROCEED, PROCEED),
    ("If-Match", f"{OTHER}, {TAG}", PROCEED, PROCEED),
    ("If-Match", f",{OTHER},,{TAG} ,", PROCEED, PROCEED),
    ("If-Match", OTHER, FAILS, FAILS),
    ("If-Match", WEAK, FAILS, FAILS),
    ("If-Match", '""', FAILS, FAILS),
    ("If-Match", TAG.upper(), FAILS, FAILS),
    ("If-Match", f'"{OTHER[1:-1]},{TAG[1:-1]}"', FAILS, FAILS),
    ("If-None-Match", TAG, NOT_MODIFIED, FAILS),
    ("If-None-Match", WEAK, NOT_MODIFIED, FAILS),
    ("If-None-Match", "*", NOT_MODIFIED, FAILS),
    ("If-None-Match", f"W/{OTHER}, {WEAK}", NOT_MODIFIED, FAILS),
    ("If-None-Match", OTHER, PROCEED, PROCEED),
    ("If-None-Match", f'{OTHER}, "x,y"', PROCEED, PROCEED),
    ("If-Unmodified-Since", AT, PROCEED, PROCEED),
    ("If-Unmodified-Since", AFTER, PROCEED, PROCEED),
    ("If-Unmodified-Since", BEFORE, FAILS, FAILS),
    ("If-Unmodified-Since", "Sunday, 06-Nov-94 08:49:37 GMT", FAILS, FAILS),
    ("If-Unmodified-Since", "Sun Nov  6 08:49:37 1994", FAILS, FAILS),
    ("If-Unmodified-Since", "yesterday", PROCEED, PROCEED),
    ("If-Modified-Since", AT, NOT_MODIFIED, PROCEED),
    ("If-Modified-Since", AFTER, NOT_MODIFIED, PROCEED),
    ("If-Modified-Since", BEFORE, PROCEED, PROCEED),
    ("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT", PROCEED, PROCEED),
    ("If-Modified-Since", "Monday, 01-Jan-29 00:00:00 GMT", NOT_MODIFIED, PROCEED),
    ("If-Modified-Since", "Mon Jan  1 00:00:00 2029", NOT_MODIFIED, PROCEED),
    ("If-Modified-Since", f"{AT}, {AT}", PROCEED, PROCEED),
    ("If-Modified-Since", "yesterday", PROCEED, PROCEED),
]


@pytest.mark.parametrize(("name", "value", "on_reads", "on_writes"), ALONE)
def test_one_condition_on_a_blob_that_is_there(
    name: str, value: str, on_reads: Verdict, on_writes: Verdict
) -> None:
    assert [judge(method, {name: value}) for method in READS] == [on_reads] * 2
    assert [judge(method, {name: value}) for method in WRITES] == [on_writes] * 3


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("If-Match", "*", FAILS),
        ("If-Match", TAG, FAILS),
        ("If-None-Match", "*", PROCEED),
        ("If-None-Match", TAG, PROCEED),
        ("If-Unmodified-Since", BEFORE, PROCEED),
        ("If-Modified-Since", AFTER, PROCEED),
    ],
)
@pytest.mark.parametrize("method", READS + WRITES)
def test_one_condition_where_no_blob_is(method: str, name: str, value: str, verdict: Verdict) -> None:
    assert judge(method, {name: value}, present=False) is verdict


def test_without_conditions_everything_proceeds() -> None:
    for method in READS + WRITES:
        assert judge(method, {"Host": "a", "If-Range": OTHER}) is PROCEED
        assert judge(method, {}, present=False) is PROCEED


# Section 13.2.2: each step of the order decides over the next one.
PRECEDENCE = [
    pytest.param({"If-Match": TAG, "If-Unmodified-Since": BEFORE}, PROCEED, id="If-Match over the date"),
    pytest.param({"If-Match": OTHER, "If-Unmodified-Since": AFTER}, FAILS, id="even where only it fails"),
    pytest.param({"If-Match": OTHER, "If-None-Match": TAG}, FAILS, id="If-Match before If-None-Match"),
    pytest.param({"If-Match": TAG, "If-None-Match": TAG}, NOT_MODIFIED, id="If-None-Match after If-Match"),
    pytest.param({"If-Unmodified-Since": BEFORE, "If-None-Match": TAG}, FAILS, id="412 before 304"),
    pytest.param({"If-None-Match": OTHER, "If-Modified-Since": AFTER}, PROCEED, id="tag over date"),
    pytest.param({"If-None-Match": TAG, "If-Modified-Since": BEFORE}, NOT_MODIFIED, id="tag over date, too"),
    pytest.param({"If-None-Match": "bad", "If-Modified-Since": AFTER}, PROCEED, id="even a malformed one"),
    pytest.param({"If-Match": TAG, "If-Modified-Since": AT}, NOT_MODIFIED, id="If-Match, then the date"),
    pytest.param({"If-Unmodified-Since": AT, "If-Modified-Since": AT}, NOT_MODIFIED, id="both dates"),
]


@pytest.mark.parametrize(("headers", "verdict"), PRECEDENCE)
def test_conditions_are_judged_in_the_order_of_the_rfc(headers: dict[str, str], verdict: Verdict) -> None:
    assert judge("GET", headers) is verdict


MALFORMED = [
    "",
    " ",
    ",",
    "abc",
    "*, " + TAG,
    TAG + ", *",
    "**",
    '"',
    TAG[:-1],
    TAG[1:],
    f"{TAG} {OTHER}",
    f"{TAG}; {OTHER}",
    "w/" + TAG,
    "W/ " + TAG,
    "W/",
    "W/*",
    f"'{TAG[1:-1]}'",
    '"a\x7f"',
    '"\u20ac"',
    TAG + "\n",
    f"{TAG}, x",
]


@pytest.mark.parametrize(
    "value", [f'"a, b", {TAG}', f'"a,b",{TAG}', f'{TAG}, "a, b"', f'W/"x, \ty" , {WEAK}', f'"", " ", {TAG}']
)
def test_a_comma_or_a_space_in_a_tag_separates_nothing(value: str) -> None:
    assert judge("GET", {"If-None-Match": value}) is NOT_MODIFIED
    assert judge("PUT", {"If-Match": value.replace("W/", "")}) is PROCEED


def test_more_tags_than_anybody_has_are_malformed() -> None:
    tags = ", ".join(['"a"'] * (MAX_MEMBERS - 1) + [TAG])
    assert judge("GET", {"If-None-Match": tags}) is NOT_MODIFIED
    assert judge("GET", {"If-None-Match": f'"a", {tags}'}) is PROCEED
    with pytest.raises(BadRequest):
        judge("PUT", {"If-Match": f'"a", {tags}'})


@pytest.mark.parametrize("value", MALFORMED)
def test_malformed_tags_never_let_a_write_through(value: str) -> None:
    assert parse_etags(value) is None
    for name in ("If-Match", "If-None-Match"):
        for method in WRITES:
            for present in (True, False):
                with pytest.raises(BadRequest, match=f"^{name} is malformed"):
                    judge(method, {name: value}, present)


@pytest.mark.parametrize("value", MALFORMED)
def test_malformed_tags_on_reads_never_give_304(value: str) -> None:
    assert judge("GET", {"If-None-Match": value}) is PROCEED
    with pytest.raises(BadRequest):
        judge("GET", {"If-Match": value})


@fuzz
@given(
    st.one_of(st.text(max_size=30), st.text('W/"*, \tab', max_size=20)),
    st.booleans(),
    st.sampled_from(["", TAG, WEAK, "*"]),
)
def test_a_write_goes_on_only_where_if_match_has_the_tag(text: str, present: bool, more: str) -> None:
    value = text + more
    try:
        verdict = judge("PUT", {"If-Match": value}, present)
    except BadRequest:
        return
    if verdict is PROCEED:
        assert present
        assert value.strip(" \t") == "*" or TAG in value


@fuzz
@given(st.text(max_size=30))
def test_a_create_only_write_never_replaces(text: str) -> None:
    assume(text.strip(" \t,") != "")
    for value in (f"*{text}", f"{text}*", f"{text},*"):
        try:
            verdict = judge("PUT", {"If-None-Match": value})
        except BadRequest:
            continue
        assert verdict is FAILS or value.count('"') >= 2


@fuzz
@given(st.lists(st.text("abc,W/ !~é".replace(" ", ""), max_size=5), min_size=1, max_size=6), st.data())
def test_every_well_formed_list_is_read_as_written(opaque: list[str], data: st.DataObject) -> None:
    tags = [data.draw(st.sampled_from(["", "W/"])) + f'"{text}"' for text in opaque]
    blanks = st.sampled_from([",", ", ", " ,\t", ",,", " , , "])
    header = tags[0] + "".join(data.draw(blanks) + tag for tag in tags[1:])
    assert parse_etags(header) == tags


@fuzz
@given(
    st.dictionaries(
        st.sampled_from(["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"]),
        st.one_of(st.text(max_size=20), st.sampled_from([TAG, WEAK, OTHER, "*", AT, BEFORE, AFTER])),
    ),
    st.booleans(),
    st.sampled_from(READS + WRITES),
)
def test_whatever_comes_only_reads_are_not_modified(
    headers: dict[str, str], present: bool, method: str
) -> None:
    try:
        verdict = judge(method, headers, present)
    except BadRequest:
        return
    assert verdict is not NOT_MODIFIED or (method in READS and present)


@pytest.mark.parametrize("unit", [" ", "\t ", '"a"', '"a" ', '"a", ', ",", '"', "W/", 'W/"', "*", '" '])
def test_a_large_header_takes_time_in_proportion(unit: str) -> None:
    def judge(size: int) -> None:
        parse_etags(unit * (size // len(unit)))
        parse_etags(unit * (size // len(unit)) + "x")
        if_range_holds(unit * (size // len(unit)), TAG, MODIFIED_S)

    assert is_in_proportion(judge, 200_000)


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        pytest.param(TAG, True, id="the tag"),
        pytest.param(f" {TAG}\t", True, id="the tag between blanks"),
        pytest.param(WEAK, False, id="the tag as a weak one"),
        pytest.param(OTHER, False, id="another tag"),
        pytest.param("*", False, id="a star is no tag"),
        pytest.param(f"{TAG}, {OTHER}", False, id="a list"),
        pytest.param(AT, True, id="the very date"),
        pytest.param(time.asctime(time.gmtime(MODIFIED_S)), True, id="the very date in an old format"),
        pytest.param(BEFORE, False, id="an earlier date"),
        pytest.param(AFTER, False, id="a later date"),
        pytest.param("", False, id="nothing"),
        pytest.param("yesterday", False, id="no date"),
        pytest.param(TAG[1:-1], False, id="the tag without quotes"),
    ],
)
def test_a_range_is_served_if_the_validator_is_exactly_ours(value: str, holds: bool) -> None:
    assert if_range_holds(value, TAG, MODIFIED_S) is holds
