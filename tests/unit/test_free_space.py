"""The free space of the disk is remembered for a moment, but nothing is refused without a new look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import NoSpace
from services.engines.local.serving.free_space import FreeSpace


def free_bytes(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def test_a_body_larger_than_what_may_be_used_is_refused_and_a_small_one_let_in(tmp_path: Path) -> None:
    space = FreeSpace(str(tmp_path), free_bytes(tmp_path) // 2)
    with pytest.raises(NoSpace, match="no room"):
        space.check(free_bytes(tmp_path) * 3 // 4)
    space.check(1024)


def test_nothing_is_let_in_while_less_than_the_minimum_is_free(tmp_path: Path) -> None:
    space = FreeSpace(str(tmp_path), free_bytes(tmp_path) * 2)
    with pytest.raises(NoSpace):
        space.check(0)


def test_what_was_let_in_counts_until_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    real = os.statvfs

    def statvfs(path: str) -> os.statvfs_result:
        looks.append(path)
        return real(path)

    monkeypatch.setattr(os, "statvfs", statvfs)
    space = FreeSpace(str(tmp_path), 0)
    third = real(tmp_path).f_bavail * real(tmp_path).f_frsize // 3
    space.check(third)
    space.check(third)
    before = len(looks)
    space.check(third * 2)  # too much by the remembered figure, so it looks again before it refuses
    assert len(looks) == before + 1
