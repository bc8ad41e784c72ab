"""Decides what a cache keeps: some of what is read again soon."""

from __future__ import annotations

from collections.abc import Hashable

from common.bounded import make_room

_MAX_REMEMBERED = 8192  # 100 bytes each
_ONE_IN = 16


class SecondReads:
    """Remembers the last keys that were read once. So to read every blob once displaces nothing.

    If the cache is full, one in `one_in` second reads is let in. Else a set larger than the cache, read again
    and again, would displace itself before it is read again.
    """

    def __init__(self, one_in: int = _ONE_IN) -> None:
        self._one_in = one_in
        self._once: dict[Hashable, None] = {}
        self._refused = 0

    def lets_in(self, key: Hashable, *, is_full: bool) -> bool:
        """Whether to cache `key`, which is read and is not in the cache."""
        if key not in self._once:
            if len(self._once) >= _MAX_REMEMBERED:  # else each read of a new key would pay for the call
                make_room(self._once, _MAX_REMEMBERED)
            self._once[key] = None
            return False
        if is_full:
            self._refused += 1
            if self._refused % self._one_in:
                return False
        del self._once[key]
        return True
