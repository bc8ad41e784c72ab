"""The commands for the quarantine: list it, see what is still good, restore it, or remove it for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.processes import Server, wait_for
from tests.support.rules import DataDirectory
from tests.support.tools import tool

MIB = 1 << 20
CONTENT = b"a" * MIB + b"b" * MIB + b"c" * 100


@pytest.fixture
def damaged(server: Server, data: DataDirectory) -> Path:
    """The folder in quarantine of a blob at `bad`, whose second MiB has a wrong byte."""
    data.rotten = True
    assert server.ask("POST", "/store/bad", CONTENT, {"Content-Type": "text/x"}).status == 201
    (path,) = data.path.glob("*/data.raw")
    flip(path)
    return quarantined(server, data)


def flip(path: Path) -> None:
    """Flip a bit in the second MiB. A second call repairs it."""
    with path.open("r+b") as file:
        file.seek(MIB + 5)
        byte = file.read(1)[0]
        file.seek(MIB + 5)
        file.write(bytes([byte ^ 1]))


def quarantined(server: Server, data: DataDirectory) -> Path:
    """Have the damage found, and wait until the blob is in quarantine."""
    assert tool("check", "--dir", data.path).status == 1
    home = data.path / ".quarantine"
    wait_for(lambda: home.is_dir() and any(home.iterdir()), what="the quarantine")
    (folder,) = home.iterdir()
    assert server.ask("GET", "/store/bad").status == 500
    return folder


def url(server: Server) -> tuple[str, str]:
    return "--url", f"http://127.0.0.1:{server.port}"


def test_list_and_show_tell_why_it_is_there_and_which_bytes_are_good(
    damaged: Path, data: DataDirectory
) -> None:
    (entry,) = tool("quarantine", "list", "--json", "--dir", data.path).json["quarantined"]
    assert (entry["name"], entry["location"], entry["released"]) == (damaged.name, "bad", False)
    assert "answers 500" in tool("quarantine", "list", "--dir", data.path).out
    shown = tool("quarantine", "show", damaged.name, "--json", "--dir", data.path)
    assert (shown.status, shown.json["bad_mib"], shown.json["whole"]) == (1, [1], False)
    assert str(damaged) in tool("quarantine", "show", damaged.name, "--dir", data.path).out


def test_what_is_still_damaged_is_not_restored(damaged: Path, data: DataDirectory, server: Server) -> None:
    ran = tool("quarantine", "restore", damaged.name, *url(server), "--dir", data.path)
    assert ran.status == 1
    assert "fails its checksum in MiB 1" in ran.err
    assert server.ask("GET", "/store/bad").status == 500


def test_what_was_repaired_is_restored_through_the_server(
    damaged: Path, data: DataDirectory, server: Server
) -> None:
    flip(damaged / "data.raw")
    assert tool("quarantine", "show", damaged.name, "--dir", data.path).status == 0
    ran = tool("quarantine", "restore", damaged.name, *url(server), "--dir", data.path)
    assert ran.status == 0, ran
    answer = server.ask("GET", "/store/bad")
    assert (answer.body, answer.headers["content-type"]) == (CONTENT, "text/x")
    assert tool("check", "--dir", data.path).status == 0
    # Its folder stays, but no longer affects the location, also after a delete and a restart.
    assert server.ask("DELETE", "/store/bad").status == 200
    server.kill()
    server.restart()
    assert server.ask("GET", "/store/bad").status == 404
    assert damaged.exists()


def test_it_is_restored_without_a_server_too(damaged: Path, data: DataDirectory, server: Server) -> None:
    flip(damaged / "data.raw")
    server.stop()
    assert tool("quarantine", "restore", damaged.name, "--dir", data.path).status == 0
    server.restart()
    assert server.ask("GET", "/store/bad").body == CONTENT


def test_what_was_written_anew_since_stands(damaged: Path, data: DataDirectory, server: Server) -> None:
    flip(damaged / "data.raw")
    assert server.ask("PUT", "/store/bad", b"newer").status == 200
    ran = tool("quarantine", "restore", damaged.name, *url(server), "--dir", data.path)
    assert ran.status == 1
    assert "written anew since" in ran.err
    assert server.ask("GET", "/store/bad").body == b"newer"
    other = tool("quarantine", "restore", damaged.name, "--to", "b/2", *url(server), "--dir", data.path)
    assert other.status == 0
    assert server.ask("GET", "/store/b/2").body == CONTENT
    assert server.ask("GET", "/store/bad").body == b"newer"


def test_what_was_deleted_since_is_not_brought_back_by_accident(
    damaged: Path, data: DataDirectory, server: Server
) -> None:
    flip(damaged / "data.raw")
    assert server.ask("DELETE", "/store/bad").status == 200
    restore = ("quarantine", "restore", damaged.name, *url(server), "--dir", data.path)
    ran = tool(*restore)
    assert ran.status == 1
    assert "deleted since" in ran.err
    assert server.ask("GET", "/store/bad").status == 404
    assert tool(*restore, "--even-deleted").status == 0
    assert server.ask("GET", "/store/bad").body == CONTENT


def test_drop_asks_and_then_removes_for_good(
    damaged: Path, data: DataDirectory, start_server: StartServer
) -> None:
    ran = tool("quarantine", "drop", damaged.name, "--dir", data.path)
    assert (ran.status, damaged.exists()) == (2, True)
    ran = tool("quarantine", "drop", damaged.name, "--yes", "--json", "--dir", data.path)
    assert ran.status == 0
    assert ran.json["freed_bytes"] > len(CONTENT)
    assert not damaged.exists()
    assert tool("quarantine", "list", "--dir", data.path).out == "Nothing is in quarantine.\n"
    assert tool("quarantine", "drop", damaged.name, "--yes", "--dir", data.path).status == 3


@pytest.mark.parametrize("location", ["/foo", "a//b", "new/", "x" * 1025, "a/../b", "a\nb"])
def test_it_is_restored_to_no_location_that_cannot_be_asked_for(
    location: str, damaged: Path, data: DataDirectory, server: Server
) -> None:
    flip(damaged / "data.raw")
    server.stop()
    ran = tool("quarantine", "restore", damaged.name, "--to", location, "--dir", data.path)
    assert ran.status == 2, ran
    assert tool("ls", "--json", "--dir", data.path).json["blobs"] == []
