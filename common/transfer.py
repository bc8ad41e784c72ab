"""How bytes pass between a front end and a store without a copy: a part of services/store.py."""

from __future__ import annotations

from typing import Protocol


class Sink(Protocol):
    """Where the bytes of a reading go: a client that takes them as fast as it can."""

    def take(self, data: memoryview) -> int:
        """Take what goes now from the beginning of `data`, and keep no reference to it; how many bytes.

        0: nothing, until `ready`. Raises what tells that nobody takes anything any more.
        """

    def take_file(self, fd: int, at: int, count: int) -> int:
        """The same of `count` bytes, from number `at` on, of a file in memory that nobody can change."""

    async def ready(self) -> None:
        """Wait until it takes more. Raises as `take`."""


class LentRoom(Protocol):
    """Memory of an upload for its bytes, so that they need no copy."""

    def room(self) -> memoryview | None:
        """Where the next bytes are to go, from its beginning. None: the upload is over. Do not keep it."""

    def filled(self, count: int) -> bool:
        """So many bytes are there. False: wait for `more` first, then go on."""

    async def more(self) -> None:
        """Wait for more room. Raises as `Upload.write`."""
