"""Only the owner may use what the processes create, whatever umask they inherit."""

from __future__ import annotations

import os

import pytest

from tests.conftest import StartServer
from tests.support.processes import Process
from tests.support.rules import DataDirectory


@pytest.mark.parametrize("inherited", [0, 0o177])
def test_files_are_for_their_owner_alone_whatever_the_umask(
    start_server: StartServer, data: DataDirectory, inherited: int
) -> None:
    old = os.umask(inherited)
    try:
        server = start_server()
        workers = [Process(name, data.path, "--once") for name in ("gc", "recovery")]
    finally:
        os.umask(old)
    assert server.ask("POST", "/store/small", b"1").status == 201
    assert server.ask("POST", "/store/large", bytes(3 << 20)).status == 201
    assert server.ask("PUT", "/store/small", b"2").status == 200
    assert server.ask("DELETE", "/store/large").status == 200
    assert [worker.popen.wait(120) for worker in workers] == [0, 0]
    found = [data.path, *data.path.rglob("*")]
    assert any(path.name == "data.raw" for path in found)
    wrong = [
        f"{path} {path.lstat().st_mode:o}"
        for path in found
        if path.lstat().st_mode & 0o777 != (0o700 if path.is_dir() else 0o600)
    ]
    assert not wrong


def test_a_directory_that_others_may_open_is_told(start_server: StartServer, data: DataDirectory) -> None:
    """A directory that was made earlier with 0755: another user could lock it and so prevent every
    restart.
    """
    data.path.mkdir()
    data.path.chmod(0o755)
    server = start_server()
    assert f"WARNING server: {data.root} is open to other users (mode 755)" in server.said()
    data.path.chmod(0o700)
    server.stop()
    server.restart()
    assert "open to other users" not in server.said()
