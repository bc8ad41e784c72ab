"""Files that commands write: what an error leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from common import durable
from services.tools.new_file import write_new_file


def test_nothing_is_left_of_a_file_whose_name_is_a_folders(tmp_path: Path) -> None:
    """The rename failed, and the file stayed under its temporary name."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_new_file(str(tmp_path / "taken"), lambda fd: durable.write_all(fd, b"a blob"))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
