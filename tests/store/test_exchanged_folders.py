"""Somebody exchanged the folders of two blobs: what is in them is the other's, so it is kept as it is."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from common.errors import Damaged
from services.engines.local.disk import layout
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from tests.support.stores import opened, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


def exchange(data_dir: Layout, one: Blob, two: Blob) -> None:
    first, second, third = data_dir.folder(one.id), data_dir.folder(two.id), f"{data_dir.root}/third"
    os.rename(first, third)
    os.rename(second, first)
    os.rename(third, second)


def states_in(data_dir: Layout) -> set[bytes]:
    return {path.read_bytes() for path in Path(data_dir.root).rglob(layout.STATE_NAME)}


@pytest.mark.parametrize("sync", ["journal", "index"])
def test_a_state_of_another_blob_is_not_overwritten(tmp_path: Path, sync: str) -> None:
    """Found by the comparison behind a start, or told by the recovery worker while the server runs."""

    async def run() -> None:
        root = str(tmp_path / "data")
        async with opened(root, sync) as store:
            blobs = [await store.put(at, at.encode() * 100) for at in ("a", "b")]
            data_dir = store.data_dir
            if sync == "journal":
                exchange(data_dir, blobs[0], blobs[1])
                states = states_in(data_dir)
                for blob in blobs:
                    store.store.damage.report_state(blob, "it says another id")
                await until(lambda: not store.store.damage.tasks, "the quarantine")
                assert states_in(data_dir) == states
        if sync == "index":
            exchange(data_dir, blobs[0], blobs[1])
            states = states_in(data_dir)
        async with opened(root, sync) as store:
            if sync == "index":
                await store.store.comparison.run()
                await until(lambda: not store.store.damage.tasks, "the quarantine")
            for at in ("a", "b"):
                with pytest.raises(Damaged):
                    await store.read(at)
            assert states_in(data_dir) == states, "and an operator can put both back"
        shutil.rmtree(root)

    asyncio.run(run())
