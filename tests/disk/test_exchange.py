"""`durable.exchange`: one state takes the place of another, atomically, on any file system."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import pytest

from common import durable


def test_the_new_content_gets_the_name_and_the_old_one_stays_behind(tmp_path: Path) -> None:
    new, old = tmp_path / "state.tmp", tmp_path / "state"
    new.write_text("new")
    old.write_text("old")
    durable.exchange(str(new), str(old))
    assert (old.read_text(), new.read_text()) == ("new", "old")


def test_where_nothing_is_there_to_exchange_with_it_is_a_rename(tmp_path: Path) -> None:
    new, old = tmp_path / "state.tmp", tmp_path / "state"
    new.write_text("new")
    durable.exchange(str(new), str(old))
    assert old.read_text() == "new"
    assert not new.exists()


def test_a_file_system_that_cannot_exchange_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(durable, "_renameat2", refuse)
    new, old = tmp_path / "state.tmp", tmp_path / "state"
    new.write_text("new")
    old.write_text("old")
    durable.exchange(str(new), str(old))
    assert old.read_text() == "new"
    assert not new.exists()


def test_a_new_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("old")
    with pytest.raises(FileNotFoundError):
        durable.exchange(str(tmp_path / "state.tmp"), str(tmp_path / "state"))
    with pytest.raises(NotADirectoryError):
        durable.exchange(str(tmp_path / "state" / "x.tmp"), str(tmp_path / "state" / "x"))
