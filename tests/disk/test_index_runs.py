"""Runs of the index: what was written is found, in order, and corrupt bytes are never believed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engines.local.disk.blob import Blob
from services.engines.local.index import run_writer
from services.engines.local.index.catalogue import newest
from services.engines.local.index.format import (
    PAGE_ENTRIES,
    IndexDamaged,
    RunInfo,
    id_key,
    location_key,
)
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.merge_worker import Task, have_done, work
from services.engines.local.index.merging import merged, to_merge
from services.engines.local.index.run import NotCached, Run
from services.engines.local.index.run_writer import write_run
from tests.support.campaign import choose, chooser, tally

SALT = b"0123456789abcdef"
Items = list[tuple[str, Blob | None]]


def blob(location: str, number: int) -> Blob:
    return Blob.make(
        location=location,
        id=number,
        seq=1000 + number,
        size=4 * number,
        sha256=bytes(32),
        crcs=b"1234" if number else b"",
        type="text/plain",
        encoding="",
        modified_ns=number,
        metadata={"x-meta-a": "b"} if number % 5 == 0 else {},
    )


def some(count: int, gone: int = 7) -> Items:
    """Locations in order. Every `gone`-th one was deleted."""
    return [(f"a/{n:05}", None if n % gone == 0 else blob(f"a/{n:05}", n)) for n in range(count)]


def made(path: Path, items: Items) -> Run:
    info = write_run(str(path), items, len(items), SALT)
    return Run(str(path), info)


def content(run: Run, start: str = "") -> Items:
    """All from `start` on, as it was given to be written."""
    return [pair for span in run.spans(start, True) for pair in zip(*span, strict=True)]


def answers(run: Run, items: Items) -> None:
    """Every query of a run gives what was written."""
    for location, expected in items:
        assert run.find(location, location_key(SALT, location), True) == (expected,)
        if expected is not None:
            assert run.with_id(expected.id, id_key(SALT, expected.id), True) == [expected]
    for location in ("", "a/", "a/00003x", "b"):
        assert run.find(location, location_key(SALT, location), True) is None
    assert content(run) == items


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 5000])
def test_what_was_written_is_found(count: int, tmp_path: Path) -> None:
    items = some(count)
    run = made(tmp_path / "run", items)
    assert run.count == count
    answers(run, items)
    answers(Run(str(tmp_path / "run"), run.info), items)


def test_a_large_run_keeps_no_table_in_memory(tmp_path: Path) -> None:
    items = some(20_000)
    run = made(tmp_path / "run", items)
    assert run._table is None
    answers(run, items)


def test_a_read_begins_anywhere(tmp_path: Path) -> None:
    items = some(5000)
    run = made(tmp_path / "run", items)
    places = ["", "a/", "a/00031", "a/00032", "a/00032x", "a/04095", "a/04999", "b"]
    for start in [*places, *(location for location, _ in choose("index from", items, 40))]:
        assert content(run, start) == [item for item in items if item[0] >= start], start


def test_who_may_not_wait_is_told_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path / "run", some(20_000))
    key = location_key(SALT, "a/00001")

    def refuse(*_: object) -> int:
        raise BlockingIOError

    with monkeypatch.context() as patched:
        patched.setattr(os, "preadv", refuse)
        with pytest.raises(NotCached) as missing:
            run.find("a/00001", key, False)
        missing.value.fetch()
        assert run.find("a/00001", key, True) is not None
    assert run.find("a/00001", key, False) is not None


def test_a_file_system_without_the_flag_is_read_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(tmp_path / "run", some(100))

    def unknown(*_: object) -> int:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "preadv", unknown)
    assert run.find("a/00001", location_key(SALT, "a/00001"), False) is not None


def test_no_byte_of_a_run_turns_unseen(tmp_path: Path) -> None:
    """Each byte is changed in turn. A query gives what was written or raises an error, but never says
    "not there".
    """
    items = some(70)
    path = tmp_path / "run"
    info = made(path, items).info
    whole = path.read_bytes()
    random = chooser("index bytes")
    seen = 0
    for at in choose("index bytes", range(len(whole)), 160):
        turned = bytearray(whole)
        turned[at] ^= 1 << random.randrange(8)
        path.write_bytes(turned)
        tally("bytes turned", 1)
        try:
            run = Run(str(path), info)
            for location, expected in items:
                try:
                    assert run.find(location, location_key(SALT, location), True) == (expected,), at
                except IndexDamaged:
                    seen += 1
            answers(run, items)
        except IndexDamaged:
            seen += 1
    assert seen


def test_a_run_of_another_length_or_name_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "run"
    info = made(path, some(100)).info
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1, len(whole) + 1):
        path.write_bytes(whole.ljust(length, b"\0")[:length])
        with pytest.raises(IndexDamaged):
            Run(str(path), info)
    made(path, some(100))  # the same blobs, another run
    with pytest.raises(IndexDamaged):
        Run(str(path), info)
    path.unlink()
    with pytest.raises(IndexDamaged):
        Run(str(path), info)


def test_a_block_that_stands_elsewhere_is_not_believed(tmp_path: Path) -> None:
    """A write went to the wrong place: each block is valid, but in the place of another."""
    items = some(640, gone=1000)
    path = tmp_path / "run"
    run = made(path, items)
    by_length: dict[int, list[int]] = {}
    for at, after in itertools.pairwise(run._fence_at(run._fences[0], True).blocks):
        by_length.setdefault(after - at, []).append(at)
    length, (first, *_, second) = max(by_length.items(), key=lambda found: len(found[1]))
    content = bytearray(path.read_bytes())
    content[first : first + length], content[second : second + length] = (
        content[second : second + length],
        content[first : first + length],
    )
    path.write_bytes(content)
    with pytest.raises(IndexDamaged):
        answers(Run(str(path), run.info), items)


def test_more_hashes_than_a_page_holds_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_writer, "pages_for", lambda count: 1)
    write_run(str(tmp_path / "run"), some(PAGE_ENTRIES // 2, 1000), PAGE_ENTRIES // 2, SALT)
    with pytest.raises(OverflowError):
        write_run(str(tmp_path / "run"), some(PAGE_ENTRIES, 1000), PAGE_ENTRIES, SALT)


changes = st.dictionaries(st.text("ab/é0", max_size=4), st.one_of(st.none(), st.integers(1, 9)), max_size=9)


@settings(deadline=None, max_examples=40)
@given(st.lists(changes, min_size=1, max_size=5))
def test_the_newest_of_several_speaks(ages: list[dict[str, int | None]]) -> None:
    expected: dict[str, int | None] = {}
    for age in reversed(ages):
        expected |= age
    for most in (1, 3, 9):
        found = newest([spans_of(age, most) for age in ages])
        assert [pair for span in found for pair in zip(*span, strict=True)] == sorted(expected.items())


def spans_of(values: dict[str, int | None], most: int) -> Iterator[Any]:
    """As a run gives its blocks, `most` a block."""
    items = sorted(values.items())
    for begin in range(0, len(items), most):
        part = items[begin : begin + most]
        yield [at for at, _ in part], [value for _, value in part]


def test_runs_are_merged_into_one(tmp_path: Path) -> None:
    old = made(tmp_path / "old", some(300))
    new = made(tmp_path / "new", [(f"a/{n:05}", None if n % 2 else blob(f"a/{n:05}", n)) for n in range(150)])
    expected = dict(content(old) + content(new))
    assert dict(merged([new, old], are_all=False)) == expected
    left = {at: one for at, one in expected.items() if one is not None}
    for do in (work, have_done):
        info = do(Task(str(tmp_path), [new.info, old.info], True, "merged", SALT))
        run = Run(str(tmp_path / "merged"), info)
        assert dict(content(run)) == left


def test_damage_is_told_by_who_merges(tmp_path: Path) -> None:
    run = made(tmp_path / "old", some(300))
    content = bytearray((tmp_path / "old").read_bytes())
    content[1000] ^= 1
    (tmp_path / "old").write_bytes(content)
    with pytest.raises(IndexDamaged):
        have_done(Task(str(tmp_path), [run.info], True, "merged", SALT))
    with pytest.raises(ChildProcessError):
        have_done(Task(str(tmp_path / "nowhere"), [], True, "merged", SALT))


def runs(*counts: int) -> list[RunInfo]:
    return [RunInfo(str(n), count, 0, 0) for n, count in enumerate(counts)]


def test_neighbours_of_one_size_are_merged() -> None:
    assert to_merge(runs()) == ()
    assert to_merge(runs(10, 10, 10)) == ()
    assert len(to_merge(runs(10, 10, 10, 10))) == 4
    assert to_merge(runs(10, 10, 10, 1000)) == ()
    assert len(to_merge(runs(10, 10, 10, 10, 1000))) == 4
    assert len(to_merge(runs(10, 10, 10, 30, 60, 1000))) == 5


def test_runs_stay_few_and_are_seldom_written_anew() -> None:
    sizes: list[int] = []
    written = 0
    for _ in range(1000):
        sizes.insert(0, 1)
        if chosen := to_merge(runs(*sizes)):
            written += sum(run.count for run in chosen)
            sizes[: len(chosen)] = [sum(run.count for run in chosen)]
        assert len(sizes) <= 12
    assert written / 1000 < 6


@settings(deadline=None, max_examples=80)
@given(st.sets(st.integers(0, 3 << 16)), st.sets(st.integers(0, 3 << 16)), st.sets(st.integers(0, 65535)))
def test_a_set_of_ids_is_a_set(first: set[int], second: set[int], there: set[int]) -> None:
    ids = IdSet()
    for number in first:
        ids.add(number)
        ids.add(number)
    for number in second:
        ids.discard(number)
    expected = first - second
    assert len(ids) == len(expected)
    assert list(ids) == sorted(expected)
    assert all(left < right for left, right in pairwise(ids))
    assert all((number in ids) == (number in expected) for number in first | second)
    again = IdSet(ids.rows())
    assert (len(again), list(again)) == (len(ids), list(ids))
    row_1 = {number for number in expected if number >> 16 == 1}
    folders = {(1 << 16) + number for number in there}
    assert ids.differences(1, folders) == (sorted(folders - row_1), sorted(row_1 - folders))
