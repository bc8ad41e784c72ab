"""The files that a request passes are those that docs/architecture.md names, in its order."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tornado.netutil import bind_sockets

from common.config import Config
from services.access.decisions import Access
from services.engines.local.engine import LocalEngine
from services.frontends.front_door import FrontDoor
from services.frontends.native.app import make_app
from services.frontends.native.fast_path import FastPath
from services.listening import make_server
from services.watch.monitor import Monitor
from services.watch.request_log import RequestLog
from tests.support.processes import ROOT
from tests.support.rules import DataDirectory

_LARGE = 3 << 20
_MOST_FILES = 8
# By the heading in the document: the request.
REQUESTS = {
    "A small PUT": ("PUT", "small", b"abc", ""),
    "A large PUT": ("PUT", "large", bytes(_LARGE), ""),
    "A GET of a small blob": ("GET", "small", b"", ""),
    "A GET of a large blob": ("GET", "large", b"", ""),
    "A GET of a range": ("GET", "large", b"", "Range: bytes=1-2000000\r\n"),
}

Step = tuple[str, str]  # a file, and a function in it


def documented() -> dict[str, list[Step]]:
    """The lists of the document, by their headings."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    found: dict[str, list[Step]] = {}
    for part in text.split("\n**")[1:]:
        steps = re.findall(r"^\d+\. `(services/\S+)` `(\w+)`", part, re.MULTILINE)
        if steps:
            found[part.partition("**")[0]] = steps
    return found


@contextmanager
def watched(calls: list[Step]) -> Iterator[None]:
    """Put into `calls` what is called of the product, by every thread that begins within this."""
    root = f"{ROOT}/"

    def note(frame: FrameType, event: str, _argument: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(root):
            calls.append((path[len(root) :], frame.f_code.co_name))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


async def ask(port: int, method: str, name: str, body: bytes, field: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
    head = f"{method} /store/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}{field}\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read(-1)
    writer.close()
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201", b"HTTP/1.1 206")), answer[:200]


async def called(root: str) -> dict[str, list[Step]]:
    """What each of REQUESTS calls, in order."""
    calls: list[Step] = []
    found = {}
    config = Config(dir=root, put_creates=True)
    with watched(calls):
        engine = LocalEngine(config)
        await engine.own()
        try:
            store = await engine.open(lambda done, total: None, lambda err: None)
            requests, access = RequestLog(), Access()
            app = make_app(store, engine.admin(), config, Monitor(engine, store, requests), access)
            door = FrontDoor(app, store, config, access, requests)
            fast = FastPath(door, store, access, requests, config)
            server, drain = make_server(fast, config, requests, None, door.quick_answer(fast.quick_answer))
            sockets = bind_sockets(0, "127.0.0.1")
            server.add_sockets(sockets)
            for title, request in REQUESTS.items():
                calls.clear()
                await ask(sockets[0].getsockname()[1], *request)
                found[title] = calls[:]
            await drain(5)
        finally:
            await engine.close()
    return found


def test_requests_pass_the_files_that_the_architecture_names_in_its_order(data: DataDirectory) -> None:
    lists = documented()
    assert lists.keys() == REQUESTS.keys()
    for title, calls in asyncio.run(called(data.root)).items():
        steps = lists[title]
        files = [file for file, _ in steps]
        assert len(set(files)) == len(files), title
        assert len(files) <= _MOST_FILES or title == "A large PUT"  # whose commit is that of a small one
        missing = [step for step in steps if step not in calls]
        assert not missing, f"{title}: {missing}"
        firsts = [calls.index(step) for step in steps]
        assert firsts == sorted(firsts), f"{title}: {sorted(steps, key=calls.index)}"
