"""A cache that a set larger than itself does not empty."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

_ONE_IN = 16


class SteadyCache(dict[K, V]):
    """A cache of at most `most` entries. Once it is full, one in 16 new ones takes the place of the oldest.

    If each did, a set larger than the cache, read again and again, would displace itself before it is read
    again: each read would pay for its entry, and find none.
    """

    __slots__ = ("_most", "_refused")

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._refused = 0

    def add(self, key: K, value: V) -> None:
        """Keep `value`, if there is room, or it is the turn of one; in any case where `key` has another."""
        if len(self) >= self._most and key not in self:
            self._refused += 1
            if self._refused % _ONE_IN:
                return
            del self[next(iter(self))]
        self[key] = value
