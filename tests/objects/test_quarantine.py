"""Restoring and dropping what is kept of damaged blobs: dead at any request to the store, beside others that
write, and what is refused. Every interleaving of requests is explored in test_model.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from common.errors import AlreadyExists, BlobkeepError, Damaged, NotFound
from services.engine import DeletedSince, Events
from services.engines.objects import damage, keys, pointer
from services.engines.objects.bucket import UNCHANGED, Got, ListPage, Unchanged, When
from services.engines.objects.client import SystemClock
from services.engines.objects.commit import Tools
from services.engines.objects.pointers import Pointers
from services.engines.objects.quarantine import ObjectsQuarantine
from services.engines.objects.store import ObjectsStore
from services.engines.objects.verifier import check_once
from tests.engines.makers import INLINE_BYTES, PART_BYTES, Under, anything
from tests.objects.exploring import Request, World

SIZES = {"small": 5_000, "large": PART_BYTES + 70_000}
NEW = b"written since"


class Died(BaseException):
    """The process was killed at a request."""


class MortalBucket:
    """A Bucket in memory. It dies at request number `dies_at`, which is `applied` then or not.

    `meanwhile` runs before request number `at`.
    """

    def __init__(self, world: World, dies_at: int = -1, *, applied: bool = False) -> None:
        self.world = world
        self.requests = 0
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.at = -1
        self._dies_at = dies_at
        self._applied = applied

    async def _ask(self, request: Request) -> Any:
        number, self.requests = self.requests, self.requests + 1
        if number == self.at and self.meanwhile is not None:
            await self.meanwhile()
        if 0 <= self._dies_at <= number:
            if self._applied and number == self._dies_at:
                self.world.apply(request)
            raise Died
        answer = self.world.apply(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def get(self, key: str, first: int = 0, limit: int | None = None) -> Got | None:
        got: Got | None = await self._ask(Request("get", key, first=first, limit=limit))
        return got

    async def get_changed(self, key: str, etag: str) -> Got | Unchanged | None:
        got = await self.get(key)
        return UNCHANGED if got is not None and got.etag == etag else got

    async def put(self, key: str, data: Any, when: When) -> str:
        return str(await self._ask(Request("put", key, bytes(data), when)))

    async def delete(self, keys: Sequence[str]) -> None:
        await self._ask(Request("delete", "", keys=tuple(keys)))

    async def list(self, folder: str, after: str) -> ListPage:
        return ListPage(await self._ask(Request("list", folder, after.encode())), False)


class Server:
    """One server's store, and its quarantine."""

    def __init__(self, bucket: MortalBucket) -> None:
        clock = SystemClock()
        self.bucket = bucket
        self.tools = Tools(bucket, Pointers(bucket, clock), clock)
        store = ObjectsStore(self.tools, Events(), inline_bytes=INLINE_BYTES, part_bytes=PART_BYTES)
        self.under = Under(store, store.events)
        self.quarantine = ObjectsQuarantine(self.tools, store)

    async def condemn(self, location: str) -> str:
        """Take a blob for damaged, though it is not; its name in quarantine."""
        known = await self.tools.pointers.read(location)
        assert known.pointer is not None
        assert await damage.condemn(self.tools, location, known.pointer.txn, "it looked wrong")
        return known.pointer.txn


