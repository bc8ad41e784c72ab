"""Faults without injection: a disk that fills up, a limit of 64 descriptors, a directory that disappears."""

from __future__ import annotations

import http.client
import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.engines.local.upkeep.collector import Collector
from tests.conftest import StartServer
from tests.support.processes import Server, wait_for
from tests.support.rules import DataDirectory, layout_of


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB in memory."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("file systems may not be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("sync", ["journal", "folder"])
def test_a_full_disk_refuses_writes_serves_reads_and_lets_deletes_make_room(
    small_disk: Path, sync: str
) -> None:
    data = DataDirectory(small_disk / "data")
    server = Server(data.path, "--sync", sync)
    try:
        kept: dict[str, bytes] = {}
        refused = 0
        for number in range(2000):
            body = os.urandom(200_000 if refused == 0 else 2000)
            answer = server.ask("POST", f"/store/{number}", body)
            assert answer.status in (201, 507), answer
            if answer.status == 201:
                kept[str(number)] = body
            else:
                refused += 1
                if refused > 20:
                    break
        assert refused > 20
        assert server.ask("PUT", "/store/0", os.urandom(300_000)).status == 507
        for name, body in kept.items():
            assert server.ask("GET", f"/store/{name}").body == body
        # Now there is no room at all: somebody else has taken what was left.
        with (small_disk / "filler").open("wb", buffering=0) as filler:
            for piece in (1 << 16, 1 << 12, 1):
                try:
                    while filler.write(bytes(piece)):
                        pass
                except OSError:
                    pass
        for name in list(kept):
            assert server.ask("DELETE", f"/store/{name}").status == 200
            del kept[name]
            if len(kept) % 3 == 0:
                collect(data)
        collect(data)
        (small_disk / "filler").unlink()
        wait_for(lambda: server.ask("POST", "/store/again", bytes(300_000)).status == 201, what="room")
        assert server.stop() == 0
    finally:
        server.end()
    data.check()


def collect(data: DataDirectory) -> None:
    gc = Collector(layout_of(data.root), 5.0, slice_folders=1 << 32)
    gc.run_once()
    gc.close()


def test_64_descriptors_refuse_some_and_lose_nothing(data: DataDirectory, start_server: StartServer) -> None:
    server = start_server()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
    answered: dict[str, bytes] = {}
    mutex = threading.Lock()
    lost: list[int] = []

    def client(number: int) -> None:
        for turn in range(6):
            name, body = f"{number}-{turn}", os.urandom(3000)
            try:
                status = server.ask("POST", f"/store/{name}", body).status
            except (OSError, http.client.HTTPException):
                lost.append(number)
                continue
            assert status in (201, 503), status
            if status == 201:
                with mutex:
                    answered[name] = body

    clients = [threading.Thread(target=client, args=(number,)) for number in range(24)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert answered, (len(lost), os.listdir(f"/proc/{server.pid}/fd"), server.said()[-1500:])
    assert server.popen.poll() is None, server.said()[-2000:]
    wait_for(
        lambda: server.ask("PUT", "/store/0-0", b"x").status in (200, 404), what="a write after the rush"
    )
    answered.pop("0-0", None)
    for name, body in list(answered.items())[::5]:
        assert server.ask("GET", f"/store/{name}").body == body
    server.kill()
    server.restart()
    for name, body in answered.items():
        assert server.ask("GET", f"/store/{name}").body == body


@pytest.mark.parametrize("sync", ["journal", "folder"])
def test_a_directory_that_vanishes_is_never_acknowledged_into(tmp_path: Path, sync: str) -> None:
    root = tmp_path / "data"
    server = Server(root, "--sync", sync)
    try:
        assert server.ask("POST", "/store/a", b"there").status == 201
        shutil.rmtree(root)
        for _ in range(3):
            try:
                assert server.ask("POST", "/store/b", b"nowhere").status >= 500
                answer = server.ask("GET", "/store/a")  # neither damaged nor 404
                assert answer.status in (200, 503) or b"the server stops" in answer.body, answer
            except (OSError, http.client.HTTPException):
                break  # it has stopped
    finally:
        server.popen.kill()
        server.popen.wait(120)


def test_a_disk_that_turns_read_only_refuses_writes_and_serves_reads(small_disk: Path) -> None:
    data = DataDirectory(small_disk / "data")
    server = Server(data.path, "--sync", "folder")
    try:
        assert server.ask("POST", "/store/a", b"there").status == 201
        # The journal and the lock are open for writing, and then some kernels refuse.
        remounted = subprocess.run(
            ["mount", "-o", "remount,ro", str(small_disk)], capture_output=True, check=False
        )
        if remounted.returncode != 0:
            pytest.skip("this kernel does not turn a file system read-only that is being written")
        assert server.ask("POST", "/store/b", b"nowhere").status >= 500
        assert server.ask("GET", "/store/a").body == b"there"
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        server.kill()
        server.restart()
        assert server.ask("GET", "/store/a").body == b"there"
        assert server.ask("GET", "/store/b").status == 404
        server.stop()
    finally:
        server.end()
    data.check()
