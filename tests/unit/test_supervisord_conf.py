"""Where the control socket of supervisord is."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest

from common.config import Config
from services import supervisord_conf

LONG = "d" * 200  # no unix socket has such a path


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "runtime"
    path.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    return path


def socket_of(options: Config) -> Path:
    found = re.search(r"serverurl=unix://(.*)", supervisord_conf.write_conf(options).read_text())
    assert found
    return Path(found[1])


def test_it_lies_with_the_data_where_its_path_is_short(runtime: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        assert socket_of(Config(dir=short)).is_relative_to(short)
    assert not os.listdir(runtime)


def test_else_all_starts_on_a_directory_use_one_folder_of_ours_alone(tmp_path: Path, runtime: Path) -> None:
    options = Config(dir=str(tmp_path / LONG))
    first = socket_of(options)
    assert first.parent.parent == runtime
    assert first.parent.stat().st_mode & 0o777 == 0o700
    assert socket_of(options) == first
    assert os.listdir(runtime) == [first.parent.name]
    assert socket_of(Config(dir=str(tmp_path / LONG / "other"))) != first


def test_a_folder_that_others_may_write_in_is_not_used(tmp_path: Path, runtime: Path) -> None:
    options = Config(dir=str(tmp_path / LONG))
    first = socket_of(options).parent
    first.chmod(0o777)
    second = socket_of(options).parent
    assert second != first
    assert second.stat().st_mode & 0o777 == 0o700
    second.rmdir()
    first.rmdir()
    first.symlink_to(tmp_path)
    assert socket_of(options).parent not in (first, tmp_path)
