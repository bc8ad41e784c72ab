"""Names of objects sort as locations do, can be turned back into locations, and are accepted by stores."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.engines.objects import keys, txn

# Characters around the escaped ones, so that short texts have them often.
_HARD = "\x00\x01\x1f !#$%&'+,-./0129:@AZ[\\]^_`az{|}~\x7f\x80é\ud7ff\ue000"
_HARD += "\ufffc\ufffd\ufffe\uffff\U00010000\U0010ffff"
_CHARS = st.sampled_from(_HARD) | st.characters(exclude_categories=["Cs"])
TEXTS = st.text(_CHARS, max_size=12)
# Long locations, which are cut into folders or end in a digest, with common beginnings.
LONG = st.builds(
    lambda filler, count, end: (filler * count)[:1000] + end,
    st.sampled_from(["x", "/", "é", "ab/", "[.", "\U0001f600"]),
    st.sampled_from(
        [0, 60, 93, 94, 95, 188, 189, 190, 191, 380, 412, 413, 414, 415, 416, 828, 829, 830, 831, 950]
    ),
    TEXTS,
)
LOCATIONS = (TEXTS | LONG).filter(lambda text: 1 <= len(text.encode()) <= 1024)


def sorts_by_key(location: str) -> bool:
    return not keys.is_grouped(location)


@given(LOCATIONS, LOCATIONS)
@example("a", "a/b")
@example("x" * 190, "x" * 190 + "!")
@example("x" * 190, "x" * 191)
def test_names_sort_as_locations(one: str, other: str) -> None:
    first, second = keys.name_of(one), keys.name_of(other)
    assert (first == second) == (one == other)
    if sorts_by_key(one) and sorts_by_key(other):
        assert (first.encode() < second.encode()) == (one < other)
    else:
        cut = keys.before_group(one) if keys.is_grouped(one) else keys.before_group(other)
        assert (first.encode() < second.encode()) == (one < other) or first.startswith(cut[:-1])


@given(LOCATIONS)
def test_a_name_gives_its_location_or_says_that_it_cannot(location: str) -> None:
    found = keys.location_of(keys.name_of(location))
    assert found == (None if keys.is_grouped(location) else location)


@given(LOCATIONS)
@example("x" * 189 + "/" * 3 + "x" * 700)
@example("/" * 415)
def test_a_text_of_ascii_is_cut_as_any_other(location: str) -> None:
    """It is cut without a look at each character. Of keys in use not one may change."""
    assert len(location) < 48 or keys._segments(location) == keys._segments_of_any(location)


@given(LOCATIONS)
def test_a_name_is_what_stores_take(location: str) -> None:
    key = "p" * keys.MAX_PREFIX_BYTES + "/" + keys.part_key(location, txn.new_txn(0), 0)
    assert len(key.encode()) <= 1024
    assert all(0 < len(segment.encode()) <= 255 for segment in key.split("/"))
    assert not {".", ".."} & set(key.split("/"))
    assert not re.search("[\x00-\x20\x7f\\\\\ufffe\uffff]", key)


@given(LOCATIONS, LOCATIONS)
def test_no_folder_has_the_name_of_an_object(one: str, other: str) -> None:
    folder = keys.name_of(one).rpartition("/")[0]
    assert not folder or folder != keys.name_of(other)


@given(st.text(_CHARS, max_size=3) | LONG, LOCATIONS)
@example("-", "-")
@example("-", ".")
@example("a\U0010ffff", "b")
def test_a_prefix_is_a_range_of_names(prefix: str, location: str) -> None:
    name = keys.name_of(location).encode()
    start, end = keys.start_of(prefix), keys.end_of(prefix)
    assert not {".", ".."} & set(end.split("/"))
    inside = start.encode() < name and (not end or name < end.encode())
    if location.startswith(prefix):
        assert inside
    elif inside:
        assert keys.is_grouped(location) or keys.is_grouped(prefix)


@given(TEXTS)
def test_escaping_can_be_undone(text: str) -> None:
    assert keys.unescape(keys.escape(text)) == text


def test_the_owner_of_data_is_in_its_key() -> None:
    write = txn.new_txn(5)
    key = keys.part_key("a!/b" * 60, write, 7)
    assert keys.owner_of(key) == (keys.name_of("a!/b" * 60), write)
    assert key.startswith(keys.data_stem("a!/b" * 60, write))
    assert keys.owner_of(keys.DATA + "foreign") is None


@pytest.mark.parametrize("location", ["a", "a/b", "x" * 180])
def test_no_write_has_a_folder_of_its_own(location: str) -> None:
    """SeaweedFS removes a folder that it takes for empty, and then never lists an object that was just
    put there.
    """
    for key in (keys.part_key(location, txn.new_txn(0), 0), keys.sums_key(location, txn.new_txn(0))):
        assert key.count("/") == 1


@given(LOCATIONS)
def test_an_id_gives_location_and_txn(location: str) -> None:
    write = txn.new_txn(1_700_000_000_000_000_000)
    text = txn.blob_id(location, write)
    assert re.fullmatch(r"[0-9A-Za-z._-]+", text)
    assert txn.parse_blob_id(text) == (location, write)
    assert txn.parse_blob_id(text + "A") is None or txn.parse_blob_id(text + "A") != (location, write)


def test_txns_sort_by_time_and_never_repeat() -> None:
    made = [txn.new_txn(at * 1_000_000) for at in (0, 1, 31, 32, 1_000_000, 1_800_000_000_000)]
    assert made == sorted(made)
    assert len({txn.new_txn(0) for _ in range(1000)}) == 1000
    assert all(txn.is_txn(one) for one in made)
