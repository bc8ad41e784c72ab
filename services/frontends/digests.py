"""Digests of a body, computed as it comes.

Hashing takes longer than everything else, so threads do it, for one piece while the next one is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol
from weakref import WeakSet

from common.checksum import Bytes

# Handing bytes to a thread costs 49 µs; so much takes the slowest hash 90 µs.
_INLINE_BYTES = 64 << 10
_LEAST_BATCH_BYTES = 256 << 10
_MOST_BATCH_BYTES = 1 << 20
_BATCHES_BYTES = 4 << 20  # of all bodies together, while they are few
# Tiny pieces take more memory than their bytes do: a body of these is hashed as it comes.
_MOST_PIECES = 64


class Hash(Protocol):
    """The methods of hashlib's objects."""

    def update(self, data: Bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class Digests:
    """Hashes of one body, computed in a thread, at most two batches behind.

    `quick` ones are computed as the bytes come: CRCs, which take 2 to 17 µs for 64 KiB.
    """

    def __init__(self, hashes: Sequence[Hash], quick: Sequence[Hash] = ()) -> None:
        self._hashes = hashes
        self._quick = quick
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._running: asyncio.Future[None] | None = None

    @property
    def are_quick(self) -> bool:
        """Whether `take` keeps no bytes."""
        return not self._hashes

    def has_room(self, data: bytes) -> bool:
        """Whether `take` may be called with the next bytes: there is nothing to hand over yet."""
        if not self._hashes:
            return True
        held_bytes = self._held_bytes + len(data)
        return len(self._held) + 1 < _MOST_PIECES and held_bytes < (
            _batch_bytes() if self in _large else _LEAST_BATCH_BYTES
        )

    def look_at(self, data: Bytes) -> None:
        """The next bytes where `are_quick`; none of them are kept."""
        for one in self._quick:
            one.update(data)

    def take(self, data: bytes) -> None:
        """The next bytes, after `has_room`."""
        self.look_at(data)
        if self._hashes:
            self._held.append(data)
            self._held_bytes += len(data)

    async def add(self, data: bytes) -> None:
        """The next bytes."""
        self.take(data)
        if not self._hashes:
            return
        if len(self._held) >= _MOST_PIECES or self._held_bytes >= _LEAST_BATCH_BYTES:
            await self._hand_over()

    async def _hand_over(self) -> None:
        """If enough has come."""
        if self._held_bytes > _INLINE_BYTES:
            _large.add(self)
            if self._held_bytes < _batch_bytes() and len(self._held) < _MOST_PIECES:
                return
        await self._wait()
        pieces, size_bytes = self._held, self._held_bytes
        self._held, self._held_bytes = [], 0
        if size_bytes <= _INLINE_BYTES:
            self._update(pieces)
            return
        loop = asyncio.get_running_loop()
        self._running = loop.run_in_executor(None, self._update, pieces)

    async def finish(self) -> None:
        """All bytes came."""
        if self._running is not None:
            await self._wait()
            _large.discard(self)
        if self._held_bytes > _INLINE_BYTES:
            await asyncio.to_thread(self._update, self._held)
        elif self._held:
            self._update(self._held)
        self._held = []

    async def _wait(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running

    def _update(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            for one in self._hashes:
                one.update(piece)


_large: WeakSet[Digests] = WeakSet()  # those of large bodies that are under way


def _batch_bytes() -> int:
    return min(_MOST_BATCH_BYTES, max(_LEAST_BATCH_BYTES, _BATCHES_BYTES // len(_large)))
