"""A cache that a set larger than itself does not empty."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

_ONE_IN = 16


class SteadyCache(dict[K, V]):
    """A cache of at most `max_bytes`. Once it is full, one in 16 new ones takes the place of the oldest.

    If each did, a set larger than the cache, read again and again, would displace itself before it is read
    again: each read would pay for its entry, and find none. `size_of`: the bytes of memory that an entry
    takes, always the same for the same entry. Entries are added by `add` and removed by `clear` alone.
    """

    __slots__ = ("_left_bytes", "_max_bytes", "_refused", "_size_of")

    def __init__(self, max_bytes: int, size_of: Callable[[K, V], int]) -> None:
        super().__init__()
        self._max_bytes = self._left_bytes = max_bytes
        self._size_of = size_of
        self._refused = 0

    def add(self, key: K, value: V) -> None:
        """Keep `value`, if there is room, or it is the turn of one; in any case where `key` has another."""
        size = self._size_of(key, value)
        if key in self:
            self._left_bytes += self._size_of(key, self.pop(key))
        elif self._left_bytes < size:
            self._refused += 1
            if self._refused % _ONE_IN:
                return
        while self._left_bytes < size:
            if not self:  # larger than the cache
                return
            oldest = next(iter(self))
            self._left_bytes += self._size_of(oldest, self.pop(oldest))
        self[key] = value
        self._left_bytes -= size

    def clear(self) -> None:
        """Forget all."""
        super().clear()
        self._left_bytes = self._max_bytes
