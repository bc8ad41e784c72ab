"""Many numbers by when they are due, in little memory: twenty bytes each, where objects would take 250."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator

_PART = 2048  # entries; a part of twice as many becomes two
Entry = tuple[int, int, int]  # when (ns), a number of 32 bits, its size


class ByTime:
    """Entries in order. Of one time and number there is one entry."""

    def __init__(self) -> None:
        self._parts: list[_Part] = []  # none is empty

    def add(self, when_ns: int, number: int, size: int) -> bool:
        """Add it. False if there is one of that time and number."""
        if not self._parts:
            self._parts = [_Part()]
            self._parts[0].insert(0, when_ns, number, size)
            return True
        at = min(self._part_of(when_ns, number), len(self._parts) - 1)
        part = self._parts[at]
        place = part.place_of(when_ns, number)
        if part.has(place, when_ns, number):
            return False
        part.insert(place, when_ns, number, size)
        if len(part.whens) >= 2 * _PART:
            self._parts.insert(at + 1, part.cut(_PART))
        return True

    def discard(self, when_ns: int, number: int) -> int | None:
        """Take it out; its size, None if it is not there."""
        at = self._part_of(when_ns, number)
        if at == len(self._parts):
            return None
        part = self._parts[at]
        place = part.place_of(when_ns, number)
        if not part.has(place, when_ns, number):
            return None
        size = part.pop(place)
        if not part.whens:
            del self._parts[at]
        return size

    def __iter__(self) -> Iterator[Entry]:
        """All, in order. Nothing may change meanwhile."""
        for part in self._parts:
            yield from zip(part.whens, part.numbers, part.sizes, strict=True)

    def _part_of(self, when_ns: int, number: int) -> int:
        """The part that has the entry if any has it; the number of parts if all are before it."""
        return bisect_left(self._parts, (when_ns, number), key=_Part.last)


class _Part:
    def __init__(self) -> None:
        self.whens, self.numbers, self.sizes = array("Q"), array("I"), array("Q")

    def last(self) -> tuple[int, int]:
        return self.whens[-1], self.numbers[-1]

    def place_of(self, when_ns: int, number: int) -> int:
        places = range(len(self.whens))
        return bisect_left(places, (when_ns, number), key=lambda at: (self.whens[at], self.numbers[at]))

    def has(self, place: int, when_ns: int, number: int) -> bool:
        return place < len(self.whens) and (self.whens[place], self.numbers[place]) == (when_ns, number)

    def insert(self, place: int, when_ns: int, number: int, size: int) -> None:
        self.whens.insert(place, when_ns)
        self.numbers.insert(place, number)
        self.sizes.insert(place, size)

    def pop(self, place: int) -> int:
        del self.whens[place], self.numbers[place]
        return self.sizes.pop(place)

    def cut(self, place: int) -> _Part:
        """What is from `place` on, taken out."""
        rest = _Part()
        rest.whens, self.whens = self.whens[place:], self.whens[:place]
        rest.numbers, self.numbers = self.numbers[place:], self.numbers[:place]
        rest.sizes, self.sizes = self.sizes[place:], self.sizes[:place]
        return rest
