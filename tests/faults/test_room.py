"""Disks that run out of bytes or inodes: uploads are refused in time, deletes go on, and the server says
why.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from common import durable
from common.states import State
from services.engines.local.disk import blob_folder, reserve
from services.store import Content
from tests.support.disks import ext4, tmpfs
from tests.support.processes import Process, Server, wait_for
from tests.support.rules import DataDirectory
from tests.support.stores import opened

Disk = Callable[[Path], AbstractContextManager[Path]]


def few_in_memory(path: Path) -> AbstractContextManager[Path]:
    return tmpfs(path, inodes=320)


def few_on_ext4(path: Path) -> AbstractContextManager[Path]:
    return ext4(path, inodes=304)


class Filler:
    """Another program, which takes all `inodes`, or all bytes."""

    def __init__(self, disk: Path) -> None:
        self._home = disk / "filler"
        self._home.mkdir()
        self._names = 0

    def take_all(self, *, inodes: bool) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._names += 1
                file = self._home / f"{self._names}"
                if inodes:
                    file.touch()
                    continue
                with file.open("wb", buffering=0) as opened:
                    for piece in (1 << 16, 1 << 12, 1):
                        with contextlib.suppress(OSError):
                            while opened.write(bytes(piece)):
                                pass
                return

    def give_back(self) -> None:
        for file in self._home.iterdir():
            file.unlink()


@pytest.fixture(params=[few_in_memory, few_on_ext4])
def few_inodes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with request.param(tmp_path / "disk") as path:
        yield path


@contextlib.contextmanager
def serving(data: DataDirectory, *flags: str) -> Iterator[Server]:
    server = Server(data.path, *flags)
    try:
        yield server
        assert server.stop() == 0, server.said()
    finally:
        server.end()
    data.check()


def spares(data: DataDirectory) -> int:
    return len(os.listdir(data.path / ".reserve"))


def fill(server: Server, size: int) -> list[str]:
    """POST until 507. Gives the names that were stored."""
    stored: list[str] = []
    while (answer := server.ask("POST", f"/store/{len(stored)}", bytes(size))).status == 201:
        stored.append(str(len(stored)))
    assert answer.status == 507, answer
    return stored


@pytest.mark.parametrize("sync", ["journal", "folder"])
@pytest.mark.parametrize("inodes", [False, True], ids=["bytes", "inodes"])
def test_what_deletes_used_up_of_the_reserve_is_made_again_while_the_server_runs(
    tmp_path: Path, sync: str, inodes: bool
) -> None:
    with tmpfs(tmp_path / "disk", inodes=1500) as disk:
        data = DataDirectory(disk / "data")
        filler = Filler(disk)
        with serving(data, "--sync", sync) as server:
            for number in range(40):
                assert server.ask("POST", f"/store/{number}", bytes(3000)).status == 201
            for turn in range(4):
                filler.take_all(inodes=inodes)
                for number in range(10 * turn, 10 * turn + 10):
                    assert server.ask("DELETE", f"/store/{number}").status == 200
                assert spares(data) < reserve.SPARES
                filler.give_back()
                wait_for(lambda: spares(data) == reserve.SPARES, what="a whole reserve")


@pytest.mark.parametrize("sync", ["journal", "folder"])
def test_out_of_inodes_every_delete_goes_on_beside_uploads_that_compete(few_inodes: Path, sync: str) -> None:
    """Nothing was removed before, and no gc has run yet. It still finds what it needs."""
    data = DataDirectory(few_inodes / "data")
    with serving(data, "--sync", sync) as server:
        stored = fill(server, 100)
        refusal = server.ask("POST", "/store/more", b"x")
        assert refusal.status == 507
        assert "inodes" in json.loads(refusal.body)["text"]
        health = server.ask("GET", "/healthz")
        assert health.status == 503
        assert "inodes" in json.loads(health.body)["text"]
        checks = json.loads(server.ask("GET", "/healthz?verbose").body)["checks"]
        assert [check["name"] for check in checks if check["vital"] and not check["ok"]] == ["room"]

        over = threading.Event()

        def compete() -> None:
            while not over.is_set():
                assert server.ask("POST", "/store/competitor", b"x").status in (201, 409, 507)

        competitor = threading.Thread(target=compete)
        competitor.start()
        try:
            answers = [server.ask("DELETE", f"/store/{name}").status for name in stored]
            assert answers == [200] * len(stored)
        finally:
            over.set()
            competitor.join()
        gc = Process("gc", data.path, "--once")
        assert gc.popen.wait(60) == 0, gc.said()
        assert f"removed={len(stored)} " in gc.said()
        assert "errors=0" in gc.said()
        assert fill(server, 100)


def test_the_gc_needs_no_inode(few_inodes: Path) -> None:
    data = DataDirectory(few_inodes / "data")
    filler = Filler(few_inodes)
    with serving(data) as server:
        for number in range(5):
            assert server.ask("POST", f"/store/{number}", b"x").status == 201
        (few_inodes / "data.gc.log").touch()  # the test's own
        filler.take_all(inodes=True)
        for number in range(5):
            assert server.ask("DELETE", f"/store/{number}").status == 200
        filler.take_all(inodes=True)
        gc = Process("gc", data.path, "--once")
        assert gc.popen.wait(60) == 0, gc.said()
        assert "removed=5 " in gc.said()
        assert "errors=0" in gc.said()
        filler.give_back()


def test_uploads_that_fail_on_a_full_disk_leave_the_reserve_to_deletes(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk") as disk:
        data = DataDirectory(disk / "data")
        filler = Filler(disk)
        with serving(data, "--small-body", "1024", "--min-free-space", "0") as server:
            for name in ("a", "b"):
                assert server.ask("POST", f"/store/{name}", b"x").status == 201
            filler.take_all(inodes=False)
            for number in range(5):
                assert server.ask("POST", f"/store/staged/{number}", bytes(3 << 20)).status == 507
            assert spares(data) == reserve.SPARES
            assert server.ask("DELETE", "/store/a").status == 200
        assert "stays Pending" not in server.said()


def test_an_aborted_upload_finds_room_for_its_failure_in_its_own_data(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while the body comes in. Its Failure state fits when its data is removed, without
    the reserve.
    """

    async def run() -> None:
        async with opened(data.root) as store:
            upload = await store.store.begin("a", lambda blob, damaged: None, Content("text/plain"), None)
            await upload.write(bytes(100_000))
            assert upload._pending is not None
            path = Path(store.data_dir.data(upload._pending.id))
            real = durable.replace

            def full_while_it_is_there(name: str, payload: bytes, *, synced: bool) -> None:
                if path.exists():
                    raise OSError(errno.ENOSPC, "full")
                real(name, payload, synced=synced)

            monkeypatch.setattr(durable, "replace", full_while_it_is_there)
            await upload.abort("the client left")
            assert blob_folder.read_record(store.data_dir, upload._pending.id).state is State.FAILURE
            assert spares(data) == reserve.SPARES

    asyncio.run(run())
