"""The command `blobkeep`: its flags, how it reaches a server or the store, and what is generated from its
parser.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.version import VERSION
from services.tools import completion, man
from services.tools.cli import COMMANDS, make_parser
from tests.conftest import StartServer
from tests.http.test_tls import make_certificate
from tests.support.environment import environment
from tests.support.processes import Server
from tests.support.programs import need, needs
from tests.support.rules import DataDirectory, live_blobs
from tests.support.tools import COMMAND, tool


def address(server: Server) -> tuple[str, str]:
    return "--url", f"http://127.0.0.1:{server.port}"


def test_no_argument_prints_the_help_and_the_version_is_told() -> None:
    ran = tool()
    assert (ran.status, ran.err) == (0, "")
    assert all(f"    {name} " in ran.out for name in COMMANDS)
    assert tool("--version").out == f"blobkeep {VERSION}\n"
    assert tool("ls", "--version").out == f"blobkeep {VERSION}\n"
    assert tool("lss").status == 2


def test_flags_of_every_command_stand_before_or_after_it(server: Server, data: DataDirectory) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    where = ("--dir", data.path)
    for arguments in (
        (*where, "--json", "ls"),
        (*where, "ls", "--json"),
        ("--json", "ls", *where),
        ("ls", *where, "--json"),
    ):
        assert [blob["location"] for blob in tool(*arguments).json["blobs"]] == ["a"]
    for words in ((*where, "quarantine", "--json", "list"), ("quarantine", "list", *where, "--json")):
        assert tool(*words).json == {"quarantined": []}


@pytest.mark.parametrize(
    ("typed", "status", "says"),
    [
        ("ls --nosuch", 2, "blobkeep ls: unrecognized arguments: --nosuch\nSee: blobkeep ls --help"),
        ("quarantine list x", 2, "See: blobkeep quarantine list --help"),
        ("serve --nosuch", 2, "blobkeep serve: unrecognized arguments: --nosuch"),
        ("serve --gc-interval never", 2, "--gc-interval-s: 'never' is not"),
        ("serve --dir none --no-create", 2, "none is no Blobkeep directory"),
        ("access add ann --role king", 2, "'read-only'"),
        ("health --url http://127.0.0.1:9", 5, "Connection refused. Start it with `blobkeep serve`"),
        ("ctl restart server --dir none", 3, "/none: give --dir."),
        ("copy none to", 2, "none is no Blobkeep directory"),
        ("link ../a --file access", 2, 'The location has a segment ".."'),
        ("link ../a --auth-file access", 2, 'The location has a segment ".."'),
        ("get a --create", 2, "unrecognized arguments: --create"),
        ("rm a --create", 2, "unrecognized arguments: --create"),
        ("link a", 2, "set auth_file, or give --auth-file."),
        ("access list --auth-file nofile", 3, "There is no file nofile"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do_and_nothing_is_made(
    tmp_path: Path, typed: str, status: int, says: str
) -> None:
    command = [*COMMAND, *typed.split()]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, says in done.stderr) == (status, True), done.stderr
    assert "<Role" not in done.stderr
    assert len(done.stderr) < 700
    assert not list(tmp_path.iterdir())


def test_a_folder_named_like_a_command_is_a_folder(tmp_path: Path) -> None:
    ran = tool("--dir", tmp_path / "ls", "check")
    assert f"{tmp_path / 'ls'} is no Blobkeep directory" in ran.err
    ran = tool("--dir", "ls", "check")
    assert "/ls is no Blobkeep directory" in ran.err


@pytest.mark.parametrize("serving", [True, False], ids=["server", "store"])
def test_put_get_and_rm(
    start_server: StartServer, data: DataDirectory, tmp_path: Path, serving: bool
) -> None:
    server = start_server()
    where: tuple[str | Path, ...] = ("--dir", data.path, *(address(server) if serving else ()))
    if not serving:
        assert server.stop() == 0
    small, large = tmp_path / "cat.jpg", tmp_path / "large"
    small.write_bytes(b"meow")
    large.write_bytes(os.urandom((2 << 20) + 5))
    assert tool("put", small, "photos/cat.jpg", "--json", *where).json["outcome"] == "created"
    assert tool("put", small, "photos/cat.jpg", "--new", *where).status == 1
    small.write_bytes(b"purr")
    ran = tool("put", small, "photos/cat.jpg", "--new", *where)
    assert (ran.status, "is there already" in ran.err) == (1, True)
    assert tool("put", small, "photos/cat.jpg", "--json", *where).json["outcome"] == "replaced"
    assert tool("put", large, "photos/large", *where).status == 0
    assert tool("put", small, "photos", *where).status == 0
    assert tool("put", small, "photography", *where).status == 0
    got = tmp_path / "got"
    assert tool("get", "photos/large", got, *where).status == 0
    assert got.read_bytes() == large.read_bytes()
    assert tool("get", "photos/none", tmp_path / "none", *where).status == 3
    assert sorted(path.name for path in tmp_path.iterdir() if "none" in path.name) == []
    ran = tool("rm", "photos/none", *where)
    assert (ran.status, "is not there" in ran.out) == (3, True)
    assert tool("rm", "-r", "/", *where).status == 2
    shown = tool("show", "photos/cat.jpg", "--json", "--dir", data.path).json["blobs"][0]
    assert shown["type"] == "image/jpeg"
    assert sorted(tool("rm", "-r", "photos", "--json", *where).json["deleted"]) == [
        *("photos", "photos/cat.jpg", "photos/large")
    ]
    if serving:
        server.stop()
    assert live_blobs(data.root) == {"photography": b"purr"}


@pytest.mark.parametrize("serving", [True, False], ids=["server", "store"])
def test_put_of_stdin_and_get_to_stdout(
    start_server: StartServer, data: DataDirectory, serving: bool
) -> None:
    server = start_server()
    where = ["--dir", str(data.path), *(address(server) if serving else ())]
    if not serving:
        assert server.stop() == 0
    body = os.urandom(300_000)
    for content in (b"first", body):  # created, then replaced
        put = [*COMMAND, "put", "-", "a", *where]
        subprocess.run(
            put, input=content, env=environment(), check=True, timeout=60, stdout=subprocess.DEVNULL
        )
    got = subprocess.run([*COMMAND, "get", "a", *where], env=environment(), check=True, capture_output=True)
    assert got.stdout == body


def test_a_damaged_blob_is_not_got(server: Server, data: DataDirectory, tmp_path: Path) -> None:
    assert server.ask("POST", "/store/bad", b"bad").status == 201
    data.rotten = True
    (path,) = data.path.glob("*/data.raw")
    path.write_bytes(b"bae")
    assert tool("get", "bad", tmp_path / "got", *address(server), "--dir", data.path).status == 1
    assert not (tmp_path / "got").exists()


def test_an_answer_that_is_cut_short_is_no_file(tmp_path: Path) -> None:
    """Python's own client takes what came before the connection ended for the whole body."""

    def answer_half(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            head = f'HTTP/1.1 200 OK\r\nETag: "{"0" * 64}"\r\nContent-Length: 10\r\n\r\n'
            connection.sendall(head.encode() + b"half")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer_half, args=(listening,))
        thread.start()
        ran = tool("get", "a", tmp_path / "a", "--url", f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()
    assert (ran.status, "cut short" in ran.err) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_server_elsewhere_is_told_from_one_that_does_not_run(server: Server, data: DataDirectory) -> None:
    """Who named its directory, and not its address, was told to start it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    where = {"BLOBKEEP_LISTEN": listen}
    ran = tool("get", "a", "--dir", data.path, env=where)
    assert (ran.status, f"Some server has {data.path}: name its address, --url" in ran.err) == (5, True), (
        ran.err
    )
    assert "blobkeep serve" not in ran.err
    assert server.stop() == 0
    assert tool("get", "a", "--dir", data.path, env=where).status == 3
    ran = tool("get", "a", "--url", f"http://{listen}", env=where)
    assert "Start it with `blobkeep serve`" in ran.err


# --- health ---


def test_health_asks_where_the_configuration_says_that_the_server_is(
    start_server: StartServer, data: DataDirectory, tmp_path: Path
) -> None:
    """It needs only the configuration, also for TLS and the address."""
    server = start_server()
    conf = tmp_path / "blobkeep.toml"
    conf.write_text(f'listen = "0.0.0.0:{server.port}"\n')
    ran = tool("health", "-c", conf)
    assert (ran.status, ran.out) == (0, "Ok!\n")
    said = tool("health", "--json", "--verbose", "-c", conf).json["said"]
    assert (said["ready"], said["version"]) == (True, VERSION)
    assert f"Blobkeep {VERSION}: serving 0 blobs" in server.said()
    server.stop()
    ran = tool("health", "-c", conf)
    assert (ran.status, "does not answer" in ran.err) == (5, True)
    files = make_certificate(tmp_path)
    flags = ("--tls-cert", files[0], "--tls-key", files[1])
    secure = start_server(*map(str, flags))
    conf.write_text(f'listen = "127.0.0.1:{secure.port}"\ntls_cert = "{files[0]}"\ntls_key = "{files[1]}"\n')
    assert tool("health", "-c", conf).status == 0
    # A command that may send a token accepts only the certificate of the configuration.
    (tmp_path / "a").write_bytes(b"a")
    assert tool("put", tmp_path / "a", "a", "-c", conf, "--dir", data.path).status == 0
    other = make_certificate(tmp_path, "other")
    conf.write_text(conf.read_text().replace(str(files[0]), str(other[0])))
    ran = tool("put", tmp_path / "a", "a", "-c", conf, "--dir", data.path)
    assert (ran.status, "certificate" in ran.err.lower()) == (5, True)


def test_health_is_not_well_where_the_server_says_so(start_server: StartServer, data: DataDirectory) -> None:
    server = start_server("--min-free-space", "900 TB")
    ran = tool("health", *address(server))
    assert (ran.status, "has no room" in ran.out) == (1, True)


# --- what is generated from the parser ---


def complete(*words: str) -> list[str]:
    """The completions that bash offers after these words."""
    script = completion.bash(make_parser())
    line = " ".join(f"'{word}'" for word in words)
    ask = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _blobkeep; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    return done.stdout.split()


@needs("bash")
def test_bash_completes_commands_flags_and_choices() -> None:
    assert complete("blobkeep", "qu") == ["quarantine"]
    assert complete("blobkeep", "quarantine", "re") == ["restore"]
    assert complete("blobkeep", "access", "add", "--role", "read-") == ["read-only", "read-write"]
    assert complete("blobkeep", "--json", "quarantine", "d") == ["drop"]
    assert "--replace" in complete("blobkeep", "import", "--")
    assert complete("blobkeep", "completion", "f") == ["fish"]
    assert complete("blobkeep", "import", "/etc/hostnam") == ["/etc/hostname"]
    assert complete("blobkeep", "ls", "--tar", "/etc/hostnam") == ["/etc/hostname"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_takes_its_script(shell: str) -> None:
    script = tool("completion", shell).out
    assert "quarantine" in script
    done = subprocess.run([need(shell), "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_manual_page_has_every_command_and_flag() -> None:
    page = tool("man").out
    assert page == man.page(make_parser()) + "\n"
    for name in COMMANDS:
        assert f".SS blobkeep {name}" in page
    assert "\\fB\\-\\-even\\-empty\\fR" in page
    done = subprocess.run(
        [need("groff"), "-man", "-Tutf8", "-ww"], input=page, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_that_a_terminal_cannot_show_is_escaped(server: Server, data: DataDirectory) -> None:
    assert server.ask("POST", "/store/%E2%9C%93", b"x").status == 201
    done = subprocess.run(
        [*COMMAND, "ls", "--dir", str(data.path)],
        env={**environment(), "PYTHONIOENCODING": "latin-1:strict"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"\\u2713\n")


def test_the_module_is_an_alias(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.tools", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"blobkeep {VERSION}\n"
