"""The fast path answers as the handlers do, byte for byte: the whole request table is sent to both. Only what
differs between any two servers is left out: Date, and the id and time of a blob.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

from tests.http import test_names, test_reading, test_writing
from tests.http.conftest import shared_server
from tests.support.processes import Process, Server
from tests.support.raw import RawConnection, connected
from tests.support.readers import accepted_by, started_reader, wait_until_there

_OWN = re.compile(rb"^(Date|Last-Modified|Blob-Id): [^\r]+", re.MULTILINE)


@dataclass
class Both:
    """Two servers that get the same requests. One of them answers all by handlers. `reader`: accepts each
    connection to the fast one.
    """

    fast: Server
    handlers: Server
    reader: Process | None = None

    def _connect(self, server: Server) -> AbstractContextManager[RawConnection]:
        if server is not self.fast or self.reader is None:
            return connected(server.port)
        made = accepted_by(
            self.reader, [server], lambda: RawConnection(server.port), lambda connection: connection.sock
        )
        return contextlib.closing(made)

    def ask(self, *requests: bytes) -> list[bytes]:
        """Send the same bytes to both. Gives all answers of both until the connection closed."""
        answers = []
        for server in (self.fast, self.handlers):
            with self._connect(server) as connection:
                connection.send(*requests)
                answers.append(_OWN.sub(rb"\1: ...", connection.rest()))
        assert answers[0] == answers[1]
        return answers[0].split(b"HTTP/1.1 ")[1:]


@pytest.fixture(
    scope="module",
    params=[(), ("--put-creates",), ("--readers", "1")],
    ids=["strict", "creating", "through-a-reader"],
)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    fast = shared_server(tmp_path_factory, "blobkeep", *request.param)
    handlers = shared_server(tmp_path_factory, "blobkeep", "--no-fast-path", *request.param)
    made = Both(next(fast), next(handlers))
    if "--readers" in request.param:
        made.reader = started_reader(made.fast.root, 0, {"BLOBKEEP_READERS": "1"})
        wait_until_there(made.reader)
    yield made
    if made.reader is not None:
        made.reader.end()
        assert "Traceback" not in made.reader.said()
    for server in (fast, handlers):
        next(server, None)


def wire(
    method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"", version: str = "1.1"
) -> bytes:
    fields = {"Host": "localhost", **({"Content-Length": str(len(body))} if body else {}), **(headers or {})}
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


CLOSE = {"Connection": "close"}


def test_every_row_of_the_reading_table(both: Both) -> None:
    body, kind = test_reading.BODY, test_reading.TYPE
    both.ask(wire("POST", "/store/the/blob", {"Content-Type": kind, **CLOSE}, body))
    for row in test_reading.ROWS:
        headers = {k: test_reading.LATER if v == "modified" else v for k, v in row.headers.items()}
        target = "/store/the/blob" + row.target
        # Three times on one connection, so that answers from memory are compared, too.
        again = wire(row.method, target, headers) * 2 + wire(row.method, target, {**headers, **CLOSE})
        assert len(both.ask(again)) == 3, row.name


@pytest.mark.parametrize("place", ["fast", "handlers"])
def test_every_row_of_the_writing_table(both: Both, place: str) -> None:
    rows = [*test_writing.STRICT, *test_writing.CREATING]
    for number, row in enumerate(rows):
        target = f"/store/{place}/{number}"
        old = wire("POST", target, {}, test_writing.OLD) if row.there else b""
        body = b"" if row.method == "DELETE" else test_writing.NEW
        write = wire(row.method, target, row.headers, body)
        assert both.ask(old, write, wire("GET", target, CLOSE)), row.name


ODD = [
    *(name for name in test_names.BAD_NAMES.values() if name),
    *(b"/store/" + name.encode() for name in ("a%2Fb", "a/b/", "a?b", "a%20b", "a+b", "~", "a;b", "a//b")),
    b"/store",
    b"/storeroom",
    b"/store/\xc3\xa9",
    b"/store/" + b"a" * 1025,
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
def test_odd_names(both: Both, method: str) -> None:
    for name in ODD:
        target = (name if name.startswith(b"/") else b"/store/" + name).decode("latin-1")
        both.ask(wire(method, target, CLOSE))


BODIES = [b"", b"x", b"x" * 1024, bytes(range(256)) * 64, b"y" * 65_536, b"z" * 65_537, b"m" * 1_500_000]


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_bodies_of_all_sizes_come_back(both: Both, body: bytes) -> None:
    target = f"/store/size/{len(body)}"
    kind = {"Content-Type": "text/plain"}
    both.ask(wire("POST", target, {**kind, **CLOSE}, body))
    get = wire("GET", target) * 3 + wire("HEAD", target)
    answers = both.ask(get, wire("GET", target, CLOSE))
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [body] * 3 + [b""] + [body]


def test_versions_and_connections(both: Both) -> None:
    both.ask(wire("POST", "/store/v", CLOSE, b"abc"))
    for method in ("GET", "HEAD", "DELETE"):
        for version in ("1.0", "1.1", "1.7"):
            for connection in ({}, {"Connection": "keep-alive"}, {"Connection": "foo, close"}):
                last = wire("GET", "/store/v", CLOSE) if "close" not in str(connection) else b""
                first = wire(method, "/store/v", connection, version=version)
                both.ask(first + (last if version != "1.0" or connection else b""))


def test_a_blob_that_was_replaced_is_never_mixed_with_the_next(both: Both) -> None:
    get = wire("GET", "/store/r")
    both.ask(wire("POST", "/store/r", {}, b"one") + get * 2 + wire("GET", "/store/r", CLOSE))
    for body in (b"two", b"three", b""):
        put = wire("PUT", "/store/r", {"Content-Type": "text/" + (body.decode() or "none")}, body)
        answers = both.ask(put + get * 2 + wire("GET", "/store/r", CLOSE))
        assert [answer.partition(b"\r\n\r\n")[2] for answer in answers[1:]] == [body] * 3
    gone = both.ask(wire("DELETE", "/store/r") + get + wire("HEAD", "/store/r", CLOSE))
    assert [answer[:3] for answer in gone] == [b"200", b"404", b"404"]
    both.ask(wire("POST", "/store/r", {}, b"again") + wire("GET", "/store/r", CLOSE))
