"""Function calls for each entry of a page, with the index on disk and in maps: see test_calls."""

from __future__ import annotations

import os
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from services.engines.local.disk import directory
from services.engines.local.disk.blob import Blob
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.run import Run
from services.engines.local.index.run_writer import write_run
from services.engines.local.serving.index import Index
from tests.disk.test_index_folders import Stored
from tests.support.index_blobs import SALT, blob
from tests.support.pages import page_of
from tests.support.rules import DataDirectory
from tests.support.work import calls_of

FOLDERS, EACH, LIMIT = 400, 10, 300
# For each name of a page: when the page is asked for first, and again. It was 17 when each name was a step of
# its own, and 5 in maps.
CALLS_OF_A_NAME = (2.2, 1.5)
CALLS_OF_A_NAME_IN_MAPS = 0.3
# For each folder that was not asked for before; maps take 18. No block is read, however many blobs are in it.
CALLS_OF_A_FOLDER = 14.5
CALLS_OF_A_FOLDER_IN_THREE_RUNS = 14.8
# Where blobs were deleted since runs were merged; some, or the first of each folder.
CALLS_OF_A_FOLDER_BESIDE_DELETIONS = 21.2
CALLS_OF_A_FOLDER_THAT_LOST_A_BLOB = 25.7


class Full(NamedTuple):
    """`names` of so many blobs in each folder below `prefix`, and an index of one run with all of them."""

    prefix: str
    each: int
    names: list[str]
    stored: Stored


@pytest.fixture
def both(tmp_path: Path) -> tuple[Index, Index]:
    """The same blobs: in an index on disk of a large run and a small one, and in maps."""
    names = [f"{number // EACH:04}/{number:06}" for number in range(FOLDERS * EACH)]
    items: list[tuple[str, Blob | None]] = [(at, blob(at, number)) for number, at in enumerate(names)]
    runs = []
    for part in (items[5::400], items):
        path = f"{tmp_path}/{len(part)}.run"
        runs.append(Run(path, write_run(path, part, len(part), SALT)))
    return Index(Catalogue(runs, SALT, IdSet(), 0), {}), Index(dict(items), {})  # type: ignore[arg-type]


def test_a_name_takes_no_more_calls_than_recorded(both: tuple[Index, Index]) -> None:
    stored, plain = both
    for most in CALLS_OF_A_NAME:
        assert calls_of(lambda: page_of(stored, "", "", "0050/", LIMIT)) / LIMIT <= most
    assert page_of(stored, "", "", "0050/", LIMIT) == page_of(plain, "", "", "0050/", LIMIT)
    assert calls_of(lambda: page_of(plain, "", "", "0050/", LIMIT)) / LIMIT <= CALLS_OF_A_NAME_IN_MAPS


@pytest.fixture(
    scope="module",
    params=[(prefix, each) for prefix in ("", "some/prefix/") for each in (3, 20, 200)],
    ids=lambda param: f"{param[1]} each in {param[0] or 'the top'}",
)
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Full:
    prefix, each = request.param
    names = [f"{prefix}{number // each:04}/{number:06}" for number in range(FOLDERS * each)]
    stored = Stored(str(tmp_path_factory.mktemp("full")))
    stored.change((name, True) for name in names)
    stored.seal()
    return Full(prefix, each, names, stored)


@pytest.mark.parametrize(
    ("runs", "deleted", "most"),
    [
        (1, 0, CALLS_OF_A_FOLDER),
        (3, 0, CALLS_OF_A_FOLDER_IN_THREE_RUNS),
        (1, 50, CALLS_OF_A_FOLDER_BESIDE_DELETIONS),
        (3, 50, CALLS_OF_A_FOLDER_BESIDE_DELETIONS),
        (2, FOLDERS, CALLS_OF_A_FOLDER_THAT_LOST_A_BLOB),
    ],
)
def test_a_folder_takes_no_more_calls_than_recorded(
    tmp_path: Path, full: Full, runs: int, deleted: int, most: float
) -> None:
    """`deleted`: from so many folders a blob, in memory with one run, else in the runs after the first."""
    prefix, each, names, _ = full
    stored = full.stored.reopened(str(tmp_path))
    lost = names[:: each * FOLDERS // deleted] if deleted else []
    for part in range(max(1, runs - 1)):
        stored.change((name, False) for name in lost[part :: runs - 1 or 1])
        if runs > 1:
            stored.change((name, True) for name in names[1 + part :: 100 * each])
            stored.seal()
    index, plain = Index(stored.catalogue, {}), Index(dict(stored.live), {})
    for after in (f"{prefix}0050/", ""):
        assert calls_of(partial(page_of, index, prefix, "/", after, LIMIT)) / LIMIT <= most
        assert page_of(index, prefix, "/", after, LIMIT) == page_of(plain, prefix, "/", after, LIMIT)


def test_a_name_of_the_view_by_id_is_no_step_of_its_own(data: DataDirectory) -> None:
    """With 32 bits each page lists a first-level folder, of 32,768 names if there are many blobs."""
    data_dir = directory.open_directory(data.root, 32, owner=True)
    os.mkdir(f"{data.root}/7")
    ids = [(7 << 16) + 3 * number for number in range(1000)]
    for blob_id in ids:
        os.mkdir(data_dir.folder(blob_id))
    found: list[int] = []
    assert calls_of(lambda: found.extend(islice(directory.ids_after(data_dir, ids[99]), 100))) < 200
    assert found == ids[100:200]
