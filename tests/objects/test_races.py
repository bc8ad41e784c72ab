"""A hundred clients on one blob, spread over three servers that share nothing but the store."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import aiohttp
import pytest

from tests.objects.test_system import System
from tests.support.seaweed import Seaweed

CLIENTS = 100


async def _count_up(session: aiohttp.ClientSession, urls: Sequence[str], seed: int) -> tuple[int, int]:
    """Add one to the number that is there. Gives (what it wrote, how often it lost)."""
    rng = random.Random(seed)
    lost = 0
    while True:
        url = rng.choice(urls)
        async with session.get(url) as answer:
            assert answer.status == 200
            seen, etag = int(await answer.text()), answer.headers["etag"]
        async with session.put(url, data=str(seen + 1), headers={"If-Match": etag}) as answer:
            if answer.status == 200:
                return seen + 1, lost
            assert answer.status == 412, await answer.text()
            lost += 1
        await asyncio.sleep(rng.random() * 0.03 * min(lost, 50))


@pytest.fixture(scope="module")
def ports(store_process: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """The addresses of three servers."""
    system = System(store_process, tmp_path_factory.mktemp("races"))
    yield [system.server().port for _ in range(3)]
    system.end()


@pytest.mark.timeout(600)
def test_a_hundred_clients_count_up_and_none_is_lost(ports: list[int]) -> None:
    urls = [f"http://127.0.0.1:{port}/store/counter" for port in ports]

    async def go() -> tuple[list[tuple[int, int]], set[str]]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            async with session.post(urls[0], data="0") as answer:
                assert answer.status == 201
            done = await asyncio.gather(*(_count_up(session, urls, number) for number in range(CLIENTS)))
            last = set()
            for url in urls:
                async with session.get(url) as answer:
                    last.add(await answer.text())
            return done, last

    done, last = asyncio.run(go())
    assert Counter(wrote for wrote, _ in done) == Counter(range(1, CLIENTS + 1))
    assert last == {str(CLIENTS)}
    assert sum(lost for _, lost in done) > CLIENTS  # there were races


@pytest.mark.timeout(600)
def test_of_a_hundred_creates_one_succeeds(ports: list[int]) -> None:
    async def create(session: aiohttp.ClientSession, number: int) -> int:
        url = f"http://127.0.0.1:{ports[number % len(ports)]}/store/one"
        async with session.post(url, data=str(number)) as answer:
            return answer.status

    async def go() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            statuses = await asyncio.gather(*(create(session, number) for number in range(CLIENTS)))
            assert Counter(statuses) == {201: 1, 409: CLIENTS - 1}
            for port in ports:
                async with session.get(f"http://127.0.0.1:{port}/store/one") as answer:
                    assert int(await answer.text()) == statuses.index(201)

    asyncio.run(go())
