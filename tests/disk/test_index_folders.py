"""A run finds the next location by what its fences say of folders, and it is the one that the blocks have."""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from services.engines.local.disk.blob import Blob
from services.engines.local.index import run_writer
from services.engines.local.index.run import Run
from services.engines.local.index.run_writer import write_run
from tests.store.test_index_pages import SALT, blob
from tests.support.stores import memory_folder

# Names around "/" in the order of locations, so that folders begin, end and hold others within a block.
NAMES = st.text("./0a", min_size=1, max_size=5)


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(NAMES, st.integers(0, 5), min_size=1, max_size=40),
    st.lists(NAMES, max_size=20),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_the_next_location_is_the_same_with_and_without_reading_blocks(
    names: dict[str, int], starts: list[str], block_blobs: int, most_folders: int
) -> None:
    """One in six was deleted."""
    items: list[tuple[str, Blob | None]] = [
        (name, blob(name, number) if names[name] else None) for number, name in enumerate(sorted(names))
    ]
    locations = [name for name, _ in items]
    with (
        tempfile.TemporaryDirectory(dir=memory_folder()) as folder,
        mock.patch.object(run_writer, "BLOCK_BLOBS", block_blobs),
        mock.patch.object(run_writer, "FENCE_BLOCKS", 3),
        mock.patch("services.engines.local.index.format.MAX_FOLDERS", most_folders),
    ):
        run = Run(f"{folder}/1.run", write_run(f"{folder}/1.run", items, len(items), SALT))
        for name in [*locations, *starts]:
            for start in (name, name + "\0", name[: name.rfind("/")] + "0"):  # past a folder
                at = bisect_left(locations, start)
                wanted = (locations[at], items[at][1] is not None) if at < len(locations) else None
                assert run.first(start, True) == wanted, start


def test_a_page_of_large_folders_reads_no_block(tmp_path: Path) -> None:
    names = [f"{number // 40:03}/{number:05}" for number in range(4000)]
    items: list[tuple[str, Blob | None]] = [(name, blob(name, n)) for n, name in enumerate(names)]
    run = Run(f"{tmp_path}/1.run", write_run(f"{tmp_path}/1.run", items, len(items), SALT))
    with mock.patch.object(run, "_names_at", side_effect=AssertionError("it was read")):
        for folder in range(99):
            found = run.first(f"{folder:03}0", True)
            assert found == (f"{folder + 1:03}/{40 * (folder + 1):05}", True)
        assert run.first("0990", True) is None
