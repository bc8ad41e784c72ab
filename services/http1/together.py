"""Long answers of one turn of the event loop, some of them sent one right after the other.

To read a file, send it, and read the next one costs more than to read some and then send these: a client
that waits is woken once for all of them. Half of a turn is sent at a time, so that the client has answers
to take while the next ones are read.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

_MOST = 8  # with 64 KiB each they stay in the processor's cache
_PARTS = 2
_AT_ONCE = 15  # one in 16 finds out whether a turn has many again


class Holder(Protocol):
    """Holds an answer for a moment."""

    def send_held(self) -> None:
        """Send it, if it was not sent meanwhile."""
        ...


class Together:
    """Those who hold an answer until there are enough, or until this turn of the loop is over.

    `at_once`: so many answers need not be held, since the last turn had few.
    """

    __slots__ = ("_in_turn", "_most", "_waiting", "at_once")

    def __init__(self) -> None:
        self._waiting: list[Holder] = []
        self._in_turn = 0
        self._most = _MOST
        self.at_once = 0

    def add(self, holder: Holder, loop: asyncio.AbstractEventLoop) -> None:
        """Call its `send_held` soon, in any case before the loop waits again."""
        self._waiting.append(holder)
        self._in_turn += 1
        if self._in_turn == 1:
            loop.call_soon(self._end_turn)
        if len(self._waiting) >= self._most:
            self._send()

    def _end_turn(self) -> None:
        self._most = min(_MOST, self._in_turn // _PARTS)
        if self._most < 2:
            self._most, self.at_once = _MOST, _AT_ONCE
        self._in_turn = 0
        self._send()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for holder in waiting:
            holder.send_held()
