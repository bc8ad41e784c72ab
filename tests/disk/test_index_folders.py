"""Pages of folders come from marks and nets of runs, and are those that the blobs themselves give."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engines.local.disk.blob import Blob
from services.engines.local.index import catalogue, folder_search, run_writer, stretches
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.format import folder_of
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.merging import merged
from services.engines.local.index.run import Paused, Run
from services.engines.local.index.run_writer import write_run
from services.engines.local.index.stretches import Nets, NetsOfChanges, NetsOfRuns
from services.engines.local.serving.index import Index
from services.engines.local.serving.page import PageWalk
from services.store import Page
from tests.support.index_blobs import SALT, blob
from tests.support.pages import page_of
from tests.support.stores import memory_folder

# Names around "/" in the order of locations, so that folders begin, end and hold others within a block.
NAMES = st.text("./0a", min_size=1, max_size=5)
PARTS = st.lists(st.dictionaries(NAMES, st.booleans(), max_size=12), max_size=4)


class Stored:
    """Blobs in an index on disk, and in maps."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._made = 0
        self._paths: dict[Run, str] = {}
        self.live: dict[str, Blob] = {}
        self.catalogue = Catalogue([], SALT, IdSet(), 0)

    def change(self, changes: Iterable[tuple[str, bool]]) -> None:
        """Put (True) or delete these."""
        for name, is_put in changes:
            self._made += 1
            self.catalogue.show(name, blob(name, self._made) if is_put else None)
            if is_put:
                self.live[name] = blob(name, self._made)
            else:
                self.live.pop(name, None)

    def seal(self) -> None:
        """All changes become a run."""
        frozen = self.catalogue.freeze()
        nets = NetsOfChanges(frozen.nets.items())
        self.catalogue.thaw(self._written(frozen.items(), nets) if frozen else None)

    def merge(self, first: int, end: int) -> None:
        """These runs become one."""
        runs = self.catalogue.runs[first:end]
        if runs:
            are_all = runs[-1] is self.catalogue.runs[-1]
            nets = None if are_all else NetsOfRuns([run.nets() for run in runs])
            self.catalogue.replace(runs, self._written(list(merged(runs, are_all=are_all)), nets))

    def _written(self, items: list[tuple[str, Blob | None]], nets: Nets | None) -> Run:
        self._made += 1
        path = f"{self._folder}/{self._made}.run"
        run = Run(path, write_run(path, items, len(items), SALT, nets))
        self._paths[run] = path
        return run

    def reopened(self, folder: str) -> Stored:
        """The same blobs, if all are sealed, in runs of which nothing was read. New ones go to `folder`."""
        made = Stored(folder)
        made._made, made.live = self._made, dict(self.live)
        runs = [Run(self._paths[run], run.info) for run in self.catalogue.runs]
        made.catalogue = Catalogue(runs, SALT, IdSet(), 0)
        return made

    def must_be_the_maps(self, prefix: str, after: str, limit: int) -> None:
        plain = page_of(Index(dict(self.live), {}), prefix, "/", after, limit)
        page, _ = self.page_in_turns(prefix, "/", after, limit)
        assert page == plain, (prefix, after, limit)

    def page_in_turns(self, prefix: str, delimiter: str, after: str, limit: int) -> tuple[Page, int]:
        """A page, and how often it was stopped so that others had their turn."""
        walk, stops = PageWalk(self.catalogue, prefix, delimiter, after, limit), 0
        while True:
            try:
                return walk.take(), stops
            except Paused:
                stops += 1
                assert stops < 1000, "it does not get on"


@settings(deadline=None, max_examples=150)
@given(
    *(st.sets(NAMES, max_size=40), PARTS, st.tuples(st.integers(0, 3), st.integers(1, 4))),
    *(st.lists(NAMES, max_size=6), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0, 1, 2, 1000])),
)
def test_pages_of_folders_are_those_of_the_maps(
    names: set[str],
    parts: list[dict[str, bool]],
    merging: tuple[int, int],
    asked: list[str],
    block_blobs: int,
    marks: int,
    passed: int,
) -> None:
    """Some runs, neighbours of which were merged; the last changes are in memory, the ones before frozen."""
    with (
        tempfile.TemporaryDirectory(dir=memory_folder()) as folder,
        mock.patch.object(run_writer, "BLOCK_BLOBS", block_blobs),
        mock.patch.object(run_writer, "FENCE_BLOCKS", 3),
        mock.patch.object(stretches, "FOLDERS_MARKS", marks),
        mock.patch.object(catalogue, "_MOST_PASSED", passed),
        mock.patch.object(folder_search, "_MOST_PASSED", passed),
    ):
        stored = Stored(folder)
        stored.change((name, True) for name in names)
        for number, part in enumerate(parts):
            if number % 3 < 2:
                stored.seal()
            else:
                stored.catalogue.freeze()
            stored.change(part.items())
        if stored.catalogue.frozen is None:
            stored.merge(*merging)
            left: Counter[str] = Counter(stored.catalogue.changed.nets)
            for run in stored.catalogue.runs:
                for mark, net in run.nets():
                    left[folder_of(mark)] += net
            assert {at: net for at, net in left.items() if net} == Counter(map(folder_of, stored.live))
        for prefix in ("", "a/", "0", *asked[:2]):
            for after in ("", *stored.live, *asked):
                for start in (after, after[: after.rfind("/") + 1]):
                    stored.must_be_the_maps(prefix, start, 2)
            stored.must_be_the_maps(prefix, "", 100)


