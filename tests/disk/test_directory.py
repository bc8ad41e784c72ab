"""Whether a folder is a data directory: asked before anything is made in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.engines.local.disk import blob_folder, directory, layout, record
from services.engines.local.disk.layout import Layout


def make_blob(data_dir: Layout, blob_id: int) -> None:
    """A folder with a state file, as either server leaves it."""
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
