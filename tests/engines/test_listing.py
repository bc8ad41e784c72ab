"""Pages by prefix and delimiter, in order, while blobs come and go."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.engines.makers import Maker, Under, only_there, run

NAMES = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "a/b/d",
    "a/c",
    "a-b",
    "a.b",
    "aa",
    "b",
    "b/c/d/e",
    "c/1",
    "c/2",
    "c/3",
    "é/ü",
]
NAMES = [name for name in NAMES if not name.endswith("/")]


def expected(names: list[str], prefix: str, delimiter: str) -> list[str]:
    """What a listing must give, computed in the simplest way."""
    found = set()
    for name in names:
        if name.startswith(prefix) and (name[0] != "\0" or prefix[:1] == "\0"):
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            found.add(name if cut < 0 else name[: cut + 1])
    return sorted(found)


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_every_page_is_right(engine: Maker, limit: int) -> None:
    async def test(under: Under) -> None:
        for name in NAMES:
            await under.put(name)
        for prefix in ("", "a", "a/", "a/b", "a/b/", "b/", "c", "c/", "x", "é"):
            for delimiter in ("", "/"):
                found = await under.names(prefix, delimiter, limit)
                assert found == expected(NAMES, prefix, delimiter), (prefix, delimiter)

    run(engine, test)


def test_any_place_is_good_to_go_on_from(engine: Maker) -> None:
    async def test(under: Under) -> None:
        for name in NAMES:
            await under.put(name)
        for after in ["", "a", "a/", "a/a", "a/b", "a/b/", "a/zzz", "b/", "c/2", "d", "\U0010ffff", "-", "`"]:
            page = await under.store.list("", "", after, 1000)
            assert [blob.location for blob in page.blobs] == [name for name in sorted(NAMES) if name > after]
        for after in ["", "a", "a/", "a-b", "b/", "d"]:
            page = await under.store.list("", "/", after, 1000)
            got = sorted([*(blob.location for blob in page.blobs), *page.prefixes])
            assert got == [name for name in expected(NAMES, "", "/") if name > after], after

    run(engine, test)


def test_what_was_deleted_is_not_listed(engine: Maker) -> None:
    async def test(under: Under) -> None:
        for name in NAMES:
            await under.put(name)
        left = NAMES[::2]
        for name in NAMES[1::2]:
            await under.store.delete(name, only_there)
        assert await under.names() == sorted(left)
        assert await under.names("", "/") == expected(left, "", "/")

    run(engine, test)


def test_records_of_front_ends_are_listed_only_where_they_are_asked_for(engine: Maker) -> None:
    async def test(under: Under) -> None:
        for name in ["\0s3/bucket/one", "\0s3/bucket/two", "\0s3/upload", "plain", "!"]:
            await under.put(name)
        assert await under.names() == ["!", "plain"]
        assert await under.names("\0s3/bucket/") == ["\0s3/bucket/one", "\0s3/bucket/two"]
        assert await under.names("\0s3/", "/") == ["\0s3/bucket/", "\0s3/upload"]
        assert await under.get("\0s3/upload") == b"x"

    run(engine, test)


def test_pages_while_blobs_come_and_go(engine: Maker) -> None:
    async def test(under: Under) -> None:
        stays = [f"s/{number:03}" for number in range(60)]
        for name in stays:
            await under.put(name)
        going = True

        async def churn(seed: int) -> None:
            chance = random.Random(seed)
            while going:
                name = f"s/{chance.randrange(60):03}.{seed}"
                await under.put(name)
                await under.store.delete(name, only_there)

        async def walk() -> None:
            nonlocal going
            for _ in range(5):
                found = await under.names("s/", "", 7)
                assert found == sorted(set(found))
                assert set(stays) <= set(found)
            going = False

        await asyncio.gather(walk(), churn(1), churn(2))
        assert await under.names() == stays

    run(engine, test)


def test_long_names_that_share_their_beginning(engine: Maker) -> None:
    async def test(under: Under) -> None:
        start = "p/" + "x" * 900
        names = [start + end for end in ("", "/b", "/a/1", "/a/2", ".", "z", "é")]
        names += ["p/" + "x" * 800, "p/y", "p/" + "w" * 1000]
        for name in names:
            await under.put(name)
        for limit in (1, 3, 100):
            assert await under.names("p/", "", limit) == expected(names, "p/", "")
            assert await under.names("p/", "/", limit) == expected(names, "p/", "/")
            assert await under.names(start + "/", "/", limit) == expected(names, start + "/", "/")

    run(engine, test)


def test_a_thousand_and_more(engine: Maker) -> None:
    async def test(under: Under) -> None:
        names = [f"{number % 7}/{number:04}" for number in range(1100)]
        for at in range(0, len(names), 50):
            await asyncio.gather(*(under.put(name, whole=True) for name in names[at : at + 50]))
        assert await under.names("", "", 10_000) == sorted(names)
        assert await under.names("", "/") == [f"{n}/" for n in range(7)]
        assert await under.names("3/", "", 50) == sorted(name for name in names if name[0] == "3")

    run(engine, test)