def body_of(size: str) -> bytes:
    return bytes(range(251)) * (SIZES[size] // 251)


async def damaged(size: str, location: str = "a") -> tuple[World, str]:
    """A world where `location` is a blob that is taken for damaged, and its name in quarantine."""
    world = World()
    server = Server(MortalBucket(world))
    await server.under.put(location, body_of(size))
    name = await server.condemn(location)
    with pytest.raises(Damaged):
        await server.under.get(location)
    return world, name


def again(world: World) -> Server:
    """Another process on the same bucket."""
    return Server(MortalBucket(world))


def restore(name: str, to: str | None = None) -> Callable[[Server], Awaitable[object]]:
    return lambda server: server.quarantine.restore(name, to, even_deleted=False)


def drop(name: str) -> Callable[[Server], Awaitable[object]]:
    return lambda server: server.quarantine.drop(name)


async def requests_of(world: World, command: Callable[[Server], Awaitable[object]]) -> int:
    """How many requests the whole command takes."""
    server = again(copy_of(world))
    await command(server)
    return server.bucket.requests


def copy_of(world: World) -> World:
    made = World()
    made.objects = copy.copy(world.objects)
    return made


def kept_of(world: World, name: str) -> list[str]:
    """What is left of a damaged blob. Its state object goes with the next pass of the gc."""
    return [key for key in world.objects if name in key and not key.startswith(keys.GC)]


async def deaths(world: World, command: Callable[[Server], Awaitable[object]]) -> list[tuple[World, int]]:
    """What is left if the command dies at each of its requests, before or after that takes effect."""
    found = []
    for number in range(await requests_of(world, command)):
        for applied in (False, True):
            left = copy_of(world)
            with pytest.raises(Died):
                await command(Server(MortalBucket(left, number, applied=applied)))
            found.append((left, number))
    return found


@pytest.mark.parametrize("size", SIZES)
def test_a_restore_that_died_at_any_request_can_be_given_again(size: str) -> None:
    async def go() -> None:
        world, name = await damaged(size)
        before = await again(world).tools.pointers.read("a")
        assert before.pointer is not None
        for left, _ in await deaths(world, restore(name)):
            server = again(left)
            assert (await server.quarantine.restore(name, None, even_deleted=False)).location == "a"
            assert await server.under.get("a") == body_of(size)
            known = await server.tools.pointers.read("a")
            assert known.pointer is not None
            assert known.pointer.state == pointer.OK
            assert (known.pointer.txn, known.pointer.facts) == (name, before.pointer.facts)

    asyncio.run(go())


@pytest.mark.parametrize(("size", "mib"), [("small", 0), ("large", 2)])
def test_a_restore_in_place_takes_the_requests_of_the_docs(size: str, mib: int) -> None:
    async def go() -> None:
        world, name = await damaged(size)
        assert await requests_of(world, restore(name)) == 3 + mib

    asyncio.run(go())


@pytest.mark.parametrize("size", SIZES)
def test_a_restore_to_elsewhere_that_died_at_any_request_can_be_given_again(size: str) -> None:
    async def go() -> None:
        world, name = await damaged(size)
        for left, _ in await deaths(world, restore(name, "b")):
            server = again(left)
            assert (await server.quarantine.restore(name, "b", even_deleted=False)).location == "b"
            assert await server.under.get("b") == body_of(size)
            with pytest.raises(Damaged):
                await server.under.get("a")

    asyncio.run(go())


@pytest.mark.parametrize("size", SIZES)
def test_a_drop_that_died_at_any_request_leaves_nothing_when_it_is_given_again(size: str) -> None:
    async def go() -> None:
        world, name = await damaged(size)
        for left, number in await deaths(world, drop(name)):
            server = again(left)
            if keys.damaged_key(name) in left.objects:
                await server.quarantine.drop(name)
            assert await server.under.get("a") is None
            assert kept_of(left, name) == [], number
            with pytest.raises(NotFound):
                await server.quarantine.drop(name)

    asyncio.run(go())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["written", "deleted"])
def test_what_others_do_meanwhile_stands(size: str, way: str) -> None:
    async def go() -> None:
        world, name = await damaged(size)
        for command in (restore(name), drop(name)):
            for number in range(await requests_of(world, command)):
                left = copy_of(world)
                server, other = again(left), again(left)

                async def change(other: Server = other) -> None:
                    if way == "written":
                        await other.under.put("a", NEW)
                    else:
                        await other.under.store.delete("a", anything)

                server.bucket.at, server.bucket.meanwhile = number, change
                with contextlib.suppress(AlreadyExists, DeletedSince, NotFound):
                    await command(server)
                assert await again(left).under.get("a") == (NEW if way == "written" else None), number

    asyncio.run(go())


@pytest.mark.parametrize("size", SIZES)
def test_a_restore_to_elsewhere_replaces_nothing_that_came_meanwhile(size: str) -> None:
    async def go() -> None:
        world, name = await damaged(size)
        for number in range(await requests_of(world, restore(name, "b"))):
            left = copy_of(world)
            server, other = again(left), again(left)
            server.bucket.at = number
            server.bucket.meanwhile = lambda other=other: other.under.put("b", NEW)
            with contextlib.suppress(AlreadyExists):
                await restore(name, "b")(server)
            assert await again(left).under.get("b") == NEW, number

    asyncio.run(go())


@pytest.mark.parametrize("size", SIZES)
def test_a_drop_beside_a_restore_never_takes_the_bytes_of_what_is_served(size: str) -> None:
    async def go() -> None:
        world, name = await damaged(size)
        for first, second in ((restore(name), drop(name)), (drop(name), restore(name))):
            for number in range(await requests_of(world, first)):
                left = copy_of(world)
                server, other = again(left), again(left)
                server.bucket.at = number
                server.bucket.meanwhile = lambda other=other, second=second: second(other)
                with contextlib.suppress(Damaged, DeletedSince, NotFound):
                    await first(server)
                assert await again(left).under.get("a") in (body_of(size), None), number

    asyncio.run(go())


