"""What is worth its place in a cache: some of what is read again soon."""

from __future__ import annotations

from collections.abc import Hashable

from common.bounded import make_room

_MAX_REMEMBERED = 8192  # 100 bytes each
_ONE_IN = 16


class SecondReads:
    """What was read once, the last of it. A walk through all blobs reads each once, and displaces nothing.

    Where the cache is full, one in 16 second reads is let in: so of more than fits, read again and again,
    most of what is kept stays until it is read, instead of each displacing the next.
    """

    def __init__(self) -> None:
        self._once: dict[Hashable, None] = {}
        self._refused = 0

    def lets_in(self, key: Hashable, *, is_full: bool) -> bool:
        """`key` is read, and is not in the cache: whether it is to be from now on."""
        if key not in self._once:
            make_room(self._once, _MAX_REMEMBERED)
            self._once[key] = None
            return False
        if is_full:
            self._refused += 1
            if self._refused % _ONE_IN:
                return False
        del self._once[key]
        return True
