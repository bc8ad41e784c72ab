"""Steps that run between two batches. The task that asked for one may be cancelled before it is done."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.support.rules import DataDirectory
from tests.support.stores import opened


@pytest.mark.parametrize("fails", [False, True])
def test_the_result_of_a_step_that_nobody_waits_for_any_more_is_dropped(
    data: DataDirectory, fails: bool
) -> None:
    async def main() -> list[object]:
        unexpected: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unexpected.append(context))
        async with opened(data.root) as made:
            begun, go_on = threading.Event(), threading.Event()

            def step() -> None:
                begun.set()
                go_on.wait(120)
                if fails:
                    raise OSError("too late")

            waiting = made.store.committer.between(step)
            await asyncio.to_thread(begun.wait, 30)
            waiting.cancel()
            go_on.set()
            await made.put("a", b"body")  # through the same thread: the step is over
            assert await made.read("a") == b"body"
        return unexpected

    assert asyncio.run(main()) == []
