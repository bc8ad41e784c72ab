"""What commands read blobs from, and write them to: an interface with two implementations.

Both make the same blobs by the same durable steps; a tool never writes a state file on its own.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol


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
