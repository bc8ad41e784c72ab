"""What processes, the monitor and tools need from every engine: health, events, blobs by id, a second
start.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from common.errors import BadRequest, NotFound
from common.self_report import NamedBlob
from common.states import WORD_OF_CODE
from services.engine import Admin, BlobHistory, Engine
from services.store import Content, Description
from tests.engines.makers import EngineMaker, Under, anything, serving


class Steps:
    """A listener: the id, location and word of each step."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def told(self, blob: BlobHistory, since: int) -> None:
        self.seen += [(str(blob.id), blob.location, WORD_OF_CODE[step.code]) for step in blob.events[since:]]

    def damaged(self, blob: NamedBlob) -> None:
        raise AssertionError(blob)


def run(make: EngineMaker, test: Callable[[Engine, Under], Awaitable[None]]) -> None:
    """Run `test` on an open engine."""

    async def go() -> None:
        engine = make()
        async with serving(engine) as under:
            await test(engine, under)

    asyncio.run(go())


async def pages(admin: Admin, state: str | None, limit: int) -> list[Description]:
    """All blobs by id, by pages of `limit`."""
    found: list[Description] = []
    after = None
    while page := await admin.list_by_id(state, after, limit):
        assert len(page) <= limit
        found += page
        after = str(page[-1].id)
    return found


def test_a_new_engine_is_well_and_says_so_in_words(whole: EngineMaker) -> None:
    async def test(engine: Engine, under: Under) -> None:
        for _ in range(2):
            checks = await engine.health()
            assert checks
            assert any(check.vital for check in checks)
            assert len({check.name for check in checks}) == len(checks)
            for check in checks:
                assert check.ok, check
                assert check.text.endswith("."), check
                assert check.age_s is None or check.age_s >= 0, check
            await under.put("a")
        disk = engine.disk()
        assert disk is None or 0 < disk.free_bytes <= disk.size_bytes

    run(whole, test)


def test_its_processes_begin_with_the_server_and_report_to_a_folder(whole: EngineMaker) -> None:
    async def test(engine: Engine, under: Under) -> None:
        assert engine.processes[0] == "server"
        assert len(set(engine.processes)) == len(engine.processes)
        assert Path(engine.reports_dir).is_absolute() or Path(engine.reports_dir).parent.is_dir()

    run(whole, test)


def test_a_blob_is_found_by_the_id_that_the_store_shows(whole: EngineMaker) -> None:
    async def test(engine: Engine, under: Under) -> None:
        about = Content("text/css", "gzip", {"x-meta-a": "b", ".s3-etag": "hidden"})
        blob, _ = await under.put("some/where", b"body {}", content=about)
        found = await engine.admin().describe(str(blob.id))
        assert (found.id, found.location, found.state) == (blob.id, "some/where", "OK")
        assert (found.size, found.etag) == (7, f'"{blob.sha256.hex()}"')
        assert (found.type, found.encoding) == ("text/css", "gzip")
        assert found.metadata["x-meta-a"] == "b"
        assert ".s3-etag" not in found.metadata
        assert found.modified is not None
        assert found.history
        assert found.history[0].state == "OK"
        assert found.history[0].time >= found.history[-1].time  # newest first

    run(whole, test)


def test_pages_by_id_show_each_blob_once(whole: EngineMaker) -> None:
    async def test(engine: Engine, under: Under) -> None:
        blobs = {(await under.put(f"n/{number}", b"x" * number))[0].id for number in range(7)}
        admin = engine.admin()
        for limit in (1, 3, 7, 100):
            found = await pages(admin, "OK", limit)
            assert [one.state for one in found] == ["OK"] * 7
            assert len(found) == 7
            assert {one.id for one in found} == blobs
            assert sorted(one.size or 0 for one in found) == list(range(7))
        assert {one.id for one in await pages(admin, None, 2)} >= blobs

    run(whole, test)


@pytest.mark.parametrize("ends", ["update", "delete"])
def test_a_blob_that_is_over_is_never_ok_by_its_id(whole: EngineMaker, ends: str) -> None:
    async def test(engine: Engine, under: Under) -> None:
        old, _ = await under.put("a", b"old")
        if ends == "update":
            await under.put("a", b"newer")
        else:
            await under.store.delete("a", anything)
        admin = engine.admin()
        assert old.id not in {one.id for one in await pages(admin, "OK", 10)}
        assert {one.location for one in await pages(admin, "OK", 10)} == (
            {"a"} if ends == "update" else set()
        )
        with contextlib.suppress(NotFound):  # nothing may be kept of it
            assert (await admin.describe(str(old.id))).state == "Failure"

    run(whole, test)


@pytest.mark.parametrize("name", ["", "none", "-1", "../a", "65535", "9" * 30, "\0", "a" * 5000])
def test_what_is_no_id_is_not_found(whole: EngineMaker, name: str) -> None:
    async def test(engine: Engine, under: Under) -> None:
        with pytest.raises(NotFound):
            await engine.admin().describe(name)
        if name not in ("65535",):  # a page may begin after an id that nobody has
            with pytest.raises((BadRequest, NotFound)):
                await engine.admin().list_by_id(None, name, 10)

    run(whole, test)


def test_listeners_hear_of_each_step_under_the_id_that_the_store_shows(whole: EngineMaker) -> None:
    async def test(engine: Engine, under: Under) -> None:
        steps = Steps()
        engine.events.subscribe(steps)
        first, _ = await under.put("a", b"1")
        second, _ = await under.put("a", b"2", whole=True)
        await under.store.delete("a", anything)
        by_id: dict[str, list[str]] = {}
        for blob_id, location, word in steps.seen:
            assert location == "a"
            by_id.setdefault(blob_id, []).append(word)
        for blob in (first, second):
            words = by_id[str(blob.id)]
            assert words[-1] == "Failure"
            assert words.count("Failure") == 1
            assert "OK" in words

    run(whole, test)


def test_a_second_start_serves_the_same_blobs(whole: EngineMaker) -> None:
    before: dict[str, tuple[str, str, int]] = {}

    async def write(engine: Engine, under: Under) -> None:
        await under.put("gone", b"1")
        await under.put("kept", b"22")
        await under.put("kept", b"333")
        await under.put("kept/large", b"4" * 3_000_000)
        await under.store.delete("gone", anything)
        for blob in (await under.store.list("", "", "", 10)).blobs:
            before[blob.location] = (str(blob.id), blob.version, blob.modified_ns)

    async def read(engine: Engine, under: Under) -> None:
        blobs = (await under.store.list("", "", "", 10)).blobs
        assert {b.location: (str(b.id), b.version, b.modified_ns) for b in blobs} == before
        assert await under.get("kept") == b"333"
        assert await under.get("kept/large") == b"4" * 3_000_000
        assert await under.get("gone") is None
        usage = await under.store.usage()
        assert usage.blobs in (None, 2)
        assert usage.bytes in (None, 3_000_003)

    run(whole, write)
    run(whole, read)
