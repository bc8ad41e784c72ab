"""Where import and restore write to: the running server, over HTTP, or the store itself while none runs.

Both make the same blobs by the same durable steps; a tool never writes a state file on its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from common import config as options
from common.config import Config
from common.errors import LockHeld
from services.engines.local.disk import directory, layout, locks
from services.engines.local.disk.layout import Layout
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.http_target import HttpTarget
from services.tools.incoming import Incoming, Outcome
from services.tools.owner import must_be_owner
from services.tools.store_target import StoreTarget

# The recovery worker has the lock for a moment while it settles; a server keeps it.
_LOCK_WAIT_S = 2.0


class Target(Protocol):
    """Takes blobs, several at once where the caller likes."""

    name: str
    at_once: int

    async def put(self, blob: Incoming, *, replace: bool) -> Outcome:
        """Store one blob; durable once this returns. `replace`: also where there are other bytes now."""
        ...


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that writes blobs."""
    parser.add_argument(
        "--url", help="the running server's address (default: from the option `listen`), if one runs"
    )
    parser.add_argument(
        "--create", action="store_true", help="make a new data directory, where no server runs and none is"
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help="a file with the token of a client that may write"
    )


@contextlib.asynccontextmanager
async def open_target(root: str, config: Config, args: argparse.Namespace) -> AsyncIterator[Target]:
    """The server, if one holds the directory or `--url` names one; else the store, with the lock held."""
    if args.url is None:
        must_be_owner(root)
    if args.url is None and not args.create:
        directory.existing(root)
    held = None if args.url is not None else _lock_if_free(root)
    if held is None:
        server = HttpTarget(args.url or _default_url(config), _token(args.token_file))
        try:
            yield server
        finally:
            server.close()
        return
    with held:
        width = directory.existing(root).id_bits if _is_made(root) else config.id_bits
        data_dir = directory.open_directory(root, width, owner=True)
        async with StoreTarget.open(data_dir, config) as store:
            yield store


def _lock_if_free(root: str) -> locks.StateLock | None:
    held = locks.StateLock(directory.make_root(root), "tools")
    try:
        held.acquire(_LOCK_WAIT_S)
    except LockHeld:
        return None
    return held


def _is_made(root: str) -> bool:
    """False for a folder that no server has used: its width is still to be chosen."""
    return os.path.exists(os.path.join(root, layout.FORMAT_NAME)) or bool(
        directory.ids_in(Layout(os.path.abspath(root), 16))
    )


def _default_url(config: Config) -> str:
    host, port = options.host_and_port(config.listen)
    reached = "127.0.0.1" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"{'https' if config.tls_cert else 'http'}://{reached}:{port}"


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as err:
        raise CommandFailed(exits.USAGE, f"--token-file: {path} cannot be read: {err}.") from err
