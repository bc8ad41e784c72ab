"""Writes of one location have one order: first come, first served. A cancelled waiter delays nobody."""

from __future__ import annotations

import asyncio

from common.keyed_lock import KeyedLock


def test_writers_of_one_location_go_one_after_the_other_in_the_order_they_came() -> None:
    async def run() -> list[str]:
        orders = KeyedLock()
        seen: list[str] = []

        async def write(name: str) -> None:
            async with orders.of("a"):
                seen.append(f"{name} begins")
                await asyncio.sleep(0)
                seen.append(f"{name} ends")

        await asyncio.gather(*(write(str(n)) for n in range(4)))
        assert not len(orders)
        return seen

    assert asyncio.run(run()) == [f"{n} {what}" for n in range(4) for what in ("begins", "ends")]


def test_writers_of_different_locations_do_not_wait_for_each_other() -> None:
    async def run() -> None:
        orders = KeyedLock()
        async with orders.of("a"), orders.of("b"):
            assert len(orders) == 2
        assert not len(orders)

    asyncio.run(run())


def test_an_error_inside_frees_the_place() -> None:
    async def run() -> bool:
        orders = KeyedLock()
        try:
            async with orders.of("a"):
                raise ValueError
        except ValueError:
            return not len(orders)

    assert asyncio.run(run())


def test_a_waiter_that_is_cancelled_before_or_after_it_was_called_holds_up_nobody() -> None:
    async def run(steps_before_cancel: int) -> bool:
        orders = KeyedLock()
        came: list[str] = []

        async def write(name: str) -> None:
            async with orders.of("a"):
                came.append(name)

        release = asyncio.Event()

        async def hold() -> None:
            async with orders.of("a"):
                await release.wait()

        holder = asyncio.create_task(hold())
        await asyncio.sleep(0)
        second, third = asyncio.create_task(write("second")), asyncio.create_task(write("third"))
        await asyncio.sleep(0)
        release.set()
        for _ in range(steps_before_cancel):
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(holder, second, third, return_exceptions=True)
        assert came[-1] == "third"
        return not len(orders)

    for steps in range(5):
        assert asyncio.run(run(steps))
