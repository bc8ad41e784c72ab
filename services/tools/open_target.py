"""Opens the target of a command: the running server, over HTTP, or the store itself while none runs."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator

from common.config import Config
from common.errors import BlobkeepError
from services.tools.client import START_IT, add_token_argument, default_url, http_client
from services.tools.exits import CommandFailed
from services.tools.http_target import HttpTarget
from services.tools.owner import must_be_owner
from services.tools.storage import open_store
from services.tools.store_target import StoreTarget
from services.tools.target import Target


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that reads or writes blobs."""
    parser.add_argument(
        "--url", help="the running server's address (default: from the option `listen`), if one runs"
    )
    add_token_argument(parser)
    parser.set_defaults(create=False)


def add_create_argument(parser: argparse.ArgumentParser) -> None:
    """The argument of those that write blobs."""
    parser.add_argument(
        "--create", action="store_true", help="make a new data directory, where no server runs and none is"
    )


@contextlib.asynccontextmanager
async def open_target(config: Config, args: argparse.Namespace) -> AsyncIterator[Target]:
    """The server, if one holds the directory or `--url` names one; else the store, with the lock held."""
    advice = START_IT
    if args.url is None:
        _may_write(config)
        failed: list[BlobkeepError] = []
        async with open_store(config, failed.append, create=args.create) as store:
            if store is not None:
                yield StoreTarget(store, config, failed)
                return
        if config.engine == "local":
            advice = f"Some server has {config.dir}: name its address, --url, or its configuration, -c."
    with contextlib.closing(http_client(config, args.url, args.token_file, advice=advice)) as client:
        yield HttpTarget(client)


def _may_write(config: Config) -> None:
    """Raise CommandFailed where the directory is another user's; through the server that would not matter."""
    if config.engine != "local":
        return
    try:
        must_be_owner(config.dir)
    except CommandFailed as err:
        text = f"{err} Or go through the running server: --url {default_url(config)}"
        raise CommandFailed(err.status, text) from err
