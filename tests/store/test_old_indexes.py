"""Somebody puts an older copy of the index back, of the same server: nothing that was deleted comes back."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from common.config import Config
from services.engines.local.engine import LocalEngine
from services.engines.local.serving.store import LocalStore
from services.store import Content


@asynccontextmanager
async def engine(root: Path, id_bits: int) -> AsyncIterator[LocalStore]:
    one = LocalEngine(Config(dir=str(root / "data"), id_bits=id_bits, index=True))
    await one.own()
    try:
        yield await one.open(lambda done, total: None, lambda err: None)
    finally:
        await one.close()


async def write(store: LocalStore, location: str, body: bytes) -> None:
    await store.write_whole(location, lambda *_: None, Content(), body)


def keep_index(root: Path) -> None:
    shutil.rmtree(root / "old", ignore_errors=True)
    shutil.copytree(root / "data" / ".index", root / "old")


async def past_the_journal(store: LocalStore, root: Path) -> None:
    """`a` is deleted and `b` replaced by a batch that the journal has no room for."""
    await store.committer.call(lambda: None)
    keep_index(root)
    with mock.patch.object(store.committer._journaling, "fits", return_value=False):
        await store.delete("a", lambda *_: None)
        await write(store, "b", b"newer")


async def past_two_files(store: LocalStore, root: Path) -> None:
    """The same through the journal, of which both files are in use afterwards, and clean the one before."""
    keep_index(root)
    await store.delete("a", lambda *_: None)
    await store.committer.call(lambda: None)
    await write(store, "b", b"newer")


async def within_the_journal(store: LocalStore, root: Path) -> None:
    """The same through the journal, which has all that came after the copy."""
    await store.committer.call(lambda: None)
    keep_index(root)
    await store.delete("a", lambda *_: None)
    await write(store, "b", b"newer")


Change = Callable[[LocalStore, Path], Coroutine[Any, Any, None]]


@pytest.mark.parametrize("id_bits", [16, 32])
@pytest.mark.parametrize("stopped", [False, True], ids=["killed", "stopped"])
@pytest.mark.parametrize("change", [past_the_journal, past_two_files, within_the_journal])
def test_an_older_index_of_the_same_server_brings_nothing_back(
    tmp_path: Path, change: Change, stopped: bool, id_bits: int
) -> None:
    async def run() -> None:
        async with engine(tmp_path, id_bits) as store:
            for at in ("a", "b", "c"):
                await write(store, at, at.encode())
            await change(store, tmp_path)
            if not stopped:
                os._exit(0)
        os._exit(0)

    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(run())
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    shutil.rmtree(tmp_path / "data" / ".index")
    shutil.copytree(tmp_path / "old", tmp_path / "data" / ".index")

    async def served() -> dict[str, int]:
        async with engine(tmp_path, id_bits) as store:
            page = await store.list("", "", "", 10)
            return {blob.location: blob.size for blob in page.blobs}

    assert asyncio.run(served()) == {"b": len(b"newer"), "c": 1}
