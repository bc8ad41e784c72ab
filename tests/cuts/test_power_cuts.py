"""What was acknowledged is there after a power cut at any disk operation. The long run: `make power-cuts`."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from common import durable
from tests.cuts import campaign
from tests.cuts.check import Checker
from tests.cuts.cuts import all_images
from tests.cuts.disk import Disk, Image
from tests.cuts.recorder import ListLog, recording
from tests.cuts.scenarios import SCENARIOS
from tests.cuts.session import Expected, Mark

SEED = int(os.environ.get("CAMPAIGN_SEED") or 1)
DISKS_EACH = 20  # some 850 in all, second cuts included
# These find most mutations (tests/mutations/rows_cuts.py).
THOROUGHLY = ("small", "staged", "by_folders", "traded")
DISKS_THOROUGHLY = 80


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_acknowledged_is_lost(name: str) -> None:
    print(f"SEED={SEED}")  # noqa: T201 - shown where it fails
    size, served = (DISKS_THOROUGHLY, True) if name in THOROUGHLY else (DISKS_EACH, False)
    outcome = campaign.run(name, SEED, size, second_cuts=3, served=served)
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert outcome.disks.total() > size / 2


def record(tmp_path: Path, synced: bool) -> list[Image]:
    """Every disk that writing a file under another name, and renaming it, may leave."""
    log = ListLog()
    with recording(log):
        durable.replace(str(tmp_path / "a"), b"new", synced=synced)
    disk = Disk(str(tmp_path))
    found = []
    for op in log.ops:
        disk.apply(op)
        found += list(all_images(disk) or ())
    assert disk.whole() == {"a": b"new"}
    return found


def test_a_synced_file_has_its_bytes_and_its_name_may_be_lost(tmp_path: Path) -> None:
    found = record(tmp_path, synced=True)
    assert {} in found
    assert {"a": b"new"} in found
    assert {"a.tmp": b"new"} in found
    assert {"a": b""} not in found


def test_an_unsynced_file_may_have_its_name_and_no_bytes(tmp_path: Path) -> None:
    found = record(tmp_path, synced=False)
    assert {"a": b""} in found
    assert {"a": b"new"} in found


def test_a_synced_folder_has_its_entries(tmp_path: Path) -> None:
    log = ListLog()
    with recording(log):
        durable.replace_durably(str(tmp_path / "a"), b"old")
        durable.make_folder(str(tmp_path / "b"))
        durable.rename(str(tmp_path / "a"), str(tmp_path / "b" / "a"))
    disk = Disk(str(tmp_path))
    for op in log.ops:
        disk.apply(op)
    left = list(all_images(disk) or ())
    assert {"a": b"old"} in left  # the mkdir is lost, and so is the rename
    assert {"a": b"old", "b": None} in left
    assert {"b": None, "b/a": b"old"} in left
    assert {} in left  # the rename is kept, and the folder that it leads to is lost
    assert len(left) == 4


def test_a_loss_is_noticed(tmp_path: Path) -> None:
    expected = Expected()
    expected.take(Mark("begin", "a", b"1"))
    assert Checker(tmp_path, random.Random(SEED)).check({"data": None}, expected) == []
    expected.take(Mark("done", "a", b"1"))
    wrong = Checker(tmp_path, random.Random(SEED)).check({"data": None}, expected)
    assert wrong == ["after the cut: a is nothing instead of b'1' (1 bytes)"]
