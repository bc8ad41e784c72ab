"""Runs some tasks beside each other, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType


class TaskPool:
    """At most `most` tasks at a time. Leaving the context waits for all of them, also after an error.

    Of several errors the first is raised: they have one cause.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way: set[asyncio.Future[None]] = set()

    async def start(self, task: Callable[[], Awaitable[None]]) -> None:
        """Start one when there is room. Raises the error of one that has ended."""
        while len(self._under_way) >= self._most:
            await self._until_one_ends()
        self._under_way.add(asyncio.ensure_future(task()))

    async def until_empty(self) -> None:
        """Wait for all that were started. Raises the first error."""
        while self._under_way:
            await self._until_one_ends()

    async def _until_one_ends(self) -> None:
        done, self._under_way = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def __aenter__(self) -> None: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        rest = await asyncio.gather(*self._under_way, return_exceptions=True)
        for result in rest:
            if err is None and isinstance(result, BaseException):
                raise result
