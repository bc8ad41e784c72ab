"""Removing a folder follows no link. Otherwise somebody who may write in a data directory could make root
empty another folder.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common import durable
from services.engines.local.disk import blob_folder, directory, layout, quarantine
from services.engines.local.disk.layout import Layout
from services.engines.local.upkeep import snapshot, trash
from services.engines.local.upkeep.collector import Collector
from services.tools import bench
from services.tools.output import Output


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of somebody else, which must stay."""
    path = tmp_path / "victim"
    (path / "5-5").mkdir(parents=True)
    (path / "5-5" / "kept").write_bytes(b"kept")
    (path / "kept").write_bytes(b"kept")
    return path


@pytest.fixture
def data_dir(tmp_path: Path) -> Layout:
    return directory.open_directory(str(tmp_path / "data"), 16, owner=True)


def link(data_dir: Layout, name: str, target: Path) -> None:
    """Put a link to `target` in the place of `name`."""
    path = Path(data_dir.root, name)
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        path.rmdir()
    path.symlink_to(target)


def run_bench(data_dir: Layout) -> None:
    args = argparse.Namespace(folder=data_dir.root, dir=data_dir.root, seconds=0.1)
    bench.run(args, Output(as_json=True))


def export(data_dir: Layout) -> None:
    snapshot.take(data_dir).close()


def drop(data_dir: Layout) -> None:
    quarantine.drop(data_dir, "5-5")


def collect(data_dir: Layout) -> None:
    gc = Collector(data_dir, 5.0)
    gc.run_once()
    gc.close()


def take_out(data_dir: Layout) -> None:
    os.mkdir(data_dir.folder(5))
    trash.take_out(data_dir, 5, 5)


def discard(data_dir: Layout) -> None:
    blob_folder.discard(data_dir, 5)


@pytest.mark.parametrize(
    ("name", "remove"),
    [
        (layout.BENCH_NAME, run_bench),
        (layout.EXPORTS_NAME, export),
        (f"{layout.EXPORTS_NAME}/1-1", export),
        (layout.QUARANTINE_NAME, drop),
        (f"{layout.QUARANTINE_NAME}/5-5", drop),
        (layout.GONE_NAME, drop),
        (f"{layout.GONE_NAME}/quarantine-5-5", drop),
        (layout.GONE_NAME, collect),
        (f"{layout.GONE_NAME}/5-5", collect),
        (layout.GONE_NAME, take_out),
        (f"{layout.GONE_NAME}/5-5", take_out),
        ("5", discard),
    ],
)
def test_a_link_is_not_followed(
    name: str, remove: Callable[[Layout], None], data_dir: Layout, victim: Path
) -> None:
    link(data_dir, name, victim)
    with contextlib.suppress(NotADirectoryError, FileNotFoundError):
        remove(data_dir)
    assert sorted(str(path.relative_to(victim)) for path in victim.rglob("*")) == ["5-5", "5-5/kept", "kept"]


def test_a_link_that_takes_the_place_of_a_folder_meanwhile_is_not_followed(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "home" / "5-5" / "inner"
    folder.mkdir(parents=True)
    opened = durable._open_below

    def swapping(fd: int, name: str) -> int:
        if name == "inner":
            shutil.rmtree(folder)
            folder.symlink_to(victim)
        return opened(fd, name)

    monkeypatch.setattr(durable, "_open_below", swapping)
    with pytest.raises(NotADirectoryError):
        durable.remove_tree(str(tmp_path / "home" / "5-5"), under=str(tmp_path))
    assert (victim / "kept").exists()


def test_links_within_are_removed_and_not_what_is_behind_them(tmp_path: Path, victim: Path) -> None:
    folder = tmp_path / "home" / "5-5"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "file").write_bytes(bytes(100))
    (folder / "link").symlink_to(victim)
    (folder / "a" / "b" / "link").symlink_to(victim / "kept")
    freed_bytes = durable.remove_tree(str(folder), under=str(tmp_path))
    assert freed_bytes >= 100
    assert not folder.exists()
    assert (victim / "kept").read_bytes() == b"kept"
    assert durable.remove_tree(str(folder), under=str(tmp_path)) == 0
    assert durable.remove_tree(str(folder / "not" / "there"), under=str(tmp_path)) == 0