@pytest.mark.parametrize("deleted", ["none", "the first of each", "every second folder"])
def test_a_page_of_folders_reads_no_blob(tmp_path: Path, deleted: str) -> None:
    """It read a block for each folder that had lost a blob since the runs were merged."""
    stored = Stored(str(tmp_path))
    names = [f"{number // 40:03}/{number:05}" for number in range(4000)]
    stored.change((name, True) for name in names)
    stored.seal()
    for part in (0, 1):  # into a run, and then in memory
        some = names[2000 * part : 2000 * part + 2000]
        if deleted == "the first of each":
            stored.change((name, False) for name in some[::40])
        elif deleted == "every second folder":
            stored.change((name, False) for name in some if int(name[:3]) % 2)
        if not part:
            stored.seal()
    with mock.patch.object(Run, "_rows_at", side_effect=AssertionError("it was read")):
        stored.must_be_the_maps("", "", 30)
        stored.must_be_the_maps("", "020/", 60)
        stored.must_be_the_maps("", "", 1000)


def test_folders_that_many_blocks_tell_of_are_found(tmp_path: Path) -> None:
    """Where what is left of a folder is not told by one folder block, a blob is read."""
    stored = Stored(str(tmp_path))
    names = [f"{outer}/{inner:03}/{name}" for outer in "abc" for inner in range(700) for name in "xy"]
    stored.change((name, True) for name in names)
    stored.seal()
    stored.change((name, False) for name in names if not name.startswith("a/699"))
    for _ in range(2):
        for prefix in ("", "a/", "b/"):
            for after in ("", "a/", "a/500/", "a/500/x", "b/"):
                stored.must_be_the_maps(prefix, after, 1)
                stored.must_be_the_maps(prefix, after, 1000)
        stored.seal()


def test_a_merge_of_some_runs_keeps_how_many_blobs_were_deleted(tmp_path: Path) -> None:
    stored = Stored(str(tmp_path))
    stored.change((name, True) for name in ("a/x", "a/y", "b/x"))
    for name in ("a/x", "a/y"):
        stored.seal()
        stored.change([(name, False)])
    stored.seal()
    stored.merge(0, 2)
    assert len(stored.catalogue.runs) == 2
    stored.must_be_the_maps("", "", 10)


SOME_DELETED = 20_000


@pytest.fixture(scope="module", params=[False, True], ids=["in memory", "sealed"])
def much_deleted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """One folder, behind it one whose first 20,000 folders were deleted, and then another."""
    stored = Stored(str(tmp_path_factory.mktemp("deleted")))
    names = [f"b/{number:05}/x" for number in range(SOME_DELETED + 1)]
    stored.change((name, True) for name in ["a/a", "a/b/x", *names, "c/x"])
    stored.seal()
    stored.change((name, False) for name in names[:-1])
    if request.param:
        stored.seal()
    return stored


def test_a_page_does_not_look_behind_its_prefix(much_deleted: Stored) -> None:
    """It passed over all that was deleted there, to find that what follows is not below the prefix."""
    for delimiter in ("", "/"):
        page, stops = much_deleted.page_in_turns("a/", delimiter, "", 10)
        assert page == page_of(Index(dict(much_deleted.live), {}), "a/", delimiter, "", 10)
        assert stops == 0


@pytest.mark.parametrize(("prefix", "delimiter"), [("", ""), ("", "/"), ("b/", "/"), ("b/", "")])
def test_others_have_their_turn_while_much_deleted_is_passed_over(
    much_deleted: Stored, prefix: str, delimiter: str
) -> None:
    """It held the event loop for seconds where a million had been deleted. It goes on from there."""
    page, stops = much_deleted.page_in_turns(prefix, delimiter, "", 10)
    assert page == page_of(Index(dict(much_deleted.live), {}), prefix, delimiter, "", 10)
    least, most = SOME_DELETED // 1100, SOME_DELETED // 500
    assert least <= stops <= most


def test_all_that_follow_are_found_behind_much_that_was_deleted(much_deleted: Stored) -> None:
    found = asyncio.run(Index(much_deleted.catalogue, {}).after("a/a", 3))
    assert [blob.location for blob in found] == ["a/b/x", f"b/{SOME_DELETED:05}/x", "c/x"]
