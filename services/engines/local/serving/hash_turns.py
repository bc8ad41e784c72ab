"""The turns of parts that come at the same time to be hashed for the whole upload.

The SHA-256 of the whole takes one part after the other, and no upload is faster than it. A part that is not
the next goes through the page cache, and is read again when its turn comes. So while the hash has more to do
than it can, such a part waits with what its memory holds. Its turn comes when all bytes before it are hashed,
though they may not be durable yet: what is hashed here counts only if it turns out to follow the right bytes
(see JoinedHash.offer). Where the network is what all wait for, nobody waits here.
"""

from __future__ import annotations

import asyncio
import contextlib

from services.engines.local.serving.joined_hash import JoinedHash, RunningSha256

_BEGIN_S = 0.01  # so long a part waits in any case: those before it may come as fast
_BUSY_S = 0.05  # so long after a client had to wait the hash is taken for what all wait for
_MOST_S = 5.0  # a client whose bytes nobody takes for long gives up


class HashOrder:
    """Of the parts of one upload. On the event loop."""

    def __init__(self, joined: JoinedHash) -> None:
        self._joined = joined
        self._last: tuple[int, RunningSha256] | None = None  # the part that was hashed last in its turn
        self._late_at = float("-inf")
        self._moved = asyncio.Event()
        self._is_reading = False

    def before(self, number: int) -> RunningSha256 | None:
        """The hash of what stands before part `number`, to go on from; None if not all of that was hashed."""
        last = self._last
        return last[1].copy() if last and last[0] == number - 1 else self._joined.ahead(number)

    def hashed(self, number: int, sha256: RunningSha256) -> None:
        """All bytes of a part were given to `sha256` in its turn: nobody updates it any more."""
        self._last = number, sha256
        self.moved()

    def reads(self, is_reading: bool) -> None:
        """Parts are being read again, or that is over."""
        self._is_reading = is_reading
        self.moved()

    def late(self) -> None:
        """A client has to wait until bytes are hashed."""
        self._late_at = _now_s()

    def is_busy(self) -> bool:
        """Whether all wait for the hash."""
        return self._is_reading or _now_s() - self._late_at < _BUSY_S

    def moved(self) -> None:
        """Those that wait may look again."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def moves(self) -> None:
        """Wait for that, or for a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BEGIN_S):
                await self._moved.wait()


class HashTurn:
    """The turn of one part, in its `order`; of none in a file of its own. On the event loop.

    `sha256`: what its bytes go into, None while it has no turn; `begins`: what that was before them.
    """

    def __init__(self, order: HashOrder | None, number: int) -> None:
        self._order = order
        self._number = number
        self.sha256: RunningSha256 | None = None
        self.begins = b""
        self._look()

    def _look(self) -> bool:
        self.sha256 = self._order.before(self._number) if self._order is not None else None
        if self.sha256 is not None:
            self.begins = self.sha256.digest()
        return self.sha256 is not None

    async def come(self) -> None:
        """Wait for it while that pays."""
        began_s = _now_s()
        while self.sha256 is None and (order := self._order) is not None:
            if self._look():
                order.late()
            elif _now_s() - began_s < (_MOST_S if order.is_busy() else _BEGIN_S):
                await order.moves()
            else:
                self._order = None

    def late(self) -> None:
        """The client has to wait, since bytes of the part are not hashed yet."""
        if self._order is not None and self.sha256 is not None:
            self._order.late()

    def hashed(self) -> None:
        """All bytes of the part were given to `sha256`, if there is one."""
        if self._order is not None and self.sha256 is not None:
            self._order.hashed(self._number, self.sha256)

    def end(self) -> None:
        """The part is over: it waits no more."""
        order, self._order = self._order, None
        if order is not None:
            order.moved()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
