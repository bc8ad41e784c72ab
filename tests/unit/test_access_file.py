"""The access file: what is refused in it, and the command that changes it."""

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
from tests.support.tools import Ran, tool

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


def test_a_client_is_taken_out_of_the_text_and_all_else_stays() -> None:
    """Comments belong to people. Those above the next table stay with that table."""
    text = (
        access_file.HEADER
        + ENTRY
        + "# of the builds\n"
        + ENTRY.replace("ci", "ann")
        + ENTRY.replace("ci", "b")
    )
    assert access_file.without(text, "ann") == text.replace(ENTRY.replace("ci", "ann"), "")
    assert [c.name for c in access_file.parse(access_file.without(text, "ci"))] == ["ann", "b"]
    with pytest.raises(ValueError, match="no client 'eve'"):
        access_file.without(text, "eve")
    odd = "client = [{name = 'ci', role = 'read-only', hash = '" + HASH + "'}]\n"
    with pytest.raises(ValueError, match="no client 'ci'"):
        access_file.without(odd, "ci")


def test_a_secret_is_replaced_in_the_text_and_all_else_stays() -> None:
    text = access_file.HEADER + ENTRY + 'prefix = "x/"\n\n# the other one\n' + ENTRY.replace("ci", "ann")
    changed = access_file.with_secret(text, "ci", hash_token("new"))
    ci, ann = access_file.parse(changed)
    assert (ci.prefix, ci.hash.matches("new"), ann.hash.matches("t")) == ("x/", True, True)
    assert "# the other one" in changed
    keyed = access_file.with_secret(changed, "ci", "s" * 40)
    assert access_file.parse(keyed)[0].s3_secret == "s" * 40
    assert access_file.parse(keyed)[0].hash.matches("new")


def added(path: Path, *arguments: str) -> Ran:
    """`access add` on the file at `path`."""
    return tool("access", "add", *arguments, "--file", path)


def test_the_command_makes_the_file_and_prints_each_token_once(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    ran = added(path, "ci", "--role", "append-only", "--prefix", "builds/")
    assert ran.status == 0
    token = ran.out.strip()
    assert token.startswith("bk_")
    assert len(token) > 40
    assert "signal HUP" in ran.err
    assert token not in ran.err
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert added(path, "ann").out.strip() != token
    ci, ann = access_file.load(str(path))
    assert (ci.name, ci.role, ci.prefix) == ("ci", Role.APPEND_ONLY, "builds/")
    assert (ann.name, ann.role, ann.prefix) == ("ann", Role.READ_WRITE, "")
    assert ci.hash.matches(token)
    assert path.read_text().count("# Who may use") == 1


def test_the_command_takes_a_password_and_prints_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clients.toml"
    monkeypatch.setattr("sys.stdin", io.StringIO("pass word\nmore\n"))
    ran = added(path, "ann", "--password")
    assert (ran.status, ran.out) == (0, "")
    assert "pass word" not in ran.err + path.read_text()
    assert access_file.load(str(path))[0].hash.matches("pass word")


def test_list_remove_and_rotate(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    old = added(path, "ci", "--prefix", "builds/").out.strip()
    added(path, "alice", "--s3")
    here = ("--file", path)
    assert tool("access", "list", "--json", *here).json["clients"] == [
        {"name": "ci", "role": "read-write", "prefix": "builds/", "secret": "token"},
        {"name": "alice", "role": "read-write", "prefix": "", "secret": "S3 key"},
    ]
    new = tool("access", "rotate", "ci", *here).out.strip()
    (ci, _) = access_file.load(str(path))
    assert (ci.hash.matches(new), ci.hash.matches(old), ci.prefix) == (True, False, "builds/")
    secret = tool("access", "rotate", "alice", "--s3", "--json", *here).json["secret_access_key"]
    assert access_file.load(str(path))[1].s3_secret == secret
    assert tool("access", "remove", "ci", *here).status == 0
    assert [client.name for client in access_file.load(str(path))] == ["alice"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for command in ("remove", "rotate"):
        ran = tool("access", command, "ci", *here)
        assert (ran.status, "no client 'ci'" in ran.err) == (3, True)


def test_the_file_is_that_of_the_configuration(tmp_path: Path) -> None:
    path, conf = tmp_path / "clients.toml", tmp_path / "blobkeep.toml"
    assert tool("access", "list").status == 2
    conf.write_text(f'auth_file = "{path}"\n')
    assert tool("-c", conf, "access", "list").status == 3
    assert tool("-c", conf, "access", "add", "ci").status == 0
    assert [client.name for client in access_file.load(str(path))] == ["ci"]


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    path = tmp_path / "clients.toml"
    write(path, ENTRY)
    ran = added(path, *arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert re.search(told, ran.err)
    assert path.read_text() == ENTRY


def test_the_command_adds_nothing_to_a_file_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    write(path, ENTRY, 0o644)
    ran = added(path, "new")
    assert (ran.status, "chmod 600" in ran.err) == (2, True)


def test_the_command_says_where_it_cannot_write(tmp_path: Path) -> None:
    ran = added(tmp_path / "missing" / "clients.toml", "ci")
    assert (ran.status, ran.out) == (2, "")
    assert "cannot be written: No such file" in ran.err
