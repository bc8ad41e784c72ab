"""`widen` turns 16-bit ids into 32-bit ones in place. It may be killed, or lose power, at any moment."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path

import msgspec
import pytest

from common.config import Config
from common.errors import ConfigError, LockHeld
from common.progress import nothing
from services.engines.local.disk import blob_folder, directory, layout, locks, record
from services.engines.local.engine import LocalEngine
from services.engines.local.journal import format as journal
from services.engines.local.upkeep.widen import widen
from services.store import Content
from tests.crashes.test_ladder import dies
from tests.cuts.check import write_image
from tests.cuts.cuts import one_image
from tests.cuts.disk import Disk, Image
from tests.cuts.recorder import ListLog, recording
from tests.disk.test_journal import complete, entry_of, write_journal
from tests.support import rules
from tests.support.disk_calls import CHANGES, Death, standing_between
from tests.support.rules import DataDirectory
from tests.support.stores import opened, small_journal
from tests.support.tools import tool

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

BLOBS: dict[str, bytes | None] = {f"a/{number}": b"%d" % number * 50 for number in range(6)}


def make(root: str) -> None:
    async def go() -> None:
        async with opened(root) as store:
            for location, body in BLOBS.items():
                assert body is not None
                await store.put(location, body)
            await store.put("gone", b"x")
            await store.delete("gone")

    asyncio.run(go())


def values(root: str, id_bits: int = 32) -> dict[str, bytes | None]:
    async def go() -> dict[str, bytes | None]:
        async with opened(root, id_bits=id_bits) as store:
            assert not store.found.quarantined
            return await store.values()

    return asyncio.run(go())


def test_every_blob_is_there_afterwards_and_new_ones_fit(data: DataDirectory) -> None:
    make(data.root)
    ids = set(directory.ids_in(directory.existing(data.root)))
    assert widen(data.root, 0.0, nothing) == len(ids) == 7
    after = directory.existing(data.root)
    assert after.id_bits == 32
    assert set(directory.ids_in(after)) == ids  # the ids are what they were
    assert values(data.root) == BLOBS
    with pytest.raises(ConfigError, match="id_bits = 32"):
        directory.open_directory(data.root, 16, owner=False)
    with pytest.raises(ConfigError, match="32 bits already"):
        widen(data.root, 0.0, nothing)


def test_id_0_goes_into_the_row_that_has_its_name(data: DataDirectory) -> None:
    make(data.root)
    layout_before = directory.existing(data.root)
    some = next(i for i in directory.ids_in(layout_before) if i > 9)
    found = blob_folder.read_record(layout_before, some)
    Path(layout_before.state(some)).write_bytes(record.dump(msgspec.structs.replace(found, id=0)))
    os.rename(layout_before.folder(some), layout_before.folder(0))
    widen(data.root, 0.0, nothing)
    assert os.path.isdir(f"{data.root}/0/0")
    assert values(data.root) == BLOBS


def test_what_only_the_journal_has_is_in_its_folder_afterwards(data: DataDirectory) -> None:
    """After a power cut tools may read the folders before a server has run."""
    before = directory.open_directory(data.root, 16, owner=True)
    blob = complete(7, "a", b"hello")
    write_journal(before, [[entry_of(blob, b"hello")]])
    widen(data.root, 0.0, nothing)
    after = directory.existing(data.root)
    assert not journal.needs_replay(after)
    assert Path(after.data(7)).read_bytes() == b"hello"
    assert values(data.root) == {"a": b"hello"}


@pytest.mark.parametrize("late", [False, True])
def test_it_may_be_killed_at_any_disk_call_and_run_again(base: Path, late: bool) -> None:
    make(str(base / "before"))
    for at in range(1, 200):
        root = str(base / str(at))
        shutil.copytree(base / "before", root)

        def run(root: str = root, at: int = at) -> None:
            with standing_between(Death(at, late=late), CHANGES):
                widen(root, 0.0, nothing)

        died = dies(run)
        finish(root)
        shutil.rmtree(root)
        if not died:
            return
    raise AssertionError("it has no end")


def finish(root: str) -> None:
    """Whatever an interrupted run left, no server of either width loses anything, and the next run
    finishes it.
    """
    try:
        width = directory.existing(root).id_bits
    except ConfigError as err:
        assert "run `blobkeep widen` again" in str(err)  # noqa: PT017 - one of three cases
        for id_bits in (16, 32):
            with pytest.raises(ConfigError, match="run `blobkeep widen` again"):
                directory.open_directory(root, id_bits, owner=True)
        widen(root, 0.0, nothing)
        width = 32
    assert values(root, width) == BLOBS
    if width == 16:
        widen(root, 0.0, nothing)
        assert values(root) == BLOBS
    broken = rules.broken_rules(root)
    assert not broken, broken


def test_the_power_may_fail_at_any_disk_call(base: Path) -> None:
    top = base / "disk"
    make(str(top / "data"))
    image = image_of(top)
    log = ListLog()
    disk = Disk(str(top))
    disk.start_with(image)
    with recording(log):
        widen(str(top / "data"), 0.0, nothing)
    chance = random.Random(1)
    for op in log.ops:
        disk.apply(op)
        if op.kind in ("begin", "mark") or chance.random() < 0.5:
            continue
        cut = base / "cut"
        write_image(one_image(disk, chance)[1], cut)
        finish(str(cut / "data"))
        shutil.rmtree(cut)


def image_of(top: Path) -> Image:
    found: Image = {}
    for path in sorted(top.rglob("*")):
        inside = str(path.relative_to(top))
        if path.is_dir():
            found[inside] = None
        elif path.is_file():
            found[inside] = path.read_bytes()
    return found


def test_it_waits_for_nobody(data: DataDirectory, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Blobkeep directory"):
        widen(str(tmp_path), 0.0, nothing)
    make(data.root)
    with locks.StateLock(data.root, "server") as lock:
        assert lock.try_acquire()
        with pytest.raises(LockHeld):
            widen(data.root, 0.0, nothing)
    gc = locks.FileLock(f"{data.root}/{layout.GC_LOCK_NAME}", "gc")
    assert gc.try_acquire()
    with pytest.raises(LockHeld, match="gc"):
        widen(data.root, 0.0, nothing)
    gc.release()
    assert values(data.root, 16) == BLOBS


def test_the_command(data: DataDirectory) -> None:
    make(data.root)
    done = tool("widen", "--dir", data.path)
    assert done.status == 0
    assert "id_bits = 32" in done.out
    assert tool("widen", "--dir", data.path).status == 2
    assert values(data.root) == BLOBS


def test_at_half_of_the_ids_the_log_and_the_health_say_so(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        engine = LocalEngine(Config(dir=data.root))
        await engine.own()
        store = await engine.open(nothing, lambda err: None)
        told = []
        for number in range(3):
            with monkeypatch.context() as few:
                few.setattr(store.ids, "capacity", 4)
                engine.hear({})
                told.append("blobkeep widen" in caplog.text)
                names = {check.name for check in await engine.health() if not check.ok}
            assert told[-1] == ("id_bits" in names)
            await store.write_whole(str(number), lambda blob, damaged: None, Content(), b"x")
        assert told == [False, False, True]
        await engine.close()

    asyncio.run(go())
