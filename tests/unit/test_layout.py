"""Names under DIR: ids, ours, foreign; where folders are for both widths."""

from __future__ import annotations

import pytest

from services.engines.local.disk.layout import OUR_NAMES, Layout, parse_id


@pytest.mark.parametrize(("name", "number"), [("0", 0), ("7", 7), ("13342", 13342), ("65535", 65535)])
def test_a_number_without_leading_zeros_is_an_id(name: str, number: int) -> None:
    assert parse_id(name) == number


@pytest.mark.parametrize(
    "name", ["", "00", "007", "65536", "100000", "-1", "+1", "1_0", " 1", "1.0", "٣", "²", "a"]
)
def test_any_other_name_is_not(name: str) -> None:
    assert parse_id(name) is None


def test_the_folder_of_a_wide_id_stands_in_one_of_its_upper_half() -> None:
    narrow, wide = Layout("/d", 16), Layout("/d", 32)
    assert narrow.folder(13342) == "/d/13342"
    assert wide.folder(13342) == "/d/0/13342"
    assert wide.folder((9 << 16) + 5) == "/d/9/5"
    assert (narrow.parent(5), wide.parent((9 << 16) + 5)) == ("/d", "/d/9")
    assert wide.state(5) == "/d/0/5/blob_state.base64.json"
    assert wide.data(5) == "/d/0/5/data.raw"


def test_no_name_of_ours_is_an_id_and_all_are_hidden() -> None:
    assert all(parse_id(name) is None and name.startswith(".") for name in OUR_NAMES)


def test_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="16 or 32"):
        Layout("/d", 64)
