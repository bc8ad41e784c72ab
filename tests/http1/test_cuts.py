"""A client gets the same answer wherever the network cuts its bytes, and no bytes break a connection."""

from __future__ import annotations

import asyncio
import re
import socket
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.http1 import HTTPServer, Limits, RequestHead
from services.http1.connection import Connection
from services.http1.context import RequestContext
from tests.http1.serving import ordinary_app

_DATE = re.compile(rb"Date: [^\r]+")
# When a refusal is certain, and so its text, depends on which bytes have come.
_REFUSAL = re.compile(
    rb"HTTP/1.1 [45][^\r]+\r\nServer: Blobkeep\r\nDate\r\n"
    rb"X-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\n[^{]+{\"code[^}]+}"
)


class Transport(asyncio.Transport):
    """Takes everything at once, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.sent += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.sent += b"<end>"

    def close(self) -> None:
        if not self.closed:
            self.sent += b"<close>"
        self.closed = True

    abort = close

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def at_once(head: RequestHead, context: object) -> tuple[bytes, bytes] | None:
    """Stands in for an application that has some quick answers."""
    if head.start_line != ("GET", "/hot", "HTTP/1.1"):
        return None
    return b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"hot"


def conversation(pieces: list[bytes]) -> bytes:
    """What a server sends to a client that sends these pieces and then closes its side."""

    async def run() -> bytes:
        server = HTTPServer(ordinary_app(), limits=Limits(head_bytes=2000, body_bytes=500))
        server.quick_answer = at_once
        server._the_loop()
        connection = Connection(server, RequestContext(socket.AF_INET, ("127.0.0.1", 1), "http", None))
        transport = Transport()
        connection.connection_made(transport)
        for piece in pieces:
            if transport.closed:
                break
            connection.data_received(piece)
            await come_to_rest(transport)
        if not transport.closed and not connection.eof_received():
            transport.close()
        await come_to_rest(transport)
        connection.connection_lost(None)
        assert not server._sweep.runs
        return _REFUSAL.sub(b"<refused>", _DATE.sub(b"Date", transport.sent))

    return asyncio.run(run())


async def come_to_rest(transport: Transport) -> None:
    """Let the loop run until nothing more is sent."""
    quiet = 0
    while quiet < 12:
        before = transport.sent
        await asyncio.sleep(0)
        quiet = quiet + 1 if transport.sent == before else 0


PARTS = [
    b"GET /hot HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /hot HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /c HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /d HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345",
    b"PUT /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0;x\r\nT: t\r\n\r\n",
    b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd",
    b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd",
    b"PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: 501\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"GET /unfinished HTTP/1.1\r\nHo",
    b"\r\n",
    b"\n",
    b"GET /" + b"x" * 3000,
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=5), st.lists(st.integers(0, 1000), max_size=12))
def test_answers_do_not_depend_on_the_cuts(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places) if a < b]
    assert conversation(pieces) == conversation([data] if data else [])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from(PARTS), max_size=8))
def test_no_bytes_break_a_connection(pieces: list[bytes]) -> None:
    answer = conversation([piece for piece in pieces if piece])
    assert answer.startswith((b"HTTP/1.1 ", b"<refused>", b"<close>", b"<end>")) or not answer
