"""The access file, named by the option `auth_file`: who may do what. Reads and checks it, and adds to it.

`python -m services.access.file add FILE NAME` makes an entry; HEADER describes the format.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import secrets
import stat
import sys
import tomllib
from collections.abc import Sequence
from typing import Any

from common import durable
from common.errors import ConfigError
from services.access.decisions import Client, Role
from services.access.secret_hash import NoSecret, SecretHash, hash_password, hash_token, parse_hash
from services.rules.text import CONTROL

HEADER = """\
# Who may use this Blobkeep server: the file that its option auth_file names. Its owner alone may read it.
# One table a client. Add one:   python -m services.access.file add THIS_FILE NAME [--role ROLE] [--prefix P/]
# Take one away: delete its table. Then tell the server:   supervisorctl signal HUP server
#
# [[client]]
# name = "ci"               # also the user name, for programs that speak HTTP basic
# role = "append-only"      # read-only; append-only: creates, but neither updates nor deletes; read-write
# prefix = "builds/"        # only locations that start so, and listings of them; without: everything
# hash = "sha256:..."       # of a generated token; of a password: "scrypt:LOG2_N:R:P:SALT:KEY"
# s3_secret = "..."         # signs requests of S3, with name as the access key id. The secret itself, since a
#                           # signature cannot be checked with a hash: whoever reads this file has it
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")  # fits an HTTP basic user, a log line and a header
_KEYS = {"name": str, "role": str, "prefix": str, "hash": str, "s3_secret": str}
_OPTIONAL = {"prefix", "hash", "s3_secret"}
_S3_SECRET = re.compile(r"[\x21-\x7e]{16,128}")  # what programs take, and nobody guesses
_TOKEN_BYTES = 32


def load(path: str) -> list[Client]:
    """The clients in the file at `path`. Raises ConfigError: one sentence that names file and client."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            _check_owner(path, os.fstat(file.fileno()))
            content = file.read()
    except OSError as err:
        raise ConfigError(f"auth_file: {path} cannot be read: {err.strerror}.") from err
    try:
        return parse(content.decode())
    except ValueError as err:
        raise ConfigError(f"auth_file: {path}: {err}.") from err


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO must not hold us up


def _check_owner(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"auth_file: {path} is not a file.")
    if found.st_mode & 0o077:
        raise ConfigError(
            f"auth_file: others may read or write {path} (mode {stat.S_IMODE(found.st_mode):04o}), "
            f"which would give them its rights: chmod 600 {path}"
        )
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"auth_file: {path} belongs to another user: chown it to the server's.")


def parse(text: str) -> list[Client]:
    """The clients in a file's text, in its order. Raises ValueError: what is wrong, and with which client."""
    table = tomllib.loads(text)
    entries = table.pop("client", [])
    if table or not isinstance(entries, list):
        raise ValueError("it may only hold tables [[client]]")
    clients: dict[str, Client] = {}
    for number, entry in enumerate(entries, 1):
        try:
            client = _client(entry)
        except ValueError as err:
            name = entry.get("name") if isinstance(entry, dict) else None
            raise ValueError(f"client {name!r} ({number} in the file): {err}") from err
        if client.name in clients:
            raise ValueError(f"there are two clients {client.name!r}")
        clients[client.name] = client
    return list(clients.values())


def _client(entry: Any) -> Client:
    if not isinstance(entry, dict):
        raise ValueError("it is not a table [[client]]")
    for key, value in entry.items():
        if not isinstance(value, _KEYS.get(key, object)):
            raise ValueError(f"{key} must be a string")
        if key not in _KEYS:
            raise ValueError(f"there is no key {key!r}: it may have {', '.join(_KEYS)}")
    for key in _KEYS.keys() - _OPTIONAL - entry.keys():
        raise ValueError(f"its {key} is missing")
    if "hash" not in entry and "s3_secret" not in entry:
        raise ValueError("its hash is missing")
    secret_hash = _hash(entry["hash"]) if "hash" in entry else NoSecret()
    s3_secret = entry.get("s3_secret", "")
    if "s3_secret" in entry and not _S3_SECRET.fullmatch(s3_secret):
        raise ValueError("its s3_secret is not 16 to 128 visible ASCII characters")
    return make_client(entry["name"], entry["role"], entry.get("prefix", ""), secret_hash, s3_secret)


