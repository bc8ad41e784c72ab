"""The access file, named by the option `auth_file`: who may do what. HEADER describes its format.

This module reads and checks it. The command `blobkeep access` changes it (services/tools/access.py).
"""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import stat
import tomllib
from typing import Any, NamedTuple

from msgspec.structs import replace

from common.errors import ConfigError
from services.access.decisions import Client, Role
from services.access.secret_hash import NoSecret, SecretHash, parse_hash
from services.rules.text import CONTROL

HEADER = """\
# Who may use this Blobkeep server: the file that its option auth_file names. Its owner alone may read it.
# One table a client.   blobkeep access add NAME [--role ROLE] [--prefix P/]   adds one; list, remove, rotate.
# Then tell the server:   blobkeep ctl signal HUP server
#
# [[client]]
# name = "ci"               # also the user name, for programs that speak HTTP basic
# role = "append-only"      # read-only; append-only: creates, but neither updates nor deletes; read-write
# prefix = "builds/"        # only locations that start so, and listings of them; without: everything
# hash = "sha256:..."       # of a generated token; of a password: "scrypt:LOG2_N:R:P:SALT:KEY"
# s3_secret = "..."         # signs requests of S3, with name as the access key id. The secret itself, since a
#                           # signature cannot be checked with a hash: whoever reads this file has it
#
# [links]                   # one table; where there is none   blobkeep link LOCATION   makes it
# key = "..."               # signs links that expire; another key ends all links made with this one
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")  # fits an HTTP basic user, a log line and a header
_KEYS = {"name": str, "role": str, "prefix": str, "hash": str, "s3_secret": str}
_OPTIONAL = {"prefix", "hash", "s3_secret"}
_S3_SECRET = re.compile(r"[\x21-\x7e]{16,128}")  # what programs take, and nobody guesses
_LINK_KEY = re.compile(r"[\x21-\x7e]{32,128}")
_TABLE = re.compile(r"\s*\[\[\s*client\s*\]\]")


class Rules(NamedTuple):
    """The content of the file. `link_key`: empty if there are no links."""

    clients: list[Client]
    link_key: str


def load(path: str) -> list[Client]:
    """Only the clients: see load_rules."""
    return load_rules(path).clients


def load_rules(path: str) -> Rules:
    """The rules in the file at `path`. Raises ConfigError: one sentence that names file and client."""
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            _check_owner(path, os.fstat(file.fileno()))
            content = file.read()
    except OSError as err:
        raise ConfigError(f"auth_file: {path} cannot be read: {err.strerror}.") from err
    try:
        return parse_rules(content.decode())
    except ValueError as err:
        raise ConfigError(f"auth_file: {path}: {err}.") from err


def read_text(path: str) -> str:
    """The text of a file that `load` takes. Raises ConfigError."""
    load(path)
    with open(path, "rb", opener=_open_nonblocking) as file:
        return file.read().decode()


def _open_nonblocking(path: str, flags: int) -> int:
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
    """Only the clients: see parse_rules."""
    return parse_rules(text).clients


def parse_rules(text: str) -> Rules:
    """The rules in a file's text, clients in its order. Raises ValueError, which names the client."""
    table = tomllib.loads(text)
    entries, links = table.pop("client", []), table.pop("links", None)
    if table or not isinstance(entries, list):
        raise ValueError("it may only hold tables [[client]] and one table [links]")
    link_key = ""
    if links is not None:
        link_key = links.get("key", "") if isinstance(links, dict) and links.keys() == {"key"} else ""
        if not isinstance(link_key, str) or not _LINK_KEY.fullmatch(link_key):
            raise ValueError("[links] has a key of 32 to 128 visible ASCII characters, and nothing else")
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
    return Rules(list(clients.values()), link_key)


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
    """`client` as in the file."""
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


def with_link_key(text: str, key: str) -> str:
    """The file's text with a key for links, if it has none yet. Raises ValueError."""
    lines = text.splitlines(keepends=True)
    first = next((n for n, line in enumerate(lines) if _TABLE.match(line)), len(lines))
    made = "".join([*lines[:first], f"\n[links]\nkey = {json.dumps(key)}\n\n", *lines[first:]])
    if parse_rules(made) != Rules(parse(text), key):
        raise ValueError("it is laid out in an unusual way: add [links] and a key with an editor")
    return made


def new_file() -> str:
    """The beginning of a file: the header, and a key for links, so that the dashboard can make some."""
    return f"{HEADER}\n[links]\nkey = {json.dumps(make_link_key())}\n"


def make_link_key() -> str:
    """A new key for links: 43 letters, digits, - and _."""
    return secrets.token_urlsafe(32)


def without(text: str, name: str) -> str:
    """The file's text without the table of the client `name`; all else is unchanged, also comments.

    Raises ValueError if there is no such client, or the text does not have our layout.
    """
    lines, first, after = _table_of(text, name)
    return _checked("".join(lines[:first] + lines[after:]), [c for c in parse(text) if c.name != name])


def with_secret(text: str, name: str, secret: SecretHash | str) -> str:
    """The file's text with another hash (or, a str, another secret of S3) for the client `name`.

    Raises ValueError as `without` does.
    """
    key = "s3_secret" if isinstance(secret, str) else "hash"
    lines, first, after = _table_of(text, name)
    kept = [line for line in lines[first:after] if not re.match(rf"\s*{key}\s*=", line)]
    lines[first:after] = [*kept, f"{key} = {json.dumps(str(secret))}\n"]
    change = {"s3_secret" if isinstance(secret, str) else "hash": secret}
    expected = [replace(c, **change) if c.name == name else c for c in parse(text)]
    return _checked("".join(lines), expected)


def _table_of(text: str, name: str) -> tuple[list[str], int, int]:
    """(the lines, the first of the client's table, the one after its last key)."""
    lines = text.splitlines(keepends=True)
    starts = [n for n, line in enumerate(lines) if _TABLE.match(line)]
    for first, end in itertools.pairwise([*starts, len(lines)]):
        if tomllib.loads("".join(lines[first:end]))["client"][0].get("name") == name:
            keys = [
                n for n in range(first, end) if lines[n].strip() and not lines[n].lstrip().startswith("#")
            ]
            return lines, first, keys[-1] + 1
    raise ValueError(f"there is no client {name!r}")


def _checked(text: str, expected: list[Client]) -> str:
    if parse(text) != expected:
        raise ValueError("it is laid out in an unusual way: change it with an editor")
    return text
