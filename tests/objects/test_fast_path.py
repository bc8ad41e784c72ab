"""Reads without a handler, on an object store: the answer is that of a handler, byte for byte."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from services.engines.objects import keys
from services.engines.objects.client import BucketClient
from services.engines.objects.meter import Meter
from tests.objects.test_system import System
from tests.support.processes import Server
from tests.support.raw import connected
from tests.support.seaweed import Seaweed

# A client that would also be shown a folder.
ASKED = [
    "GET /store/plain",
    "GET /store/small",
    "GET /store/empty",
    "GET /store/large",
    "GET /store/damaged",
    "GET /store/none",
    "GET /store/folder",
    "GET /store/folder\r\nAccept: text/html",
    "GET /store/folder\r\nUser-Agent: Wget/1",
    "HEAD /store/small",
    "GET /store/" + "a" * 1025,
]


def test_plain_reads_are_answered_as_handlers_do(store_process: Seaweed, tmp_path: Path) -> None:
    system = System(store_process, tmp_path)
    try:
        fast = system.server()
        system.env["BLOBKEEP_FAST_PATH"] = "false"
        slow = system.server()
        assert fast.ask("POST", "/store/plain", b"plain").status == 201  # its fields come from a template
        bodies = {"small": b"x" * 1000, "empty": b"", "large": os.urandom((5 << 20) + 7), "folder/a": b"a"}
        for name, body in bodies.items():
            assert fast.ask("POST", f"/store/{name}", body, headers={"X-Meta-A": "b"}).status == 201
        _damage(system)
        answers = {asked: _answer(fast, asked) for asked in ASKED}
        assert answers == {asked: _answer(slow, asked) for asked in ASKED}
        statuses = [int(answer[9:12]) for answer in answers.values()]
        assert statuses == [200, 200, 200, 200, 500, 404, 404, 308, 308, 200, 400]
        assert answers["GET /store/large"].endswith(b"\r\n\r\n" + bodies["large"])
        # A client that leaves meanwhile does no harm.
        with connected(fast.port) as raw:
            raw.send(_wire("GET /store/large"))
        assert fast.ask("GET", "/store/small").body == bodies["small"]
    finally:
        system.end()


def _damage(system: System) -> None:
    async def go() -> None:
        await BucketClient(system.settings, Meter()).put(keys.pointer_key("damaged"), b"no pointer", None)

    asyncio.run(go())


def _wire(asked: str) -> bytes:
    line, _, fields = asked.partition("\r\n")
    more = f"{fields}\r\n" if fields else ""
    return f"{line} HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n".encode()


def _answer(server: Server, asked: str) -> bytes:
    """The whole answer, without the time."""
    with connected(server.port) as raw:
        raw.send(_wire(asked))
        return re.sub(rb"\r\nDate: [^\r]+", b"", raw.rest())
