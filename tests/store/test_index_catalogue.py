"""The index on disk is a map: after any steps it shows what a dictionary would."""

from __future__ import annotations

import asyncio
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engines.local.disk.blob import Blob
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.merging import merged
from services.engines.local.index.run import Run
from services.engines.local.index.run_writer import write_run
from services.engines.local.index.stretches import Nets, NetsOfChanges, NetsOfRuns
from services.engines.local.serving.index import Index
from tests.support.index_blobs import SALT, blob
from tests.support.pages import page_of
from tests.support.stores import memory_folder, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

LOCATIONS = st.text("ab/é0", min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), LOCATIONS),
        st.tuples(st.just("delete"), LOCATIONS),
        st.tuples(st.sampled_from(["freeze", "write", "merge", "forget"]), st.just("")),
    ),
    max_size=40,
)


class Both:
    """The same changes to a catalogue and to the index in memory."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.catalogue = Catalogue([], SALT, IdSet(), 0)
        self.stored = Index(self.catalogue, {})
        self.plain = Index({}, {})
        self.count = 0

    def do(self, step: str, location: str) -> None:
        catalogue = self.catalogue
        self.count += 1
        if step in ("put", "delete"):
            new = blob(location, self.count) if step == "put" else None
            self.stored.show(location, new)
            self.plain.show(location, new)
        elif step == "freeze":
            catalogue.freeze()
        elif step == "write":
            frozen = catalogue.freeze()
            catalogue.thaw(self.write(frozen.items(), NetsOfChanges(frozen.nets.items())))
        elif step == "merge" and len(catalogue.runs) > 1:
            runs = catalogue.runs[: self.count % len(catalogue.runs) + 1]
            are_all = len(runs) == len(catalogue.runs)
            nets = None if are_all else NetsOfRuns([run.nets() for run in runs])
            catalogue.replace(runs, self.write(list(merged(runs, are_all=are_all)), nets))
        elif step == "forget":  # as if many others had been looked up since
            catalogue.recent.clear()
            catalogue._old = {}

    def write(self, items: list[tuple[str, Blob | None]], nets: Nets | None) -> Run:
        path = f"{self.folder}/{self.count}.run"
        return Run(path, write_run(path, items, len(items), SALT, nets))

    def compare(self) -> None:
        plain, stored = self.plain.blobs, self.stored.blobs
        assert len(stored.ids) == len(plain.ids)
        assert stored.bytes == plain.bytes
        names = [blob.location for some in plain.spans("") for blob in some]
        assert [blob.location for some in stored.spans("") for blob in some] == names
        for name in [*names, "a", "zz", ""]:
            assert stored.get(name) == plain.get(name)
            assert (name in stored) == (name in plain)
            assert asyncio.run(self.stored.after(name, 3)) == asyncio.run(self.plain.after(name, 3))
        for number in range(1, self.count + 1):
            assert (number in stored.ids) == (number in plain.ids)
            assert stored.by_id(number) == plain.by_id(number)


@settings(deadline=None, max_examples=60)
@given(STEPS, st.text("ab/é0", max_size=2), st.text("ab/é0", max_size=3), st.integers(1, 4))
def test_a_catalogue_is_the_maps(steps: list[tuple[str, str]], prefix: str, after: str, limit: int) -> None:
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        both = Both(folder)
        for step in steps:
            both.do(*step)
            both.compare()
        for delimiter in ("", "/"):
            expected = page_of(both.plain, prefix, delimiter, after, limit)
            assert page_of(both.stored, prefix, delimiter, after, limit) == expected
