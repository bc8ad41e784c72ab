"""The tools that only look: ls, show, du, check, bench, and what all commands have in common."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from services.engines.local.disk import directory
from services.tools.bench import Belief, judge
from tests.conftest import StartServer
from tests.support.environment import environment
from tests.support.processes import Server, wait_for
from tests.support.rules import DataDirectory
from tests.support.terminal import run_on_terminal
from tests.support.tools import COMMAND, tool

# A location may contain all of these: characters that end lines, reverse text, hide it, or control a
# terminal.
NASTY = "a\u2028b\u202ec\u2066d\u200be\ufefff"


def rot(data: DataDirectory, content: bytes) -> Path:
    """Flip a bit of the blob that holds `content`; its folder."""
    data.rotten = True
    for path in data.path.glob("*/data.raw"):
        if path.read_bytes() == content:
            path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
            return path.parent
    raise AssertionError("no such blob")


def test_ls_and_show_tell_what_is_there_while_a_server_runs(server: Server, data: DataDirectory) -> None:
    assert server.ask("POST", "/store/photos/cat", b"meow", {"Content-Type": "image/x"}).status == 201
    said = {"Cache-Control": "max-age=7", "X-Meta-Colour": "grey"}
    assert server.ask("PUT", "/store/photos/cat", b"purr!", said).status == 200
    assert server.ask("POST", "/store/notes", b"n").status == 201
    assert server.ask("POST", "/store/gone", b"g").status == 201
    assert server.ask("DELETE", "/store/gone").status == 200
    assert tool("ls", "--dir", data.path).out.splitlines() == ["notes", "photos/cat"]
    long = tool("ls", "-l", "photos/", "--dir", data.path).out.splitlines()
    assert long[0].split() == ["ID", "SIZE", "MODIFIED", "TYPE", "LOCATION"]
    assert long[1].split()[1] == "5"
    assert len(long) == 2
    every = tool("ls", "-a", "--json", "--dir", data.path).json["blobs"]
    assert [(b["location"], b["state"], b["served"]) for b in every] == [
        ("gone", "Failure", False),
        ("notes", "OK", True),
        ("photos/cat", "Failure", False),
        ("photos/cat", "OK", True),
    ]
    by_location = tool("show", "photos/cat", "--json", "--dir", data.path).json["blobs"]
    assert [event["message"] for event in by_location[0]["history"]] == [
        "Blob Data WR Complete!",
        "Starting Data WR",
        "Blob Updated & Saved!",
    ]
    by_id = tool("show", str(by_location[0]["id"]), "--dir", data.path)
    assert f"blob {by_location[0]['id']} of photos/cat" in by_id.out
    assert " - OK - Blob Data WR Complete!" in by_id.out
    assert "  metadata\n    cache-control: max-age=7\n    x-meta-colour: grey\n" in by_id.out
    assert "\x1b" not in by_id.out


def test_show_of_a_number_is_the_id_or_the_location_as_asked(server: Server, data: DataDirectory) -> None:
    assert server.ask("POST", "/store/70000", b"x").status == 201
    assert tool("show", "70000", "--dir", data.path).status == 0
    assert tool("show", "70000", "--id", "--dir", data.path).status == 3
    (blob,) = tool("show", "70000", "--location", "--json", "--dir", data.path).json["blobs"]
    assert blob["location"] == "70000"


def test_history_is_in_colour_on_a_terminal_and_nowhere_else(server: Server, data: DataDirectory) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    command = [*COMMAND, "show", "a", "--dir", str(data.path)]
    _, shown = run_on_terminal(command, environment())
    assert " - \x1b[32mOK\x1b[0m - Blob Data WR Complete!" in shown
    assert " - \x1b[33mPending\x1b[0m - Starting Data WR" in shown
    for variable in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        _, plain = run_on_terminal(command, {**environment(), **variable})
        assert " - OK - Blob Data WR Complete!" in plain
        assert "\x1b" not in plain


def test_no_location_forges_a_line_of_a_tool_or_of_a_log(
    start_server: StartServer, data: DataDirectory
) -> None:
    server = start_server("-D", "--access-log")
    target = "/store/" + quote(NASTY)
    assert server.ask("POST", target, b"x").status == 201
    for control in ("%0a", "%0d", "%00", "%1b", "%c2%9b"):
        assert server.ask("POST", f"/store/x{control}y", b"x").status == 400
    rot(data, b"x")
    assert server.ask("GET", target).status == 500
    wait_for(lambda: list(data.path.glob(".quarantine/*/quarantine.json")), what="the quarantine")
    wait_for(lambda: "damaged" in server.said(), what="the line about it")
    log = server.said()
    for text in (
        log,
        tool("quarantine", "list", "--dir", data.path).out,
        tool("check", "--dir", data.path).out,
        tool("check", "--json", "--dir", data.path).out,
    ):
        assert "u2028b" in text, "escaped, it is there"
        for line in text.split("\n"):
            assert line.isprintable(), repr(line)


def test_check_finds_rot_while_a_server_runs_and_the_server_acts(
    start_server: StartServer, data: DataDirectory
) -> None:
    server = start_server()
    assert server.ask("POST", "/store/good", b"good").status == 201
    assert server.ask("POST", "/store/bad", b"bad content").status == 201
    well = tool("check", "--dir", data.path)
    assert well.status == 0
    assert "All is well." in well.out
    folder = rot(data, b"bad content")
    dry = tool("check", "--dry-run", "--json", "--dir", data.path)
    assert (dry.status, dry.json["server"], dry.json["counts"]["damaged"]) == (1, True, 1)
    assert folder.exists()
    found = tool("check", "--json", "--dir", data.path)
    assert found.status == 1
    assert [d["location"] for d in found.json["damaged"]] == ["bad"]
    wait_for(lambda: not folder.exists(), what="the quarantine")
    assert server.ask("GET", "/store/bad").status == 500
    assert server.ask("GET", "/store/good").body == b"good"
    # A blob in quarantine is reported to the operator until its location is written or deleted.
    assert tool("check", "--dir", data.path).status == 1
    assert server.ask("PUT", "/store/bad", b"anew").status == 200
    assert tool("check", "--dir", data.path).status == 0


def test_check_without_a_server_settles_what_a_dead_one_left(server: Server, data: DataDirectory) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    server.kill()
    (data.path / "5").mkdir(mode=0o700)
    (data.path / "5" / "data.raw.tmp").write_bytes(b"never complete")
    dry = tool("check", "--dry-run", "--json", "--dir", data.path)
    assert dry.json["counts"]["never complete, removed"] == 1
    assert (data.path / "5").exists()
    assert tool("check", "--json", "--dir", data.path).json["server"] is False
    assert not (data.path / "5").exists()
    assert tool("ls", "--dir", data.path).out == "a\n"


def test_du_tells_what_takes_room_by_state_and_by_prefix(server: Server, data: DataDirectory) -> None:
    for name in ("a/1", "a/2", "b"):
        assert server.ask("POST", f"/store/{name}", b"x" * 10_000).status == 201
    assert server.ask("DELETE", "/store/a/2").status == 200
    found = tool("du", "--json", "--dir", data.path).json
    assert found["states"]["OK"]["count"] == 2
    assert found["states"]["OK"]["data_bytes"] > 20_000
    assert found["states"]["Failure"]["count"] == 1
    assert {group["group"]: group["count"] for group in found["groups"]} == {"a/": 2, "b": 1}
    assert found["ids_left"] == 65536 - 3
    assert "ids left: 65,533" in tool("du", "--dir", data.path).out


def test_what_cannot_be_done_is_a_sentence_and_a_status(tmp_path: Path, data: DataDirectory) -> None:
    directory.open_directory(str(data.path), 16, owner=True)
    for status, *arguments in (
        (2, "ls", "--dir", str(tmp_path / "not-there")),
        (2, "ls", "--dir", str(data.path), "-c", str(tmp_path / "no.toml")),
        (3, "show", "nothing", "--dir", str(data.path)),
        (3, "import", str(tmp_path / "no.tar"), "--dir", str(data.path)),
        (3, "quarantine", "show", "1-1", "--dir", str(data.path)),
        (3, "bench", str(tmp_path / "no")),
    ):
        ran = tool(*arguments)
        assert ran.status == status, ran
        assert ran.err.startswith("blobkeep: ")
        assert ran.err.count("\n") == 1
    assert not (tmp_path / "not-there").exists(), "a tool that looks makes no directory"
    for command in ("ls", "show", "du", "check", "quarantine", "export", "import", "bench"):
        assert "exit status:" in tool(command, "--help").out


def test_a_reader_that_leaves_early_is_no_error(server: Server, data: DataDirectory) -> None:
    for number in range(20):
        assert server.ask("POST", f"/store/{'x' * 900}{number}", b"x").status == 201
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "ls", "-l", "--dir", str(data.path)],
        env=environment(),
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
    )
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == b""


def test_bench_measures_this_disk_and_leaves_nothing(tmp_path: Path) -> None:
    ran = tool("bench", tmp_path, "--seconds", "0.5", "--json")
    assert ran.status in (0, 1)
    found = ran.json
    assert len(found["latencies"]) == 3
    assert all(x["p50_us"] <= x["p99_us"] <= x["max_us"] for x in found["latencies"])
    assert found["write_mb_per_s"] > 0
    assert found["verdict"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no tmpfs here")
def test_bench_does_not_believe_memory() -> None:
    folder = Path("/dev/shm") / f"blobkeep-test-{os.getpid()}"
    folder.mkdir()
    try:
        ran = tool("bench", folder, "--seconds", "0.4", "--json")
        assert (ran.status, ran.json["believe"], ran.json["file_system"]) == (1, "no", "tmpfs")
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("sync_us", "file_system", "rotates", "belief"),
    [
        (3.0, "ext4", False, Belief.NO),
        (3.0, "ext4", True, Belief.NO),
        (500.0, "tmpfs", None, Belief.NO),
        (93.0, "ext4", False, Belief.ASK),
        (300.0, "ext4", True, Belief.ASK),
        (300.0, "ext4", False, Belief.YES),
        (300.0, "xfs", None, Belief.YES),
        (8_300.0, "ext4", True, Belief.YES),
        (40_000.0, "ext4", True, Belief.YES),
    ],
)
def test_the_verdict(sync_us: float, file_system: str, rotates: bool | None, belief: Belief) -> None:
    assert judge(sync_us, file_system, rotates)[0] is belief


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could write in the directory of another")
def test_root_leaves_nothing_in_the_directory_of_another_user(data: DataDirectory, tmp_path: Path) -> None:
    directory.open_directory(str(data.path), 16, owner=True)
    before = sorted(data.path.iterdir())
    an_export = tmp_path / "empty.tar"
    assert tool("import", an_export, "--dir", data.path).status == 3
    tarfile.open(an_export, "w").close()
    os.chown(data.path, 12345, 12345)
    for command in (
        ("check",),
        ("export", tmp_path / "e.tar"),
        ("quarantine", "drop", "1-1", "--yes"),
        ("import", an_export),
    ):
        ran = tool(*command, "--dir", data.path)
        assert (ran.status, "sudo -u #12345" in ran.err) == (2, True), ran
    assert "running server: --url http" in ran.err, "for import it does not matter there"
    for looking in (("ls", "-l"), ("du", "--json"), ("quarantine", "list"), ("check", "--dry-run")):
        assert tool(*looking, "--dir", data.path).status == 0
    assert sorted(data.path.iterdir()) == before
    os.chown(data.path, 0, 0)


def test_a_name_that_the_terminal_cannot_show_is_escaped(server: Server, data: DataDirectory) -> None:
    assert server.ask("POST", "/store/%E2%9C%93", b"a").status == 201
    latin = {**environment(), "PYTHONIOENCODING": "latin-1"}
    ran = subprocess.run([*COMMAND, "ls", "--dir", data.path], env=latin, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, b"\\u2713\n"), ran
