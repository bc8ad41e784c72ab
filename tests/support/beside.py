"""Something that needs an event loop, in a thread beside the test: so a test may wait for what it does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def beside(context: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """What `context` gives, which is entered on a loop of its own, and left when the block ends."""
    ready, stopped = threading.Event(), asyncio.Event()
    found: list[T] = []
    loop = asyncio.new_event_loop()

    async def run() -> None:
        async with context as value:
            found.append(value)
            ready.set()
            await stopped.wait()

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(run())
        finally:
            ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(120)
        assert found, "it could not be entered"
        yield found[0]
    finally:
        if found:
            loop.call_soon_threadsafe(stopped.set)
        thread.join(120)
        assert not thread.is_alive()
