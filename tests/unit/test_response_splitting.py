"""A record made by hand, as in a hostile backup, cannot add a field or a body to an answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from common.options import Config
from services.access.decisions import Access
from services.frontends.native.fast_path import FastPath
from services.frontends.native.read_plan import plan_read
from services.rules.answers import sent
from services.store import Content
from services.watch.request_log import RequestLog
from tests.http1.serving import Running, running
from tests.support.memory_store import MemoryStore
from tests.unit.test_fast_path import Handlers

BREAKS = ["\r\n", "\n", "\r", "\0", "\x85", "\u2028"]
SCRIPT = "text/html{}Content-Security-Policy: sandbox allow-scripts{}{}<script>alert(1)</script>"


def evil(line_break: str) -> Content:
    text = SCRIPT.format(*[line_break] * 3)
    return Content(
        text, f"gzip{line_break}X-Forged: 1", {"cache-control": f"no-cache{line_break}X-Forged: 1"}
    )


def stored(content: Content) -> MemoryStore:
    store = MemoryStore()
    asyncio.run(store.write_whole("there", lambda blob, damaged: None, content, b"a body"))
    return store


@pytest.fixture(params=BREAKS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    fast = FastPath(Handlers(), stored(evil(request.param)), Access(), RequestLog(), Config())
    with running(fast) as made:
        made.server.quick_answer = fast.quick_answer
        yield made


def test_the_fast_path_sends_none_of_it(server: Running) -> None:
    with server.connect() as client:
        client.send(b"GET /store/there HTTP/1.1\r\nHost: a\r\n\r\n")
        status, fields, body = client.answer()
    assert (status, body) == (200, b"a body")
    assert fields["content-type"] == "application/octet-stream"
    assert fields["content-security-policy"] == "sandbox; default-src 'none'"
    assert "x-forged" not in fields
    assert "content-encoding" not in fields


@pytest.mark.parametrize("line_break", BREAKS)
@pytest.mark.parametrize("asked", [None, "bytes=0-0,2-2"])
def test_neither_does_a_handler(line_break: str, asked: str | None) -> None:
    blob, _ = stored(evil(line_break)).blobs["there"]
    plan = plan_read(blob, "GET", {"Range": asked} if asked else {})
    text = "".join(f"{name}: {value}\r\n" for name, value in plan.fields)
    text += b"".join(piece for piece in plan.pieces if isinstance(piece, bytes)).decode("latin-1")
    lines = re.split(r"[\r\n\0]", text)
    assert not [
        line for line in lines if line.startswith(("X-Forged", "Content-Security-Policy: sandbox allow"))
    ]
    assert "alert" not in text


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_line_break_is_refused_where_lines_are_joined(value: str, place: int) -> None:
    fields = [("A", "a"), ("B", "b")]
    fields[place] = ("A", value) if place else (value, "a")
    with pytest.raises(ValueError, match="a line break in a header field"):
        sent(fields)
