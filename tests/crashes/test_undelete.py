"""An undelete dies, or the disk refuses a call, at each disk call. The old value is there, or the new one."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest

from common.errors import BlobkeepError, SyncFailed
from services.engines.local.serving.by_id import LocalAdmin
from tests.crashes.ladder import steps
from tests.crashes.test_ladder import dies, judge
from tests.support import rules
from tests.support.campaign import choose
from tests.support.disk_calls import CHANGES, Death, Fault, standing_between
from tests.support.index_states import SYNCS
from tests.support.stores import STAGED_BYTES, Opened, opened, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

KEEP_S = 1e6
SMALL, LARGE = b"small and deleted", bytes(range(256)) * (STAGED_BYTES // 256)
_MAX_CALLS = 400
Rung = tuple[bytes, bool, str, int]


def rungs(name: str, share: int) -> list[Rung]:
    """Some without an index, and one with an index in any state."""
    without, beside = (
        [
            (body, over, sync, id_bits)
            for body in (SMALL, LARGE)
            for over in (False, True)
            for sync in syncs
            for id_bits in (16, 32)
        ]
        for syncs in (("journal", "folder", "none"), SYNCS)
    )
    return [*choose(name, without, share), *choose(f"{name} beside indexes", beside, 1)]


def name_of(rung: tuple[bytes, bool, str, int]) -> str:
    body, over, sync, id_bits = rung
    return f"{len(body)}-{'over' if over else 'alone'}-{sync}-{id_bits}"


async def make(root: str, body: bytes, over: bool, sync: str, id_bits: int) -> None:
    async with opened(root, sync, id_bits, keep_deleted_s=KEEP_S) as store:
        await store.put("a", body)
        await store.put("other", b"not touched")
        await (store.put("a", b"newer") if over else store.delete("a"))


async def find(store: Opened) -> str:
    (one,) = await LocalAdmin(store.data_dir, store.store).list_by_id("Failure", None, 100)
    return str(one.id)


async def undelete(store: Opened, blob_id: str) -> None:
    await LocalAdmin(store.data_dir, store.store).undelete(blob_id, "a", lambda blob, damaged: None)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("rung", rungs("undelete crashes", 2), ids=name_of)
def test_an_undelete_that_dies_at_each_disk_call(
    rung: tuple[bytes, bool, str, int], late: bool, base: Path
) -> None:
    body, over, sync, id_bits = rung
    before = str(base / "before")
    asyncio.run(make(before, body, over, sync, id_bits))
    for step in steps(base):
        at, root = step.at, step.root
        shutil.copytree(before, root)
        ear, mouth = os.pipe()

        async def work(root: str = root, at: int = at, mouth: int = mouth) -> None:
            store = Opened(root, sync, id_bits, keep_deleted_s=KEEP_S)
            blob_id = await find(store)
            with standing_between(Death(at, late=late), CHANGES):
                await undelete(store, blob_id)
                os.write(mouth, b"acknowledged")
                await store.store.close()

        step.died = dies(lambda work=work: asyncio.run(work()))  # type: ignore[misc]
        os.close(mouth)
        with os.fdopen(ear, "rb") as file:
            acknowledged = bool(file.read())
        old = b"newer" if over else None
        allowed: dict[str, list[bytes | None]] = {"other": [b"not touched"]}
        allowed["a"] = [body] if acknowledged else [old, body]
        asyncio.run(judge(root, sync, id_bits, allowed, (at, acknowledged)))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EMFILE])
@pytest.mark.parametrize("rung", rungs("undelete faults", 1), ids=name_of)
def test_an_undelete_whose_disk_calls_fail_in_turn(
    rung: tuple[bytes, bool, str, int], error: int, base: Path
) -> None:
    body, over, sync, id_bits = rung
    old = b"newer" if over else None

    async def one_rung(root: str, fault: Fault) -> list[bytes | None]:
        async with opened(root, sync, id_bits, keep_deleted_s=KEEP_S) as store:
            blob_id = await find(store)
            with standing_between(fault):
                failed: Exception | None = None
                try:
                    await undelete(store, blob_id)
                except (BlobkeepError, OSError) as err:
                    failed = err
                finally:
                    fault.armed = False
            if isinstance(failed, SyncFailed) or store.fatal:
                return [old, body]
            now = old if failed is not None else body
            assert await store.read("a") == now, (fault.hit, failed)
            await store.put("a", b"again")  # the disk works again
            return [b"again"]

    for at in range(1, _MAX_CALLS):
        root = str(base / str(at))
        asyncio.run(make(root, body, over, sync, id_bits))
        fault = Fault(at, error, lasting=False)
        allowed = asyncio.run(one_rung(root, fault))
        asyncio.run(judge(root, sync, id_bits, {"a": allowed, "other": [b"not touched"]}, (at, fault.hit)))
        broken = rules.broken_rules(root)
        assert not broken, (at, broken)
        shutil.rmtree(root)
        if not fault.hit:
            return
    raise AssertionError("the ladder has no end")
