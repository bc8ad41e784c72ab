"""Function calls for each entry of a page, with the index on disk and in maps: see test_calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.engines.local.disk.blob import Blob
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.run import Run
from services.engines.local.index.run_writer import write_run
from services.engines.local.serving.index import Index
from tests.store.test_index_pages import SALT, blob
from tests.support.work import calls_of

FOLDERS, EACH, LIMIT = 400, 10, 300
# For each name of a page: when the page is asked for first, and again. It was 17 when each name was a step of
# its own, and 5 in maps.
CALLS_OF_A_NAME = (2.2, 1.5)
CALLS_OF_A_NAME_IN_MAPS = 0.3
# For each folder, of which maps take 18. The answers of the last searches are kept; it was 30 each time.
CALLS_OF_A_FOLDER = (33, 13.5)


# For each folder of 20 blobs that was not asked for lately, with one run: no block is read. It was 41.
CALLS_OF_A_COLD_FOLDER = 27.5


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


def test_a_folder_that_was_not_asked_for_takes_no_more_calls_than_recorded(tmp_path: Path) -> None:
    names = [f"{number // 20:04}/{number:06}" for number in range(8000)]
    items: list[tuple[str, Blob | None]] = [(at, blob(at, number)) for number, at in enumerate(names)]
    run = Run(f"{tmp_path}/1.run", write_run(f"{tmp_path}/1.run", items, len(items), SALT))
    stored = Index(Catalogue([run], SALT, IdSet(), 0), {})
    assert calls_of(lambda: stored.page("", "/", "0050/", LIMIT)) / LIMIT <= CALLS_OF_A_COLD_FOLDER


@pytest.mark.parametrize(
    ("delimiter", "allowed"), [("", CALLS_OF_A_NAME), ("/", CALLS_OF_A_FOLDER)], ids=["names", "folders"]
)
def test_an_entry_takes_no_more_calls_than_recorded(
    both: tuple[Index, Index], delimiter: str, allowed: tuple[float, float]
) -> None:
    stored, plain = both
    for most in allowed:
        assert calls_of(lambda: stored.page("", delimiter, "0050/", LIMIT)) / LIMIT <= most
    assert stored.page("", delimiter, "0050/", LIMIT) == plain.page("", delimiter, "0050/", LIMIT)
    if not delimiter:
        assert calls_of(lambda: plain.page("", "", "0050/", LIMIT)) / LIMIT <= CALLS_OF_A_NAME_IN_MAPS