@pytest.mark.parametrize("size", SIZES)
def test_what_is_not_whole_is_not_restored(size: str) -> None:
    async def go() -> None:
        world, name = await damaged(size)
        key = keys.damaged_key(name) if size == "small" else keys.part_key("a", name, 1)
        good = world.objects[key]
        world.objects[key] = good[:-1] + bytes([good[-1] ^ 1])
        server = again(world)
        for to in (None, "b"):
            with pytest.raises(Damaged, match="checksum"):
                await server.quarantine.restore(name, to, even_deleted=True)
        assert await server.under.get("b") is None
        _, bad, wrong = await server.quarantine.examine(name)
        assert (bad, "checksum" in wrong) == ([0 if size == "small" else 1], True)
        world.objects[key] = good
        assert (await server.quarantine.examine(name))[1:] == ([], "")
        await server.quarantine.restore(name, None, even_deleted=False)
        assert await server.under.get("a") == body_of(size)

    asyncio.run(go())


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_or_deleted_since_is_not_undone(size: str) -> None:
    async def go() -> None:
        world, name = await damaged(size)
        server = again(world)

        async def states() -> list[str]:
            return [one.state for one in await server.quarantine.find()]

        assert await states() == ["answers 500"]
        await server.under.put("a", NEW)
        assert await states() == ["written or deleted since"]
        for even_deleted in (False, True):
            with pytest.raises(AlreadyExists):
                await server.quarantine.restore(name, None, even_deleted=even_deleted)
        with pytest.raises(AlreadyExists):
            await server.quarantine.restore(name, "a", even_deleted=False)
        assert await server.under.get("a") == NEW
        await server.under.store.delete("a", anything)
        with pytest.raises(DeletedSince):
            await server.quarantine.restore(name, None, even_deleted=False)
        assert await server.under.get("a") is None
        await server.quarantine.restore(name, None, even_deleted=True)
        assert await server.under.get("a") == body_of(size)
        await server.quarantine.drop(name)
        assert await states() == []
        assert await server.under.get("a") == body_of(size)
        assert kept_of(world, name) == []

    asyncio.run(go())


def test_what_is_served_again_keeps_its_bytes_when_it_is_dropped() -> None:
    async def go() -> None:
        world, name = await damaged("large")
        server = again(world)
        await server.quarantine.restore(name, None, even_deleted=False)
        assert [one.state for one in await server.quarantine.find()] == ["is served"]
        await server.quarantine.drop(name)
        assert await server.under.get("a") == body_of("large")
        with pytest.raises(NotFound):
            await server.quarantine.restore(name, None, even_deleted=False)

    asyncio.run(go())


def test_a_round_makes_a_note_that_was_dropped_too_soon() -> None:
    """A drop removes the note of what is served again, and a server finds it damaged once more meanwhile."""

    async def go() -> None:
        world, name = await damaged("large")
        del world.objects[keys.damaged_key(name)]
        server = again(world)
        await check_once(server.tools, 0, dry_run=True)
        assert await server.quarantine.find() == []
        await check_once(server.tools, 0, dry_run=False)
        assert [(one.name, one.location, one.reason) for one in await server.quarantine.find()] == [
            (name, "a", "it looked wrong")
        ]

    asyncio.run(go())


@pytest.mark.parametrize("name", ["", "keep", "x/y", "0" * 26])
def test_a_name_that_is_not_there_is_said_to_be_none(name: str) -> None:
    async def go() -> None:
        world, _ = await damaged("small")
        world.objects[f"{keys.DAMAGED}keep"] = b"kept for its folder\n"
        quarantine = again(world).quarantine
        assert len(await quarantine.find()) == 1
        with pytest.raises(NotFound):
            await quarantine.drop(name)
        with pytest.raises(NotFound):
            await quarantine.examine(name)
        with pytest.raises(NotFound):
            await quarantine.restore(name, None, even_deleted=True)

    asyncio.run(go())


def test_what_cannot_be_read_can_only_be_dropped() -> None:
    async def go() -> None:
        name = "0" * 26
        world = World()
        world.objects[keys.damaged_key(name)] = b"not of our form"
        quarantine = again(world).quarantine
        assert [(one.name, one.location) for one in await quarantine.find()] == [(name, None)]
        with pytest.raises(BlobkeepError, match="cannot be read"):
            await quarantine.restore(name, None, even_deleted=True)
        assert (await quarantine.examine(name))[1] is None
        assert await quarantine.drop(name) == len(b"not of our form")
        assert not world.objects

    asyncio.run(go())