def _hash(text: str) -> SecretHash:
    try:
        return parse_hash(text)
    except ValueError as err:
        raise ValueError(f"its hash is of no use: {err}") from err


def make_client(name: str, role: str, prefix: str, secret_hash: SecretHash, s3_secret: str = "") -> Client:
    """A client of checked parts. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError("a name is 1 to 64 of A-Z a-z 0-9 . _ @ - and begins with a letter or digit")
    if role not in list(Role):
        raise ValueError(f"there is no role {role!r}: it is one of {', '.join(Role)}")
    if prefix.startswith("/"):
        raise ValueError("locations begin without a slash, so the prefix must, too")
    if CONTROL.search(prefix):
        raise ValueError("the prefix has a control character, as no location has")
    return Client(name, Role(role), prefix, secret_hash, s3_secret)


def entry_text(client: Client) -> str:
    """`client` as it stands in the file."""
    lines = ["", "[[client]]", f"name = {json.dumps(client.name)}", f'role = "{client.role}"']
    if client.prefix:
        lines.append(f"prefix = {json.dumps(client.prefix, ensure_ascii=False)}")
    if str(client.hash):
        lines.append(f'hash = "{client.hash}"')
    if client.s3_secret:
        lines.append(f"s3_secret = {json.dumps(client.s3_secret)}")
    return "\n".join([*lines, ""])


def make_s3_secret() -> str:
    """A new secret of S3: 40 letters, digits, - and _, as long as those of AWS."""
    return secrets.token_urlsafe(30)


def main(argv: Sequence[str] | None = None) -> int:
    """Add a client; its generated token is the only thing on stdout. Returns the exit status."""
    asked = _arguments().parse_args(argv)
    try:
        known = load(asked.file) if os.path.exists(asked.file) else None
        if any(client.name == asked.name for client in known or ()):
            raise ConfigError(f"{asked.name} is in {asked.file} already: delete its table there first.")
        if asked.s3:
            secret = make_s3_secret()
            client = make_client(asked.name, asked.role, asked.prefix, NoSecret(), secret)
        else:
            secret = _ask_password() if asked.password else "bk_" + secrets.token_urlsafe(_TOKEN_BYTES)
            hashed: SecretHash = hash_password(secret) if asked.password else hash_token(secret)
            client = make_client(asked.name, asked.role, asked.prefix, hashed)
        text = entry_text(client)
        durable.append_line(asked.file, text if known is not None else HEADER + text)
    except (ConfigError, ValueError) as err:
        _tell(f"access_file: {err}")
        return 2
    except OSError as err:
        _tell(f"access_file: {asked.file} cannot be written: {err.strerror}.")
        return 2
    if asked.s3:
        print(f"access key id:     {client.name}\nsecret access key: {secret}")  # noqa: T201 - as below
        _tell(f"The secret stands in {asked.file}, which only its owner may read.")
    elif not asked.password:
        print(secret)  # noqa: T201 - a command's answer
        _tell("That is the token. It is shown this once: only its hash is kept.")
    _tell(f"{asked.name} was added to {asked.file}. A running server takes it on SIGHUP:")
    _tell("    supervisorctl signal HUP server")
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.access.file", description=__doc__)
    add = parser.add_subparsers(required=True).add_parser(
        "add", help="add a client, make the file if need be"
    )
    add.add_argument("file", help="what the option auth_file names")
    add.add_argument("name")
    add.add_argument("--role", choices=list(Role), default=str(Role.READ_WRITE))
    add.add_argument("--prefix", default="", help="limit it to locations that start so, such as builds/")
    how = add.add_mutually_exclusive_group()
    how.add_argument("--password", action="store_true", help="ask for a password in place of making a token")
    how.add_argument("--s3", action="store_true", help="make a key pair that signs requests of S3")
    return parser


def _ask_password() -> str:
    """From the terminal, twice; or one line of what is piped in."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass()
        if getpass.getpass("Again: ") != password:
            raise ValueError("the two are not the same")
    if not password:
        raise ValueError("a password has at least one character")
    return password


def _tell(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - a command's answer


if __name__ == "__main__":
    sys.exit(main())
