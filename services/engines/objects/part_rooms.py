"""Bounds the parts that all uploads of a server hold in memory, and how many of them are sent at once.

An upload reads bytes of a part only when it has room for the whole part, which it keeps until the part is in
the store. The others wait, and their clients with them. But who fills a part slowly must not keep others from
reading: after `patience_s` others may have its room, though it goes on.
"""

from __future__ import annotations

import asyncio

MAX_PARTS_HELD = 24  # those that are sent, and a few that are filled meanwhile
# At once: more would take so long that the store seems to give no answer.
MAX_PARTS_SENT = 16
PATIENCE_S = 2.0


class PartRooms:
    """Used from one event loop. First come, first served."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.places = asyncio.Semaphore(MAX_PARTS_SENT)  # for parts that are being sent
        self._patience_s = patience_s
        self._rooms = asyncio.Semaphore(MAX_PARTS_HELD)

    async def take(self) -> PartRoom:
        """Room for a part that is to be filled now."""
        await self._rooms.acquire()
        return PartRoom(self._rooms, self._patience_s)


class PartRoom:
    """Room for one part."""

    __slots__ = ("_rooms", "_timer")

    def __init__(self, rooms: asyncio.Semaphore, patience_s: float) -> None:
        self._rooms: asyncio.Semaphore | None = rooms
        self._timer = asyncio.get_running_loop().call_later(patience_s, self.leave)

    def was_filled(self) -> None:
        """The part waits for the store alone, so its room is kept until it was sent."""
        self._timer.cancel()

    def leave(self) -> None:
        """Let others have it. May be called again."""
        self._timer.cancel()
        if self._rooms is not None:
            self._rooms.release()
            self._rooms = None
