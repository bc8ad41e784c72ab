"""Blobs in a lower layer of an overlay are moved, too, though their folders cannot be renamed (EXDEV)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.engines.local.disk import directory, layout, quarantine
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery import reconcile
from services.engines.local.upkeep.widen import widen
from tests.disk.test_gc import ids, put

BODY = b"x" * 1000


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Layout]:
    """An overlay with the blobs 7 and 8 in its lower layer."""
    paths = {name: tmp_path / name for name in ("lower", "upper", "work", "mounted")}
    for path in paths.values():
        path.mkdir(mode=0o700)
    lower = directory.open_directory(str(paths["lower"]), 16, owner=True)
    put(lower, 7, "keep")
    put(lower, 8, "move", BODY)
    options = ",".join(f"{name}dir={paths[name]}" for name in ("lower", "upper", "work"))
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(paths["mounted"])]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("overlays may not be mounted here")
    yield directory.open_directory(str(paths["mounted"]), 16, owner=True)
    subprocess.run(["umount", "-l", str(paths["mounted"])], check=False, capture_output=True)


def dying(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object], renames: int) -> None:
    """Do `work`, but stop it after so many renames."""
    left = iter(range(renames))
    real = os.rename

    def rename(old: str, new: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        real(old, new)

    with monkeypatch.context() as killed:
        killed.setattr(os, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            work()


@pytest.mark.parametrize("renames", [None, 2, 3, 4])
def test_a_damaged_blob_goes_to_quarantine(
    mounted: Layout, monkeypatch: pytest.MonkeyPatch, renames: int | None
) -> None:
    with open(mounted.data(8), "ab") as data:
        data.write(b"y")

    def move() -> object:
        return quarantine.move_in(mounted, 8, "move", 2, "for a test")

    if renames is None:
        move()
        assert ids(mounted) == {7}
    else:
        dying(monkeypatch, move, renames)
    found = reconcile.reconcile(mounted)
    assert list(found.live) == ["keep"]
    assert ids(mounted) == {7}
    home = Path(mounted.ours(layout.QUARANTINE_NAME))
    # All its files are still there, in two folders if a process died in between.
    kept = {path.name: path.stat().st_size for path in home.glob("8-*/*")}
    assert kept[layout.DATA_NAME] == len(BODY) + 1
    assert {layout.DATA_NAME, layout.STATE_NAME, layout.NOTE_NAME} <= set(kept)


@pytest.mark.parametrize("renames", [None, 1, 2, 3])
def test_the_directory_is_widened(
    mounted: Layout, monkeypatch: pytest.MonkeyPatch, renames: int | None
) -> None:
    if renames is not None:
        dying(monkeypatch, lambda: widen(mounted.root, 0.0, lambda *_: None), renames)
    widen(mounted.root, 0.0, lambda *_: None)
    wide = directory.open_directory(mounted.root, 32, owner=True)
    found = reconcile.reconcile(wide)
    assert (sorted(found.live), found.quarantined) == (["keep", "move"], [])
    assert Path(wide.data(8)).read_bytes() == BODY
