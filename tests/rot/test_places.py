"""Damaged files: one of ours is cut, empty, missing, or something else is in its place. The process starts,
serves everything else, answers "damaged" if it knows the blob's location, follows no link, waits for no pipe,
and the location can be written again.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import Damaged
from services.engines.local.disk import layout
from services.engines.local.upkeep.collector import Collector
from tests.conftest import StartServer
from tests.support.processes import Process, wait_for
from tests.support.rules import DataDirectory, layout_of
from tests.support.stores import Opened, opened, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


@pytest.fixture
def base(base: Path) -> Iterator[Path]:
    """An empty folder in memory, with something that is not ours."""
    write_mine(base / "elsewhere" / "mine")
    write_mine(base / "elsewhere" / "7-5" / "mine")  # the name that the gc gives a folder that it removes
    yield base
    assert files_under(base / "elsewhere") == {"mine", "7-5/mine"}
    assert (base / "elsewhere" / "mine").read_bytes() == b"mine"


def gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    gone(path)
    path.touch()


def a_folder(path: Path) -> None:
    gone(path)
    path.mkdir()
    (path / "in it").touch()


def a_link(path: Path) -> None:
    gone(path)
    root = next(p for p in path.parents if (p / "elsewhere").is_dir())
    path.symlink_to(root / "elsewhere")


def a_link_to_a_file(path: Path) -> None:
    gone(path)
    root = next(p for p in path.parents if (p / "elsewhere").is_dir())
    path.symlink_to(root / "elsewhere" / "mine")


def a_pipe(path: Path) -> None:
    gone(path)
    os.mkfifo(path)


def a_device(path: Path) -> None:
    gone(path)
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero: it never ends
    except PermissionError:
        pytest.skip("only root may make devices")


def garbage(path: Path) -> None:
    gone(path)
    path.write_bytes(os.urandom(5000))


CHANGES: list[Callable[[Path], None]] = [
    *(cut, emptied, gone, a_folder, a_link, a_link_to_a_file, a_pipe, a_device, garbage)
]


async def sent(store: Opened, location: str) -> bytes | str | None:
    try:
        return await store.read(location)
    except Damaged:
        return "damaged"


@pytest.mark.parametrize("name", [layout.STATE_NAME, layout.DATA_NAME])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("sync", "size"),
    [("folder", 100), ("folder", 9000), ("journal", 100), ("journal", 9000), ("index", 9000)],
)
def test_a_start_on_a_blob_whose_file_is_something_else(
    base: Path, name: str, change: Callable[[Path], None], sync: str, size: int
) -> None:
    """What the journal still has is written again, so then nothing is lost. An index has what the state
    said.
    """

    async def run() -> None:
        root = str(base / "data")
        async with opened(root, sync) as store:
            blob = await store.put("a", b"a" * size)
            await store.put("other", b"another blob")
            data_dir = store.data_dir
            journaling = store.store.committer._journaling
            if journaling is not None:
                journaling.empty = lambda: None  # type: ignore[method-assign]
        change(Path(data_dir.folder(blob.id), name))
        async with opened(root, sync) as store:
            expected = {b"a" * size, "damaged"} if name == layout.DATA_NAME or sync != "folder" else {None}
            assert await sent(store, "a") in expected
            assert await store.read("other") == b"another blob"
            await store.put("a", b"anew")
            assert await store.read("a") == b"anew"
        async with opened(root, sync) as store:
            assert await store.values() == {"a": b"anew", "other": b"another blob"}

    asyncio.run(run())


@pytest.mark.parametrize("change", [*CHANGES, None])
def test_a_blob_whose_data_turns_into_something_else_while_it_is_served(
    base: Path, change: Callable[[Path], None] | None
) -> None:
    async def run() -> None:
        root = str(base / "data")
        async with opened(root) as store:
            blob = await store.put("a", b"a" * 9000)
            await store.put("other", b"another blob")
            if change is None:
                gone(Path(store.data_dir.folder(blob.id)))
            else:
                change(Path(store.data_dir.data(blob.id)))
            assert await sent(store, "a") == "damaged"
            assert await sent(store, "a") == "damaged"
            assert await store.read("other") == b"another blob"
            await store.put("a", b"anew")
            await store.delete("a")
        async with opened(root) as store:
            assert await store.values() == {"other": b"another blob"}
            assert await sent(store, "a") is None

    asyncio.run(run())


OURS = [
    *(layout.FORMAT_NAME, layout.GC_LOCK_NAME, layout.GONE_NAME, layout.QUARANTINE_NAME, layout.HINTS_NAME),
    *(layout.HINTS_TAKEN_NAME, layout.STATUS_NAME, layout.RESERVE_NAME, layout.SYNC_FAILED_NAME),
    *(layout.JOURNAL_NAME + ".0", layout.JOURNAL_NAME + ".1", layout.JOURNAL_NAME + ".0.tmp"),
]
# A gc that cannot get its lock, or cannot move folders, removes nothing and says so.
NO_GC = {(layout.GC_LOCK_NAME, change) for change in (a_folder, a_link, a_link_to_a_file)} | {
    (layout.GONE_NAME, change) for change in CHANGES if change not in (gone, a_folder)
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("change", CHANGES[1:])
def test_something_else_in_the_place_of_a_name_of_ours(
    base: Path, name: str, change: Callable[[Path], None]
) -> None:
    async def run() -> None:
        root = str(base / "data")
        async with opened(root) as store:
            await store.put("a", b"kept")
            await store.put("b", b"deleted")
            await store.delete("b")
        change(base / "data" / name)
        async with opened(root) as store:
            assert await store.values() == {"a": b"kept"}
            await store.put("c", b"new")
            await store.put("c", b"newer")
            await store.delete("a")
            data_dir = store.data_dir
        gc = Collector(data_dir, 5.0, slice_folders=1 << 32)
        gc.guarded_pass()
        gc.close()
        left = [name for name in os.listdir(root) if layout.parse_id(name) is not None]
        assert len(left) == 1 or (name, change) in NO_GC
        async with opened(root) as store:
            assert await store.values() == {"c": b"newer"}

    asyncio.run(run())


def write_mine(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine")


def files_under(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("id_bits", [16, 32])
def test_foreign_files_anywhere_harm_nobody_and_are_left_alone(base: Path, id_bits: int) -> None:
    root = base / "data"
    foreign = ["notes.txt", "007", "65536", "-1", "1e3", "5/notes.txt", ".hidden", ".gone/notes.txt"]
    foreign += [".gone/7-x/notes.txt", ".quarantine/notes.txt", ".quarantine/x/y"]

    async def run() -> None:
        async with opened(str(root), "journal", id_bits) as store:
            blob = await store.put("a", b"kept")
            folder = store.data_dir.folder(blob.id)
        for name in [*foreign, f"{folder}/notes.txt"]:
            write_mine(root / name)
        async with opened(str(root), "journal", id_bits) as store:
            assert await store.read("a") == b"kept"
            await store.put("b", b"new")
            await store.delete("b")
        gc = Collector(layout_of(str(root)), 5.0, slice_folders=1 << 32)
        gc.run_once()
        gc.close()
        async with opened(str(root), "journal", id_bits) as store:
            assert await store.values() == {"a": b"kept"}
        there = files_under(root)
        assert set(foreign) - {"5/notes.txt"} <= there
        # With 16 bits that is the folder of id 5, in which there is no blob.
        assert "5/notes.txt" in there or ".quarantine/5-0/notes.txt" in there

    asyncio.run(run())


def test_two_folders_with_one_location(base: Path) -> None:
    async def run() -> None:
        root = str(base / "data")
        async with opened(root) as store:
            blob = await store.put("a", b"kept")
            folder = store.data_dir.folder(blob.id)
        shutil.copytree(folder, base / "data" / str((blob.id + 1) % 65536))
        async with opened(root) as store:
            assert await store.read("a") == b"kept"
            assert [reason for _, reason in store.found.quarantined]
            await store.delete("a")
        async with opened(root) as store:
            assert await store.values() == {}

    asyncio.run(run())


def test_a_first_level_folder_that_is_a_link_or_a_file_takes_no_blob(base: Path) -> None:
    """Recovery does not follow a link, so acknowledged blobs must not be behind one."""

    async def run() -> None:
        root = base / "data"
        async with opened(str(root), "journal", 32) as store:
            gone(root / "0")
            os.symlink(base / "elsewhere", root / "0")
            (root / "1").write_bytes(b"mine")
            for number in range(20):
                await store.put(f"x{number}", b"kept")
        async with opened(str(root), "journal", 32) as store:
            assert len(await store.values()) == 20

    asyncio.run(run())


@pytest.mark.parametrize("change", [cut, gone, garbage, a_folder, a_pipe])
def test_a_state_that_rots_while_it_is_served_is_written_anew(
    data: DataDirectory, start_server: StartServer, change: Callable[[Path], None]
) -> None:
    """The recovery worker finds it. The server still knows everything that it said."""
    data.rotten = True
    server = start_server()
    assert server.ask("POST", "/store/a", b"kept", {"Content-Type": "text/x"}).status == 201
    blob_id = next(int(n) for n in os.listdir(data.root) if layout.parse_id(n) is not None)
    state = data.path / str(blob_id) / layout.STATE_NAME
    change(state)
    worker = Process("recovery", data.path)
    try:
        wait_for(lambda: "written anew" in server.said(), what="the state's return")
        if change is a_folder:
            wait_for(lambda: (data.path / layout.QUARANTINE_NAME).is_dir(), what="quarantine")
    finally:
        worker.end()
    server.kill()
    server.restart()
    answer = server.ask("GET", "/store/a")
    if change is a_folder:
        # a folder cannot be overwritten, so the blob is in quarantine, with its location known
        assert answer.status == 500
    else:
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"kept", "text/x")


def test_damage_over_http_is_never_sent_as_good(data: DataDirectory, start_server: StartServer) -> None:
    data.rotten = True
    server = start_server()
    body = os.urandom(2_500_000)
    assert server.ask("POST", "/store/a", body).status == 201
    assert server.ask("POST", "/store/b", b"fine").status == 201
    path = next(p for p in data.path.rglob(layout.DATA_NAME) if p.stat().st_size == len(body))
    with path.open("r+b") as file:
        file.seek(1_500_000)
        file.write(bytes([body[1_500_000] ^ 4]))
    good = server.ask("GET", "/store/a", headers={"Range": "bytes=10-1000"})
    assert (good.status, good.body) == (206, body[10:1001])
    with pytest.raises(http.client.IncompleteRead) as cut_off:  # the head had been sent with the first MiB
        server.ask("GET", "/store/a")
    assert cut_off.value.partial == body[: 1 << 20]
    bad = server.ask("GET", "/store/a", headers={"Range": "bytes=1400000-1400009"})
    assert bad.status == 500
    assert "damaged" in bad.body.decode()
    for method in ("GET", "HEAD"):
        assert server.ask(method, "/store/a").status == 500
    assert server.ask("GET", "/store/b").body == b"fine"
    wait_for(
        lambda: list(data.path.glob(f"{layout.QUARANTINE_NAME}/*/{layout.NOTE_NAME}")), what="quarantine"
    )
    server.kill()
    server.restart()
    assert server.ask("GET", "/store/a").status == 500
    assert server.ask("PUT", "/store/a", b"anew").status in (200, 201)
    assert server.ask("GET", "/store/a").body == b"anew"
