"""Many large uploads at once: the store gets no more of them at the same time than it can answer."""

from __future__ import annotations

import asyncio
from typing import Any

from services.engines.objects import keys
from services.engines.objects.bucket import When
from services.engines.objects.part_rooms import MAX_PARTS_HELD, MAX_PARTS_SENT, PartRooms
from services.engines.objects.store import ObjectsStore
from services.store import Content
from tests.engines.makers import PART_BYTES, anything
from tests.objects.exploring import World
from tests.objects.test_quarantine import MortalBucket, Server
from tests.support.stores import until

UPLOADS = 3 * MAX_PARTS_SENT
PIECE_BYTES = PART_BYTES // 4


class Slow(MortalBucket):
    """Takes no part before it may."""

    def __init__(self) -> None:
        super().__init__(World())
        self.may_take = asyncio.Event()
        self.at_once = self.most_at_once = 0

    async def put(self, key: str, data: Any, when: When) -> str:
        if not key.startswith(keys.DATA):
            return await super().put(key, data, when)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.may_take.wait()
            return await super().put(key, data, when)
        finally:
            self.at_once -= 1


def test_parts_of_many_uploads_wait_for_their_turn() -> None:
    async def go() -> None:
        bucket = Slow()
        under = Server(bucket).under
        body = b"x" * (3 * PART_BYTES)
        uploads = [asyncio.ensure_future(under.put(str(n), body)) for n in range(UPLOADS)]
        await until(lambda: bucket.at_once >= MAX_PARTS_SENT, "parts under way")
        for _ in range(3 * UPLOADS):
            await asyncio.to_thread(int)  # whoever could send a part has summed it by then
        bucket.may_take.set()
        await asyncio.gather(*uploads)
        assert bucket.most_at_once == MAX_PARTS_SENT
        assert await under.get(str(UPLOADS - 1)) == body

    asyncio.run(go())


def test_uploads_without_room_read_no_more_of_their_bodies() -> None:
    async def go() -> None:
        bucket = Slow()
        store = Server(bucket).under.store
        assert isinstance(store, ObjectsStore)
        store.rooms = PartRooms(patience_s=3600.0)  # however slow the machine is
        taken = [0] * UPLOADS

        async def upload(number: int) -> None:
            size = 3 * PART_BYTES
            one = await store.begin(str(number), anything, Content(), size, waits=False)
            for _ in range(size // PIECE_BYTES):
                if not one.takes(b"x" * PIECE_BYTES):
                    await one.write(b"x" * PIECE_BYTES)
                taken[number] += PIECE_BYTES
            await one.commit()

        uploads = [asyncio.ensure_future(upload(number)) for number in range(UPLOADS)]
        await until(lambda: bucket.at_once == MAX_PARTS_SENT, "parts under way")
        for _ in range(3 * UPLOADS):
            await asyncio.to_thread(int)  # as above
        assert sum(taken) <= MAX_PARTS_HELD * PART_BYTES
        bucket.may_take.set()
        async with asyncio.timeout(120):
            await asyncio.gather(*uploads)
        assert taken == [3 * PART_BYTES] * UPLOADS

    asyncio.run(go())


def test_who_fills_a_part_slowly_does_not_keep_others_from_reading() -> None:
    async def go() -> None:
        rooms = PartRooms(patience_s=0.001)
        slow = [await rooms.take() for _ in range(MAX_PARTS_HELD)]
        filled = []
        for _ in range(MAX_PARTS_HELD):
            async with asyncio.timeout(60):
                room = await rooms.take()  # those of the slow ones
            room.was_filled()
            filled.append(room)
        for room in slow:
            room.leave()  # it has none any more
        # The parts are whole, and wait for the store: all others wait as well.
        waiting = asyncio.ensure_future(rooms.take())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        filled[0].leave()
        await waiting

    asyncio.run(go())


def test_a_place_is_free_again_when_a_part_was_not_taken() -> None:
    async def go() -> None:
        bucket = Slow()
        under = Server(bucket).under
        body = b"x" * (2 * PART_BYTES)
        for _ in range(2):
            uploads = [asyncio.ensure_future(under.put(str(n), body)) for n in range(UPLOADS)]
            await until(lambda: bucket.at_once == MAX_PARTS_SENT, "parts under way")
            for upload in uploads:
                upload.cancel()
            await asyncio.gather(*uploads, return_exceptions=True)
            await under.store.close()  # type: ignore[attr-defined]
            await until(lambda: not bucket.at_once, "the end of them")
        bucket.may_take.set()
        await under.put("a", body)
        assert await under.get("a") == body

    asyncio.run(go())
