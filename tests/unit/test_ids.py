"""Ids are taken by an exclusive mkdir, and refused at once if every id has a live blob."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from common.errors import NoIdLeft
from services.engines.local.disk import blob_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.serving.ids import IdAllocator


def test_where_all_ids_are_live_an_upload_is_refused_before_its_body(tmp_path: Path) -> None:
    used = set(range(65_535))
    ids = IdAllocator(Layout(str(tmp_path), 16), used)
    ids.check()
    used.add(65_535)
    with pytest.raises(NoIdLeft) as refused:
        ids.check()
    assert not refused.value.reclaiming  # the gc frees none of these


def test_the_last_free_id_is_found(tmp_path: Path) -> None:
    used = set(range(65_536)) - {4711}
    assert IdAllocator(Layout(str(tmp_path), 16), used).take() == 4711
    assert (tmp_path / "4711").is_dir()


def test_where_no_id_is_free_not_every_write_lists_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing takes 40 ms, and every delete waited for it. So a delete took 591 ms beside refused POSTs."""
    clock = [100.0]
    listings = []

    def listdir(path: str) -> list[str]:
        listings.append(path)
        clock[0] += 0.04
        return [str(number) for number in range(65_536) if number not in free]

    monkeypatch.setattr(os, "listdir", listdir)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    free: set[int] = set()
    used = set(range(65_000))  # the rest is garbage
    ids = IdAllocator(Layout(str(tmp_path), 16), used)
    taken = set(range(65_536))

    def take(data_dir: Layout, number: int) -> bool:
        was_free = number not in taken
        taken.add(number)
        return was_free

    monkeypatch.setattr(blob_folder, "take", take)
    for _ in range(100):
        with pytest.raises(NoIdLeft) as refused:
            ids.take()
        with pytest.raises(NoIdLeft):
            ids.check()
    assert len(listings) == 1
    assert refused.value.reclaiming
    free |= {65_100, 65_200, 65_300}  # the gc was there
    taken -= free
    clock[0] += 0.5
    ids.check()
    assert {ids.take(), ids.take(), ids.take()} == free
    assert len(listings) == 2
