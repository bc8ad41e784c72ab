"""With 32 bits a start with the index lists only the rows that were changed: it serves the same."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest import mock

import pytest

from common.config import Config
from common.errors import Damaged, Unreadable
from common.states import State
from services.engines.local.disk import blob_folder, directory, quarantine, record
from services.engines.local.disk.layout import Layout
from services.engines.local.engine import LocalEngine
from services.engines.local.index import row_stamps
from services.engines.local.serving import names_comparison
from services.engines.local.serving.store import LocalStore
from services.store import Content
from tests.support.stores import Opened, memory_folder, opened, quiet_ns, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal", "quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison takes no rest."""
    monkeypatch.setattr(names_comparison, "_PAUSE_S", 0)


@pytest.fixture
def root() -> Iterator[str]:
    """A data directory in memory with three blobs, of one row."""
    base = tempfile.mkdtemp(prefix="blobkeep-rows-", dir=memory_folder())

    async def fill() -> None:
        async with opened(f"{base}/data", "index", 32) as store:
            for at in ("a", "b", "c"):
                await store.put(at, at.encode() * 100)
            await quiet()

    asyncio.run(fill())
    yield f"{base}/data"
    shutil.rmtree(base)


async def quiet() -> None:
    """Until the row that was changed last may have a stamp."""
    await asyncio.sleep(quiet_ns() / 1e9)


def free_ids(store: Opened) -> Iterator[int]:
    return (number for number in range(1, 99) if number not in store.store.index.blobs.ids)


def test_what_a_row_has_besides_is_judged_in_the_background(root: str) -> None:
    """Put there by hand while the server ran, so before the stamp of the row was taken."""

    async def run() -> None:
        async with opened(root, "index", 32) as store:
            data_dir, ids = store.data_dir, free_ids(store)
            hand, pending, empty, rotten = (next(ids) for _ in range(4))
            found = blob_folder.read_record(data_dir, (await store.put("d", b"d" * 100)).id)
            shutil.copytree(data_dir.folder(found.id), data_dir.folder(hand))
            _write(data_dir, hand, "hand", found.seq + 1)
            for number in (pending, empty, rotten):
                os.mkdir(data_dir.folder(number))
            begun = record.created(pending, "begun", found.seq + 2, "created", 1, "text/plain", "")
            write(data_dir.state(pending), record.dump(begun))
            write(data_dir.state(rotten), b"rotten")
            await quiet()
        async with opened(root, "index", 32) as store:
            assert store.found.unlisted == [0]
            assert await store.read("hand") is None
            await store.store.names.run()
            await until(lambda: not store.store.index.unreadable, "the judgement")
            assert await store.read("hand") == b"d" * 100
            assert blob_folder.read_record(data_dir, pending).state is State.FAILURE
            assert not is_there(data_dir.folder(empty))
            assert not is_there(data_dir.folder(rotten))
            assert [one.id for one in store.store.damage.listed(9)] == [rotten]
            assert store.found.by_index
        async with opened(root, "index", 32) as store:
            assert await store.read("hand") == b"d" * 100

    asyncio.run(run())


def _write(data_dir: Layout, number: int, location: str, seq: int) -> None:
    import msgspec

    found = blob_folder.read_record_in(data_dir.folder(number), None)
    new = msgspec.structs.replace(found, id=number, location=location, seq=seq)
    write(data_dir.state(number), record.dump(new))


