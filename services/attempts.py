"""Commits that may be cut, and done again by another process, which must find out what became of the first.

A commit whose answer was lost may have taken effect, and may have been replaced or deleted since. To do it
again would undo what came after. So whoever commits first writes down the attempt where others find it; they
stop it, or learn that it took effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from services.store import Condition, Content, Upload


class Attempt(msgspec.Struct, frozen=True):
    """A commit under way, or cut. `write`: its id, which no other has; `since`: the location's generation
    before it; `makes`: what it makes, as whoever writes it down calls that."""

    write: str
    since: int
    makes: str = ""


class TookEffect(Exception):
    """`attempt` took effect, so another must not. Never shown to a client."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(f"the attempt {attempt.write} took effect")
        self.attempt = attempt


@runtime_checkable
class Attempting(Protocol):
    """A store that remembers for a while which commits made the states of a location."""

    async def begin_attempt(
        self, location: str, condition: Condition, content: Content, size: int | None
    ) -> tuple[Upload, Attempt]:
        """As `Store.begin`. Its commit raises Unavailable if `stop_attempts` came first."""

    async def check_attempts(self, location: str, attempts: Sequence[Attempt]) -> None:
        """Raise TookEffect if one of them did, and Unavailable if that is not known any more."""

    async def stop_attempts(
        self, location: str, attempts: Sequence[Attempt], *, in_doubt: bool = False
    ) -> None:
        """Make sure, durably, that none of them takes effect any more. Raises as `check_attempts`.

        `in_doubt`: also where it is not known any more whether it did.
        """
