"""The targets of commands: the running server, over HTTP, or the store itself while none runs.

Both make the same blobs by the same durable steps; a tool never writes a state file on its own.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from common.config import Config
from common.errors import BlobkeepError
from services.tools.client import HttpClient, add_token_argument, default_url, http_client
from services.tools.exits import CommandFailed
from services.tools.owner import must_be_owner
from services.tools.storage import open_store


class PutOutcome(enum.Enum):
    """What happened to one blob that was offered to a store."""

    CREATED = "created"
    REPLACED = "replaced"
    SAME = "same"  # it was there, with the same bytes
    DIFFERS = "differs"  # it was there, with other bytes, and still is


@dataclass
class OfferedBlob:
    """One blob to be stored. `chunks`: its bytes from the start; raises Damaged if they are damaged.

    `size` is None if it is not known before the end; then the bytes can be read only once. `sha256` is empty
    if it was never computed.
    """

    location: str
    size: int | None
    chunks: Callable[[], Iterator[bytes]]
    media_type: str = "application/octet-stream"
    encoding: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: bytes = b""


class Target(Protocol):
    """Stores and gives blobs, several at a time if the caller wants."""

    name: str
    parallel: int

    async def put(self, blob: OfferedBlob, *, replace: bool) -> PutOutcome:
        """Store one blob durably. `replace`: also if there are other bytes now."""
        ...

    async def get(self, location: str, take: Callable[[bytes], None]) -> None:
        """Give all bytes of a blob to `take`, piece by piece. Raises NotFound, Damaged.

        The bytes are complete only when this returns.
        """
        ...

    async def delete(self, location: str) -> None:
        """Delete one blob durably. Raises NotFound."""
        ...

    def locations(self, prefix: str) -> AsyncIterator[str]:
        """Every location that starts with `prefix`, sorted."""
        ...


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that reads or writes blobs."""
    parser.add_argument(
        "--url", help="the running server's address (default: from the option `listen`), if one runs"
    )
    parser.add_argument(
        "--create", action="store_true", help="make a new data directory, where no server runs and none is"
    )
    add_token_argument(parser)


@contextlib.asynccontextmanager
async def open_target(config: Config, args: argparse.Namespace) -> AsyncIterator[Target]:
    """The server, if one holds the directory or `--url` names one; else the store, with the lock held."""
    from services.tools.http_target import HttpTarget
    from services.tools.store_target import StoreTarget

    if args.url is None:
        _may_write(config)
        failed: list[BlobkeepError] = []
        async with open_store(config, failed.append, create=args.create) as store:
            if store is not None:
                yield StoreTarget(store, config, failed)
                return
    with contextlib.closing(server_of(config, args)) as client:
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


def server_of(config: Config, args: argparse.Namespace) -> HttpClient:
    """The running server that the arguments or the configuration name."""
    return http_client(config, args.url, args.token_file)
