"""A journal that is lost: nothing acknowledged is missing, as no power failed; and somebody says so."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest

from services.engines.local.disk.directory import existing
from services.engines.local.journal import format as journal
from tests.support.processes import Server
from tests.support.rules import DataDirectory
from tests.support.stores import opened


def test_the_server_says_that_its_journal_was_lost(server: Server, data: DataDirectory) -> None:
    assert server.ask("POST", "/store/a", b"a").status == 201
    server.kill()
    for name in journal.NAMES:
        os.unlink(existing(data.root).ours(name))
    server.restart()
    assert ".journal.0 and .journal.1: lost" in server.said()
    assert server.ask("GET", "/store/a").body == b"a"
    server.stop()
    server.restart()
    assert ": lost" not in server.said()  # there are new ones


@pytest.mark.parametrize("sync", ["journal", "folder"])
def test_a_directory_that_never_had_one_has_lost_none(
    data: DataDirectory, sync: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with opened(data.root, sync=sync) as made:
            await made.put("a", b"a")
        async with opened(data.root) as made:
            assert await made.read("a") == b"a"

    caplog.set_level(logging.WARNING)
    asyncio.run(main())
    assert "lost" not in caplog.text
