"""Is a folder a data directory? This is checked before anything is made in it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from services.engines.local.disk import blob_folder, directory, layout, record, reserve
from services.engines.local.disk.layout import Layout


def make_blob(data_dir: Layout, blob_id: int) -> None:
    """A folder with a state file, as the original server or ours leaves it."""
    os.makedirs(data_dir.folder(blob_id))
    first = record.created(blob_id, "a", 1, "Blob Created & Saved!", 1, "text/plain", "")
    blob_folder.write_record(data_dir, first)


@pytest.mark.parametrize("id_bits", [16, 32])
def test_a_folder_with_a_blob_is_one_whatever_its_format_file_says(tmp_path: Path, id_bits: int) -> None:
    make_blob(Layout(str(tmp_path), id_bits), 70_000 if id_bits == 32 else 7)
    assert directory.is_blobkeep(str(tmp_path))


@pytest.mark.parametrize("name", [layout.FORMAT_NAME, ".journal.0", ".journal.1"])
def test_a_folder_with_our_format_file_or_journal_is_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"damaged")
    assert directory.is_blobkeep(str(tmp_path))


def test_what_a_server_has_opened_is_one(tmp_path: Path) -> None:
    directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    assert directory.is_blobkeep(str(tmp_path / "data"))


@pytest.mark.parametrize("names", [[], ["lost+found"], ["photos", "7/readme", ".lock", ".status/gc.json"]])
def test_any_other_folder_is_none_and_stays_as_it_is(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    before = sorted(tmp_path.rglob("*"))
    assert not directory.is_blobkeep(str(tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_missing_or_no_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert not directory.is_blobkeep(str(tmp_path / "missing"))
    assert not directory.is_blobkeep(str(tmp_path / "file"))
    assert not directory.is_blobkeep(str(tmp_path / "file" / "below"))


def test_whoever_holds_the_lock_makes_what_deletes_and_the_gc_will_need(tmp_path: Path) -> None:
    data_dir = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    for name in (layout.GONE_NAME, layout.QUARANTINE_NAME, layout.STATUS_NAME):
        assert os.path.isdir(data_dir.ours(name))
    for name in layout.FIXED_FILES:
        assert os.path.isfile(data_dir.ours(name))


@pytest.mark.parametrize("content", [b"", bytes(1 << 20)])
def test_the_reserve_of_earlier_versions_is_replaced(tmp_path: Path, content: bytes) -> None:
    data_dir = Layout(str(tmp_path), 16)
    (tmp_path / layout.RESERVE_NAME).write_bytes(content)
    assert reserve.keep(data_dir)
    assert len(os.listdir(data_dir.ours(layout.RESERVE_NAME))) == reserve.SPARES


def test_a_link_in_the_place_of_the_reserve_is_not_followed(tmp_path: Path) -> None:
    home, other = tmp_path / "data", tmp_path / "other"
    home.mkdir()
    other.mkdir()
    for number in range(reserve.SPARES):
        (other / f"{number}").touch()
    (home / layout.RESERVE_NAME).symlink_to(other)
    data_dir = Layout(str(home), 16)
    assert not reserve.keep(data_dir)

    def full() -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        reserve.finding_room(data_dir, full)
    assert len(list(other.iterdir())) == reserve.SPARES


def test_rows_are_named_as_a_look_at_each_name_does(tmp_path: Path) -> None:
    data_dir = directory.open_directory(str(tmp_path / "data"), 32, owner=True)
    root = Path(data_dir.root)
    for name in ("0/1", "0/65535", "3/7", "5"):
        (root / name).mkdir(parents=True)
    mixed = root / "4"
    (mixed / "9").mkdir(parents=True)
    (mixed / "10").touch()  # no folder
    (mixed / "11").symlink_to(root / "3" / "7")
    (mixed / "007").mkdir()  # no id
    (root / "6").touch()
    for row, name in enumerate(
        ["007", "65536", "-0", "1.0", "1,2", " 1", "x", "１"], 10
    ):  # as folders: no ids
        (root / f"{row}" / name).mkdir(parents=True)
    ids: list[int] = []
    foreign: list[str] = []
    for row, some, strange in directory.rows_in(data_dir):
        assert all(blob_id >> 16 == row for blob_id in some)
        ids += some
        foreign += strange
    assert sorted(ids) == [1, 65535, (3 << 16) + 7, (4 << 16) + 9]
    named = {"4/007", "4/10", "4/11", "6", "10/007", "11/65536", "12/-0", "13/1.0", "14/1,2", "15/ 1", "16/x"}
    assert set(foreign) == named | {"17/１"}