def write(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


def is_there(path: str) -> bool:
    return os.path.lexists(path)


def test_what_this_process_writes_is_not_judged(root: str) -> None:
    async def run() -> None:
        async with opened(root, "index", 32) as store:
            assert store.found.unlisted == [0]
            body = b"x" * 20_000  # staged: its folder is Pending meanwhile
            upload = await store.store.begin("up", lambda *_: None, Content("text/plain"), None)
            await upload.write(body[:9000])
            [number] = set(directory.ids_in(store.data_dir)) - set(store.store.index.blobs.ids)  # type: ignore[call-overload]
            await store.put("e", b"e")
            await store.delete("a")
            await store.store.names.run()
            assert blob_folder.read_record(store.data_dir, number).state is State.PENDING
            await upload.write(body[9000:])
            await upload.commit()
            assert set(await store.values()) == {"b", "c", "e", "up"}
            assert not store.store.index.unreadable

    asyncio.run(run())


def test_a_row_that_was_changed_a_moment_ago_is_listed(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system may give the next change the same time."""
    monkeypatch.setattr(row_stamps, "_QUIET_NS", 60_000_000_000)

    async def run() -> None:
        async with opened(root, "index", 32) as store:
            await store.put("d", b"d")
        async with opened(root, "index", 32) as store:
            assert store.found.by_index
            assert store.found.unlisted == []

    asyncio.run(run())


def test_while_a_blob_could_not_be_read_no_row_is_left_out(root: str) -> None:
    """The index does not have it: a start that did not list its row would answer 404."""

    async def run() -> None:
        async with opened(root, "index", 32) as store:
            number = store.store.index.blobs.get("a").id  # type: ignore[union-attr]
            state = store.data_dir.state(number)
        shutil.rmtree(f"{root}/.index")
        read = blob_folder.read_record

        def refused(data_dir: Layout, blob_id: int) -> record.BlobRecord:
            if blob_id == number:
                raise OSError(errno.EIO, "a bad sector", state)
            return read(data_dir, blob_id)

        os.truncate(state, 10)  # not plain, so that it is read by the one that is refused
        with mock.patch.object(blob_folder, "read_record", refused), mock.patch("time.sleep"):
            async with opened(root, "index", 32) as store:
                assert number in store.found.unreadable
                with pytest.raises(Unreadable):
                    await store.read("a")
        async with opened(root, "index", 32) as store:
            assert store.found.by_index
            assert store.found.unlisted == []

    asyncio.run(run())


def test_while_a_damaged_blob_could_not_be_moved_no_row_is_left_out(root: str) -> None:
    """It answers 500 after the next start, too, not 404."""

    async def run() -> None:
        full = OSError(errno.ENOSPC, "the disk is full")
        async with opened(root, "index", 32) as store:
            store.store.comparison.is_over = True
            blob = store.store.index.blobs.get("a")
            assert blob is not None
            os.truncate(store.data_dir.data(blob.id), 5)
            with mock.patch.object(quarantine, "move_in", side_effect=full):
                store.store.report_damage(blob, "cut")
                await until(lambda: not store.store.damage.tasks, "the quarantine")
                await store.put("d", b"d")
        async with opened(root, "index", 32) as store:
            assert store.found.by_index
            with pytest.raises(Damaged):
                await store.read("a")

    asyncio.run(run())


def test_a_stamp_is_taken_before_what_it_vouches_for(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added to a row while the index is written must show at the next start."""

    async def run() -> None:
        async with opened(root, "index", 32) as store:
            keeper = store.store._keeper
            assert keeper is not None
            freeze, number = keeper._freeze, next(free_ids(store))

            def adding() -> object:
                time.sleep(quiet_ns() / 1e9)
                if not is_there(store.data_dir.folder(number)):
                    os.mkdir(store.data_dir.folder(number))
                return freeze()

            monkeypatch.setattr(keeper, "_freeze", adding)
            await store.put("d", b"d")
        async with opened(root, "index", 32) as store:
            assert store.found.by_index
            assert store.found.unlisted == []
            assert store.found.removed == 1

    asyncio.run(run())


def test_a_folder_that_is_older_than_its_blob_is_served_after_a_kill(root: str) -> None:
    """An upload makes its folder when it begins. If the index is written then, only the journal tells."""

    async def run() -> None:
        async with opened(root, "index", 32) as store:
            body = b"x" * 20_000
            upload = await store.store.begin("up", lambda *_: None, Content("text/plain"), None)
            await upload.write(body)
            await store.put("d", b"d")
            await quiet()
            await store.store.committer.call(lambda: None)  # a checkpoint
            await upload.commit()
            os._exit(0)

    pid = os.fork()
    if pid == 0:
        asyncio.run(run())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    async def start_again() -> None:
        async with opened(root, "index", 32) as store:
            assert store.found.by_index
            assert await store.read("up") == b"x" * 20_000

    asyncio.run(start_again())


def test_the_engine_begins_both_comparisons_by_itself(tmp_path: Path) -> None:
    """A folder by hand while it ran, and data that was cut off while it did not: nobody asks for either."""

    async def run() -> None:
        async with engine(tmp_path) as store:
            blob, _ = await store.write_whole("a", lambda *_: None, Content(), b"a")
            await store.write_whole("b", lambda *_: None, Content(), b"b")
            data_dir, gone = store.data_dir, store.index.blobs.get("b")
            assert gone is not None
            number = blob.id ^ (2 if blob.id ^ 1 == gone.id else 1)
            shutil.copytree(data_dir.folder(blob.id), data_dir.folder(number))
            _write(data_dir, number, "hand", gone.seq + 1)
            await store.committer.call(lambda: None)
            await quiet()
        os.truncate(data_dir.data(gone.id), 0)
        async with engine(tmp_path) as store:
            assert store.index.blobs.get("hand") is None, "the start did not list its row"
            assert store.index.blobs.get("b") == gone
            await until(lambda: store.index.blobs.get("hand"), "the comparison of names")
            await until(lambda: "b" in store.index.damaged, "the comparison of blobs")

    asyncio.run(run())


@asynccontextmanager
async def engine(root: Path) -> AsyncIterator[LocalStore]:
    one = LocalEngine(Config(dir=str(root / "data"), id_bits=32, index=True))
    await one.own()
    try:
        yield await one.open(lambda done, total: None, lambda err: None)
    finally:
        await one.close()
