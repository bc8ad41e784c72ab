"""The same random requests, cut at random bytes, to servers that answer them on different ways.

One answers all by handlers. The others have ready answers (http1/turns.py), in the server itself and in a
reader that hands over what it does not answer. All bytes must be the same, but for what no two servers share.
"""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.http.conftest import shared_server
from tests.support.campaign import SIZE, chooser, tally
from tests.support.processes import Process, Server
from tests.support.raw import RawConnection
from tests.support.readers import accepted_by, started_reader, wait_until_there

_OWN = re.compile(rb"^(Date|Last-Modified|Blob-Id): [^\r]+", re.MULTILINE)
CLOSE = b"Connection: close\r\n"
NAMES = ("a", "b", "c/d", "large")
READS = (
    b"",
    b"Accept: */*\r\n",
    b"If-None-Match: *\r\n",
    b'If-None-Match: "x"\r\n',
    b'If-Match: "x"\r\n',
    b"Range: bytes=1-2\r\n",
    b"Connection: keep-alive\r\n",
    b"Content-Length: 0\r\n",
    b"Expect: 100-continue\r\n",
    b"Origin: http://other.example\r\n",
)
WRITES = (
    b"",
    b"If-None-Match: *\r\n",
    b"If-Match: *\r\n",
    b"X-Meta-Some: thing\r\n",
    b"Content-Type: text/x\r\n",
)


def some_request(rng: random.Random) -> bytes:
    """A whole request that leaves the connection open."""
    target = b"/store/" + rng.choice(NAMES).encode()
    kind = rng.randrange(12)
    if kind < 6:
        method = rng.choice((b"GET", b"GET", b"GET", b"HEAD"))
        fields = rng.choice(READS) if rng.random() < 0.4 else b""
        start = b"\r\n" * (rng.random() < 0.1)
        return start + method + b" " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n"
    if kind < 7:
        return b"GET " + target + b" HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"
    if kind < 8:
        return b"GET /store/none HTTP/1.1\r\nHost: localhost\r\n\r\n"
    method = rng.choice((b"PUT", b"POST", b"DELETE"))
    fields = rng.choice(WRITES)
    start = method + b" " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + fields
    if method == b"DELETE":
        return start + b"\r\n"
    body = rng.randbytes(rng.choice((0, 1, 10, 1000, 20_000, 100_000)))
    if rng.random() < 0.3:
        cut = rng.randrange(len(body) + 1)
        pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
        return start + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
    return start + b"Content-Length: %d\r\n\r\n" % len(body) + body


def last_request(rng: random.Random) -> bytes:
    """One after which the server closes, or a part of one, or none."""
    get = b"GET /store/a HTTP/1.1\r\nHost: localhost\r\n"
    whole = get + CLOSE + b"\r\n"
    return rng.choice(
        (whole, whole, get, b"", b"GET /store/a HTTP/1.0\r\n\r\n", b"\0\r\n", get + b"a b: c\r\n\r\n")
    )


@dataclass
class Script:
    """`waits`: for the answer to each request, before the next is sent; else all are sent together."""

    requests: list[bytes]
    end: bytes
    seed: int
    waits: bool


def some_script(rng: random.Random) -> Script:
    """Some requests, and the same read several times among them: its answer becomes ready."""
    requests = [some_request(rng) for _ in range(rng.randrange(1, 12))]
    again = b"GET /store/" + rng.choice(NAMES).encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(rng.randrange(8)):
        requests.insert(rng.randrange(len(requests) + 1), again)
    return Script(requests, last_request(rng), rng.getrandbits(32), rng.random() < 0.5)


def run(script: Script, connection: RawConnection) -> bytes:
    """All that is answered to the script, cut into the same pieces each time."""
    received = b""
    rng = random.Random(script.seed)
    for request in script.requests if script.waits else [b"".join(script.requests)]:
        at = 0
        while at < len(request):
            count = len(request) if rng.random() < 0.6 else rng.randrange(1, 80)
            connection.send(request[at : at + count])
            at += count
            if rng.random() < 0.3:
                time.sleep(rng.choice((0, 0.001)))
        if script.waits:
            received += one_answer(connection, request.lstrip(b"\r\n").partition(b" ")[0])
    connection.send(script.end)
    connection.sock.shutdown(socket.SHUT_WR)
    received += connection.rest()
    # An answer that is begun after the client's end was seen says "close": a matter of time.
    return received if CLOSE in script.end else received.replace(CLOSE, b"")


def one_answer(connection: RawConnection, method: bytes) -> bytes:
    """The bytes of the next final answer, and of those before it."""
    file = connection._file
    answer = b""
    while True:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = file.readline()
            if not line:
                return answer + head
            head += line
        answer += head
        status = int(head.split(b" ", 2)[1])
        if status >= 200:
            break
    if method == b"HEAD" or status in (204, 304):
        return answer
    if found := re.search(rb"content-length: (\d+)", head, re.IGNORECASE):
        return answer + file.read(int(found[1]))
    assert b"chunked" in head, head
    while True:
        line = file.readline()
        size = int(line, 16)
        answer += line + file.read(size) + file.readline()
        if not size:
            return answer


@dataclass
class Ways:
    """`reader`: beside `fast`."""

    handlers: Server
    fast: Server
    behind: Server
    reader: Process

    def connections(self) -> Iterator[RawConnection]:
        yield RawConnection(self.handlers.port)
        yield RawConnection(self.fast.port)
        yield accepted_by(
            self.reader, [self.behind], lambda: RawConnection(self.behind.port), lambda one: one.sock
        )


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    made = [
        shared_server(tmp_path_factory, "blobkeep", "--put-creates", *flags)
        for flags in (("--no-fast-path",), ("--readers", "1"), ("--readers", "1"))
    ]
    handlers, fast, behind = (next(one) for one in made)
    reader = started_reader(behind.root, 0, {"BLOBKEEP_READERS": "1"})
    wait_until_there(reader)
    yield Ways(handlers, fast, behind, reader)
    reader.end()
    assert "Traceback" not in reader.said()
    for one in made:
        next(one, None)


def test_random_requests_have_the_same_answers_on_all_ways(ways: Ways) -> None:
    rng = chooser("connections")
    count = 8 * (SIZE or 100)
    for number in range(count):
        script = some_script(rng)
        answers = []
        for connection in ways.connections():
            try:
                answers.append(_OWN.sub(rb"\1: ...", run(script, connection)))
            finally:
                connection.close()
        assert answers[1] == answers[0], (number, script)
        assert answers[2] == answers[0], (number, script)
    tally("scripts of requests", count)
