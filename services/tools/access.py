"""`access add|list|remove|rotate`: the clients in the access file, which the option `auth_file` names."""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import sys

from common import durable
from common.errors import ConfigError
from services.access import file as access_file
from services.access.decisions import Client, Role
from services.access.secret_hash import NoSecret, SecretHash, hash_password, hash_token
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.output import Output
from services.tools.owner import must_be_owner
from services.tools.parsing import Commands

HELP = "who may use the server: add, list, remove, rotate"

_TOKEN_BYTES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `access`, and its own commands."""
    commands = Commands(parser, "action", ("add", "list", "remove", "rotate"))
    add = commands.add("add", "add a client, make the file if need be")
    add.add_argument("name")
    add.add_argument("--role", choices=[str(role) for role in Role], default=str(Role.READ_WRITE))
    add.add_argument("--prefix", default="", help="limit it to locations that start so, such as builds/")
    rotate = commands.add("rotate", "give a client a new token or password in place of its old one")
    rotate.add_argument("name")
    for one in (add, rotate):
        how = one.add_mutually_exclusive_group()
        how.add_argument(
            "--password", action="store_true", help="ask for a password in place of making a token"
        )
        how.add_argument("--s3", action="store_true", help="make a key pair that signs requests of S3")
    remove = commands.add("remove", "take a client away")
    remove.add_argument("name")
    for one in (add, rotate, remove, commands.add("list", "who may do what")):
        add_file_argument(one)


def add_file_argument(parser: argparse.ArgumentParser) -> None:
    """The file that a command works on. It has the name of the server's flag, too."""
    parser.add_argument(
        "--file", "--auth-file", metavar="FILE", help="the access file (default: the option auth_file)"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Do what `args.action` says. A generated token is the only thing on stdout, this once."""
    path: str = args.file or args.config.auth_file
    if not path:
        raise CommandFailed(exits.USAGE, "No access file is configured: set auth_file, or give --auth-file.")
    try:
        if args.action == "add":
            return _add(path, args, out)
        if not os.path.exists(path):
            raise CommandFailed(exits.NOT_THERE, f"There is no file {path}: `access add` makes it.")
        if args.action == "list":
            return _list(path, out)
        return _remove(path, args, out) if args.action == "remove" else _rotate(path, args, out)
    except ValueError as err:
        raise CommandFailed(exits.USAGE, f"{path}: {err}.") from err
    except OSError as err:
        raise CommandFailed(exits.USAGE, f"{path} cannot be written: {err.strerror}.") from err


def _add(path: str, args: argparse.Namespace, out: Output) -> int:
    known = access_file.load(path) if os.path.exists(path) else None
    if _named(known or [], args.name):
        raise ConfigError(f"{args.name} is in {path} already: `access rotate` gives it another secret.")
    secret, kept = _secret(args)
    hashed, s3_secret = (NoSecret(), kept) if isinstance(kept, str) else (kept, "")
    client = access_file.make_client(args.name, args.role, args.prefix, hashed, s3_secret)
    text = access_file.entry_text(client)
    durable.append_line(path, text if known is not None else access_file.new_file() + text)
    _show(path, args, secret, out)
    _tell_changed(f"{args.name} was added to {path}.")
    return exits.OK


def _list(path: str, out: Output) -> int:
    clients = access_file.load(path)
    out.document(
        {
            "clients": [
                {"name": c.name, "role": str(c.role), "prefix": c.prefix, "secret": _kind(c)} for c in clients
            ]
        }
    )
    out.table(
        ["name", "role", "secret", "prefix"],
        [[c.name, str(c.role), _kind(c), c.prefix or "(everything)"] for c in clients],
    )
    return exits.OK


def _remove(path: str, args: argparse.Namespace, out: Output) -> int:
    _must_know(path, args.name)
    _rewrite(path, access_file.without(access_file.read_text(path), args.name))
    out.document({"removed": args.name})
    _tell_changed(f"{args.name} was removed from {path}.")
    return exits.OK


def _rotate(path: str, args: argparse.Namespace, out: Output) -> int:
    _must_know(path, args.name)
    secret, kept = _secret(args)
    _rewrite(path, access_file.with_secret(access_file.read_text(path), args.name, kept))
    _show(path, args, secret, out)
    _tell_changed(f"{args.name} has a new secret in {path}; the old one ends when the server takes it.")
    return exits.OK


def _rewrite(path: str, text: str) -> None:
    must_be_owner(path)  # the new file is ours, and must be the server's
    durable.replace_durably(os.path.realpath(path), text.encode())


def _named(clients: list[Client], name: str) -> bool:
    return any(client.name == name for client in clients)


def _must_know(path: str, name: str) -> None:
    if not _named(access_file.load(path), name):
        raise CommandFailed(exits.NOT_THERE, f"There is no client {name!r} in {path}: see `access list`.")


def _kind(client: Client) -> str:
    """The kind of secret that the client uses."""
    kinds = ["password" if client.hash.slow else "token"] if str(client.hash) else []
    return ", ".join([*kinds, *(["S3 key"] if client.s3_secret else [])])


def _secret(args: argparse.Namespace) -> tuple[str, SecretHash | str]:
    """Returns (what the client gets, what the file keeps): a hash, or for an S3 key the secret itself."""
    if args.s3:
        secret = access_file.make_s3_secret()
        return secret, secret
    if args.password:
        password = _ask_password()
        return password, hash_password(password)
    token = "bk_" + secrets.token_urlsafe(_TOKEN_BYTES)
    return token, hash_token(token)


def _show(path: str, args: argparse.Namespace, secret: str, out: Output) -> None:
    if args.s3:
        out.document({"name": args.name, "access_key_id": args.name, "secret_access_key": secret})
        out.line(f"access key id:     {args.name}")
        out.line(f"secret access key: {secret}")
        _tell(f"The secret stands in {path}, which only its owner may read.")
    elif args.password:
        out.document({"name": args.name})
    else:
        out.document({"name": args.name, "token": secret})
        out.line(secret)
        _tell("That is the token. It is shown this once: only its hash is kept.")


def _ask_password() -> str:
    """Ask for the password twice on a terminal; else take the first line of stdin."""
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
    sys.stderr.write(f"{text}\n")


def _tell_changed(text: str) -> None:
    _tell(f"{text} A running server takes it on SIGHUP: blobkeep ctl signal HUP server")
