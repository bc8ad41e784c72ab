"""Which fields of an upload are kept, and which are given back."""

from __future__ import annotations

import pytest

from common.errors import BadRequest
from services.rules.metadata import MAX_BYTES, check_metadata, metadata_fields, stored_metadata


def test_only_fields_meant_for_readers_are_kept() -> None:
    sent = {"Host": "a", "Cache-Control": " no-store ", "X-Meta-A": "1", "X-Meta-": "2", "X-Other": "3"}
    assert stored_metadata(sent) == {"cache-control": "no-store", "x-meta-a": "1"}


def test_the_bound_counts_names_and_values_but_not_what_belongs_to_a_front_end() -> None:
    name = "x-meta-a"
    check_metadata({name: "x" * (MAX_BYTES - len(name)), ".s3-etag": "y" * 100})
    with pytest.raises(BadRequest):
        check_metadata({name: "x" * (MAX_BYTES - len(name) + 1)})


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\0b", "\u2028"])
def test_what_could_begin_a_field_of_its_own_is_refused_and_never_sent(value: str) -> None:
    with pytest.raises(BadRequest):
        check_metadata({"x-meta-a": value})
    assert list(metadata_fields({"x-meta-a": value, "x-meta-b": "c"})) == [("x-meta-b", "c")]
    assert list(metadata_fields({"x-meta-" + value: "a"})) == []


def test_only_known_names_are_given_back() -> None:
    assert list(metadata_fields({".s3-etag": "a", "set-cookie": "b"})) == []
