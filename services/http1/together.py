"""Long answers of one turn of the event loop, sent one right after the other.

To read a file, send it, and read the next one costs more than to read some and then send these: a client
that waits is woken once for all of them.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

_MOST = 8  # with 64 KiB each they stay in the processor's cache
_ALONE = 15  # one in 16 finds out whether there are others again


class Holder(Protocol):
    """Holds an answer for a moment."""

    def send_held(self) -> None:
        """Send it, if it was not sent meanwhile."""
        ...


class Together:
    """Those who hold an answer until this turn of the loop is over, or until there are enough.

    `alone`: so many answers need not be held, since the last one that was met no other in its turn.
    """

    __slots__ = ("_in_turn", "_waiting", "alone")

    def __init__(self) -> None:
        self._waiting: list[Holder] = []
        self._in_turn = 0
        self.alone = 0

    def add(self, holder: Holder, loop: asyncio.AbstractEventLoop) -> None:
        """Call its `send_held` soon, in any case before the loop waits again."""
        self._waiting.append(holder)
        self._in_turn += 1
        if self._in_turn == 1:
            loop.call_soon(self._end_turn)
        elif len(self._waiting) >= _MOST:
            self._send()

    def _end_turn(self) -> None:
        if self._in_turn == 1:
            self.alone = _ALONE
        self._in_turn = 0
        self._send()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for holder in waiting:
            holder.send_held()
