"""Pages of the index on disk: what they cost on a cold disk, and with many runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest import mock

import pytest

from services.engines.local.disk.blob import Blob
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.folder_search import InRun
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.run import NotCached, Run
from services.engines.local.index.run_writer import write_run
from services.engines.local.serving.index import Index
from tests.support.index_blobs import SALT, blob
from tests.support.pages import page_of


class Cold(Run):
    """A run on a disk: what is not in memory has to be waited for. Counts what was read."""

    reads = 0
    fetched: set[int]

    def _bytes(self, at: int, least: int, most: int, waits: bool) -> bytes | memoryview:
        if not waits and at not in self.fetched:
            self.fetched.add(at)
            raise NotCached(-1, self, at)
        self.reads += 1
        return super()._bytes(at, least, most, waits)


@pytest.mark.parametrize("delimiter", ["", "/"])
def test_a_page_on_a_cold_disk_is_not_begun_again(tmp_path: Path, delimiter: str) -> None:
    """The walk began again for each piece that was fetched, so a page took the square of its size."""
    items: list[tuple[str, Blob | None]] = [
        (f"{folder:03}/{name:02}", blob(f"{folder:03}/{name:02}", 100 * folder + name))
        for folder in range(100)
        for name in range(50)
    ]
    run = Cold(f"{tmp_path}/run", write_run(f"{tmp_path}/run", items, len(items), SALT))
    run.fetched, run.reads = set(), 0
    stored, plain = Index(Catalogue([run], SALT, IdSet(), 0), {}), Index(dict(items), {})  # type: ignore[arg-type]
    assert asyncio.run(stored.listing("", delimiter, "", 99)) == page_of(plain, "", delimiter, "", 99)
    assert run.reads <= 2 * len(run.fetched) + 4, "where the walk stopped: twice"


def test_small_runs_are_not_searched_for_each_folder(tmp_path: Path) -> None:
    """A large run has many folders, ten newer ones have one each: to fold all is one search in each."""
    names = [f"{number:03}/a" for number in range(200)]
    parts = [[f"{number * 19:03}/b"] for number in range(10)] + [names]
    runs: list[Run] = []
    for part in parts:
        path = f"{tmp_path}/{len(runs)}.run"
        items: list[tuple[str, Blob | None]] = [(at, blob(at, n)) for n, at in enumerate(part)]
        runs.append(Run(path, write_run(path, items, len(items), SALT)))
    with mock.patch.object(InRun, "seek", autospec=True, side_effect=InRun.seek) as searched:
        page = page_of(Index(Catalogue(runs, SALT, IdSet(), 0), {}), "", "/", "", 1000)
    assert page.prefixes == [f"{number:03}/" for number in range(200)]
    assert searched.call_count <= len(names) + 2 * len(runs)
