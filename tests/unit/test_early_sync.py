"""The server syncs early when writes come quickly and much is dirty."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.engines.local.journal import early_sync
from services.engines.local.journal.early_sync import EarlySync, dirty_bytes

PORTION = early_sync._PORTION_BYTES
MUCH = early_sync._DIRTY_BYTES
PAGE = os.sysconf("SC_PAGE_SIZE")


class World:
    """The time, and what is dirty."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.dirty = 0
        self.backlog = EarlySync(lambda: self.dirty, lambda: self.now_s)


@pytest.fixture
def world() -> World:
    return World()


def test_a_look_is_due_after_each_portion_that_came_quickly(world: World) -> None:
    looks = [world.backlog.grew(PORTION // 4) for _ in range(12)]
    assert looks == [False, False, False, True] * 3


def test_where_writes_come_slowly_nobody_looks(world: World) -> None:
    for _ in range(3):
        world.now_s += early_sync._QUICKLY_S * 1.1
        assert not world.backlog.grew(PORTION)
    world.now_s += early_sync._QUICKLY_S / 2
    assert world.backlog.grew(PORTION)


def test_a_sync_is_due_where_much_is_dirty(world: World) -> None:
    world.dirty = MUCH - 1
    assert not world.backlog.is_due()
    world.dirty = MUCH
    assert world.backlog.is_due()


def test_what_a_sync_left_is_of_another_disk_and_does_not_count(world: World) -> None:
    world.dirty = 10 * MUCH
    assert world.backlog.is_due()
    world.dirty = 9 * MUCH
    world.backlog.synced(0.0)
    world.dirty = 10 * MUCH - 1
    assert not world.backlog.is_due()
    world.dirty = 10 * MUCH
    assert world.backlog.is_due()


def test_what_another_disk_has_written_meanwhile_does_not_hide_what_comes(world: World) -> None:
    world.dirty = 10 * MUCH
    world.backlog.synced(0.0)
    world.dirty = MUCH
    assert not world.backlog.is_due()
    world.dirty = 2 * MUCH
    assert world.backlog.is_due()


def test_after_a_sync_the_disk_is_left_alone_as_long(world: World) -> None:
    world.backlog.synced(3.0)
    world.dirty = MUCH
    world.now_s += 2.9
    assert not world.backlog.is_due()
    world.now_s += 0.2
    assert world.backlog.is_due()


def test_how_much_is_dirty_is_read_from_the_kernel(tmp_path: Path) -> None:
    counts = tmp_path / "vmstat"
    counts.write_text("nr_free_pages 1\nnr_dirty_threshold 2\nnr_dirty 345\nnr_writeback 6\n")
    assert dirty_bytes(str(counts)) == 345 * PAGE
    counts.write_text("nr_free_pages 1\n")
    assert dirty_bytes(str(counts)) == 0
    assert dirty_bytes(str(tmp_path / "absent")) == 0


@pytest.mark.skipif(not os.path.exists("/proc/vmstat"), reason="no Linux")
def test_this_kernel_says_how_much_is_dirty() -> None:
    assert b"\nnr_dirty " in Path("/proc/vmstat").read_bytes()
