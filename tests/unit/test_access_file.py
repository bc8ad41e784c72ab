"""The access file: what is refused in it, and the command that adds to it."""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path

import pytest

from common.errors import ConfigError
from services.access import file as access_file
from services.access.decisions import Client, Role
from services.access.secret_hash import hash_token

HASH = str(hash_token("t"))
ENTRY = f'[[client]]\nname = "ci"\nrole = "read-only"\nhash = "{HASH}"\n'


def write(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_an_entry_says_name_role_prefix_and_hash() -> None:
    text = ENTRY + ENTRY.replace("ci", "ann").replace("read-only", "append-only") + 'prefix = "ä b/"\n'
    assert access_file.parse(text) == [
        Client("ci", Role.READ_ONLY, "", hash_token("t")),
        Client("ann", Role.APPEND_ONLY, "ä b/", hash_token("t")),
    ]
    assert access_file.parse("") == access_file.parse(access_file.HEADER) == []


@pytest.mark.parametrize("prefix", ["", "builds/", 'a "quoted" \\ ü 😀/'])
def test_what_the_command_writes_is_read_back_the_same(prefix: str) -> None:
    made = access_file.make_client("ci", "append-only", prefix, hash_token("t"))
    assert access_file.parse(access_file.HEADER + access_file.entry_text(made)) == [made]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ENTRY + ENTRY, "two clients 'ci'"),
        ("[client]\nname = 'ci'\n", r"only hold tables \[\[client\]\]"),
        ("client = 'ci'\n", r"only hold tables \[\[client\]\]"),
        ("client = ['ci']\n", r"it is not a table"),
        ("[[user]]\n", r"only hold tables \[\[client\]\]"),
        ("role = 'read-write'\n" + ENTRY, r"only hold tables \[\[client\]\]"),
        (ENTRY.replace("role", "rolle"), "no key 'rolle'"),
        (ENTRY.replace("read-only", "admin"), "no role 'admin': it is one of read-only"),
        (ENTRY.replace("read-only", "Read-Only"), "no role"),
        (ENTRY.replace('role = "read-only"\n', ""), "its role is missing"),
        (ENTRY.replace('name = "ci"\n', ""), "client None .1 in the file.: its name is missing"),
        (ENTRY.replace(f'hash = "{HASH}"', ""), "its hash is missing"),
        (ENTRY.replace(HASH, "secret"), "client 'ci' .*its hash is of no use"),
        (ENTRY.replace('"ci"', '"c:i"'), "a name is 1 to 64"),
        (ENTRY.replace('"ci"', '""'), "a name is 1 to 64"),
        (ENTRY.replace('"ci"', "7"), "name must be a string"),
        (ENTRY + 'prefix = "/builds/"\n', "begin without a slash"),
        (ENTRY + 'prefix = "a\\u0007/"\n', "control character"),
        (ENTRY + "prefix = true\n", "prefix must be a string"),
        (ENTRY + "[[client", "at end of document"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        access_file.parse(text)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o644, 0o666, 0o610, 0o777])
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "clients.toml", ENTRY, mode)
    with pytest.raises(ConfigError, match=f"{mode:04o}.*chmod 600"):
        access_file.load(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert [c.name for c in access_file.load(write(tmp_path / "clients.toml", ENTRY, mode))] == ["ci"]


def test_what_is_no_readable_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name, told in (
        ("missing", "cannot be read: No such file"),
        ("fifo", "is not a file"),
        (".", "cannot be read|is not a file"),
        ("latin1", "utf-8"),
    ):
        (tmp_path / "latin1").write_bytes(b"# \xe4")
        (tmp_path / "latin1").chmod(0o600)
        with pytest.raises(ConfigError, match=told):
            access_file.load(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "clients.toml", ENTRY)
    os.chown(path, 65534, 0)
    with pytest.raises(ConfigError, match="belongs to another user"):
        access_file.load(path)


def test_the_command_makes_the_file_and_prints_each_token_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clients.toml"
    old_umask = os.umask(0)
    try:
        assert access_file.main(["add", str(path), "ci", "--role", "append-only", "--prefix", "builds/"]) == 0
    finally:
        os.umask(old_umask)
    out, err = capsys.readouterr()
    token = out.strip()
    assert token.startswith("bk_")
    assert len(token) > 40
    assert "signal HUP" in err
    assert token not in err
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert access_file.main(["add", str(path), "ann"]) == 0
    assert capsys.readouterr().out.strip() != token
    ci, ann = access_file.load(str(path))
    assert (ci.name, ci.role, ci.prefix) == ("ci", Role.APPEND_ONLY, "builds/")
    assert (ann.name, ann.role, ann.prefix) == ("ann", Role.READ_WRITE, "")
    assert ci.hash.matches(token)
    assert path.read_text().count("# Who may use") == 1


def test_the_command_takes_a_password_and_prints_nothing_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clients.toml"
    monkeypatch.setattr("sys.stdin", io.StringIO("pass word\nmore\n"))
    assert access_file.main(["add", str(path), "ann", "--password"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "pass word" not in err + path.read_text()
    assert access_file.load(str(path))[0].hash.matches("pass word")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ci"], "is in .* already"),
        (["c:i"], "a name is"),
        (["new", "--prefix", "/x"], "begin without a slash"),
        (["new", "--password"], "at least one character"),
    ],
)
def test_the_command_refuses_and_leaves_the_file_as_it_was(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    path = tmp_path / "clients.toml"
    write(path, ENTRY)
    assert access_file.main(["add", str(path), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(told, err)
    assert path.read_text() == ENTRY


def test_the_command_adds_nothing_to_a_file_that_others_may_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "clients.toml", ENTRY, 0o644)
    assert access_file.main(["add", path, "new"]) == 2
    assert "chmod 600" in capsys.readouterr().err


def test_the_command_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert access_file.main(["add", str(tmp_path / "missing" / "clients.toml"), "ci"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "cannot be written: No such file" in err
