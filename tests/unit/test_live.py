"""What is kept for a dashboard that does not read is bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from common.errors import Busy
from services.frontends.native.live import MAX_LISTENERS, MAX_WAITING, LiveFeed, LiveStream
from services.watch.monitor import Monitor
from services.watch.request_log import RequestLog
from tests.support.memory_engine import MemoryEngine


def _live(tmp_path: Path) -> LiveFeed:
    engine = MemoryEngine(str(tmp_path))
    return LiveFeed(Monitor(engine, engine.store, RequestLog()))


def test_who_does_not_read_is_cut_off_and_makes_room(tmp_path: Path) -> None:
    async def run() -> None:
        live = _live(tmp_path)
        listeners = [live.join("a client") for _ in range(MAX_LISTENERS)]
        awake = listeners[0]
        for number in range(MAX_WAITING + 1):
            live._tell(b"%d" % number)
            while not awake.messages.empty():
                assert awake.messages.get_nowait() is not None
        for asleep in listeners[1:]:
            assert asleep.messages.qsize() <= MAX_WAITING
            last = [asleep.messages.get_nowait() for _ in range(asleep.messages.qsize())][-1]
            assert last is None
        assert [live.join("a client") for _ in range(MAX_LISTENERS - 1)]
        live.close()
        assert awake.messages.get_nowait() is None

    asyncio.run(run())


def _ended(listener: LiveStream) -> bool:
    waiting = [listener.messages.get_nowait() for _ in range(listener.messages.qsize())]
    return waiting[-1:] == [None]


def test_a_client_that_has_all_places_gives_some_to_others(tmp_path: Path) -> None:
    """32 streams of one client kept all other dashboards out."""

    async def run() -> None:
        live = _live(tmp_path)
        greedy = [live.join("greedy") for _ in range(MAX_LISTENERS)]
        with pytest.raises(Busy):
            live.join("greedy")
        others = [live.join(f"client {number}") for number in range(MAX_LISTENERS - 1)]
        assert [_ended(listener) for listener in greedy] == [True] * (MAX_LISTENERS - 1) + [False]
        for late in ("greedy", "client 0", "the last"):  # each client has one, so none has to give way
            with pytest.raises(Busy):
                live.join(late)
        assert not any(_ended(listener) for listener in others)
        live.close()

    asyncio.run(run())


def test_two_clients_share_the_places(tmp_path: Path) -> None:
    async def run() -> None:
        live = _live(tmp_path)
        for _ in range(MAX_LISTENERS):
            live.join("first")
        for _ in range(MAX_LISTENERS // 2):
            live.join("second")
        with pytest.raises(Busy):
            live.join("second")
        live.close()

    asyncio.run(run())
