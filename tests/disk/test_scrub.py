"""Re-reading while writers and the gc work: a blob that is being made or removed is never called damaged."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.engines.local.disk import blob_folder, record
from services.engines.local.disk.layout import Layout
from services.engines.local.upkeep import scrubber
from tests.support.stores import memory_folder

Step = Callable[[], object]
_CALLS = frozenset({"open", "read", "stat", "fstat", "pread"})
_SLOTS = 9  # calls of `check_blob` between which something may happen; more calls would show nothing new


class _Between:
    """Like `os`, but does the steps that are due before each disk call."""

    def __init__(self, due: list[int], steps: list[Step]) -> None:
        self._left = list(zip(due, steps, strict=True))
        self._calls = 0

    def go_on(self) -> None:
        while self._left and self._left[0][0] <= self._calls:
            self._left.pop(0)[1]()
        self._calls += 1

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in _CALLS:
            return real

        def call(*args: Any, **options: Any) -> Any:
            self.go_on()
            return real(*args, **options)

        return call


def complete(blob_id: int) -> bytes:
    """The state of an empty blob."""
    whole = record.whole(blob_id, "a", 1, "Blob Created & Saved!", 1, "text/plain", "", 0, *_SUMS)
    return record.dump(whole)


_SUMS = (bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), b"")


def create(data_dir: Layout) -> list[Step]:
    folder = data_dir.folder(7)
    return [
        lambda: os.mkdir(folder),
        lambda: Path(folder, "data.raw.tmp").touch(),
        lambda: Path(data_dir.state(7) + ".tmp").write_bytes(complete(7)),
        lambda: os.rename(f"{folder}/data.raw.tmp", f"{folder}/data.raw"),
        lambda: os.rename(data_dir.state(7) + ".tmp", data_dir.state(7)),
    ]


def collect(data_dir: Layout) -> list[Step]:
    """The gc removes a folder, its files in the worst order. Then the id is used again."""
    gone = f"{data_dir.root}/.gone"
    return [
        lambda: os.rename(data_dir.folder(7), gone),
        lambda: os.unlink(f"{gone}/{os.path.basename(data_dir.state(7))}"),
        lambda: os.unlink(f"{gone}/data.raw"),
        lambda: os.rmdir(gone),
        lambda: os.mkdir(data_dir.folder(7)),
    ]


def collect_in_place(data_dir: Layout) -> list[Step]:
    return [
        lambda: os.unlink(data_dir.data(7)),
        lambda: os.unlink(data_dir.state(7)),
        lambda: os.rmdir(data_dir.folder(7)),
    ]


def create_and_collect(data_dir: Layout) -> list[Step]:
    """The end of a create, then its delete and collection. A worker may be suspended for that long."""
    return [*create(data_dir)[-2:], *collect(data_dir)[:3]]


# What is there before: the first steps of a create, so many.
_BEFORE: dict[Callable[[Layout], list[Step]], int] = {
    create: 0,
    create_and_collect: 3,
    collect: 5,
    collect_in_place: 5,
}


@pytest.mark.parametrize("steps_of", list(_BEFORE))
def test_what_is_being_created_or_removed_is_not_damaged(
    steps_of: Callable[[Layout], list[Step]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="blobkeep-scrub-", dir=memory_folder()) as base:
        for_every_order(steps_of, base, monkeypatch)


def for_every_order(
    steps_of: Callable[[Layout], list[Step]], base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = len(steps_of(Layout("/", 16)))
    for number, due in enumerate(itertools.combinations_with_replacement(range(_SLOTS), count)):
        data_dir = Layout(f"{base}/{number}", 16)
        os.mkdir(data_dir.root)
        for step in create(data_dir)[: _BEFORE[steps_of]]:
            step()
        if _BEFORE[steps_of] == len(create(data_dir)):
            blob = blob_folder.read_record(data_dir, 7)
            blob_folder.write_failure(data_dir, blob_folder.failed(blob, "Deleted!", 2), synced=False)
        between = _Between(list(due), steps_of(data_dir))
        monkeypatch.setattr(scrubber, "os", between)
        monkeypatch.setattr(blob_folder, "os", between)
        found = scrubber.check_blob(data_dir, 7, scrubber.ScrubTally(), lambda _: None)
        monkeypatch.undo()
        assert found is None, due


def test_data_whose_state_is_gone_is_damaged(tmp_path: Path) -> None:
    data_dir = Layout(str(tmp_path), 16)
    for step in create(data_dir):
        step()
    os.unlink(data_dir.state(7))
    found = scrubber.check_blob(data_dir, 7, scrubber.ScrubTally(), lambda _: None)
    assert found is not None
    assert (found.id, found.seq, found.reason) == (7, 0, "its state file is missing")
