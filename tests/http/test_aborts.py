"""Uploads that are cut off: nothing of them is visible, and nothing is left on disk."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable

import pytest

from services.engines.local.disk import directory, layout
from tests.conftest import StartServer
from tests.http.conftest import CONNECTIONS
from tests.support.processes import Process, Server, wait_for
from tests.support.raw import RawConnection, connected
from tests.support.rules import DataDirectory, layout_of, live_blobs

OLD = b"old bytes"
CHUNKED = {"Transfer-Encoding": "chunked"}
PART = b"x" * 100_000  # more than is kept in memory, so it goes to disk


def begin_declared(connection: RawConnection, method: str, target: str) -> None:
    connection.request(method, target, {"Content-Length": "200000"})
    connection.send(PART)


def begin_chunked(connection: RawConnection, method: str, target: str) -> None:
    connection.request(method, target, CHUNKED)
    connection.send(b"%x\r\n" % len(PART), PART, b"\r\n")


def begin_small(connection: RawConnection, method: str, target: str) -> None:
    connection.request(method, target, {"Content-Length": "10"})
    connection.send(b"12345")


def lose(connection: RawConnection) -> None:
    """A reset, as from a machine that died."""
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def end_early(connection: RawConnection) -> None:
    """An orderly end in the middle of the body. If the server answers, it answers 400."""
    connection.sock.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionError):
        assert connection.answer().status == 400
    connection.close()


def break_chunk(connection: RawConnection) -> None:
    connection.send(b"nonsense\r\n\r\n")
    assert connection.answer().status == 400
    connection.close()


Step = Callable[..., None]
ABORTS: list[tuple[Step, Step]] = [
    (begin, end)
    for begin in (begin_declared, begin_chunked, begin_small)
    for end in (lose, end_early, break_chunk)
    if end is not break_chunk or begin is begin_chunked
]


@pytest.mark.parametrize(("begin", "end"), ABORTS, ids=lambda step: step.__name__)
def test_an_upload_cut_short_changes_nothing_and_a_retry_works(
    begin: Step, end: Step, strict: Server, location: str
) -> None:
    create, update = f"/store/{location}/new", f"/store/{location}/old"
    strict.ask("POST", update, OLD)
    before = strict.ask("HEAD", update).headers
    for method, target in (("POST", create), ("PUT", update)):
        connection = RawConnection(strict.port)
        begin(connection, method, target)
        end(connection)
    assert strict.ask("GET", create).status == 404
    after = strict.ask("GET", update)
    assert after.body == OLD
    for name in ("etag", "last-modified", "blob-id"):
        assert after.headers[name] == before[name]
    assert strict.ask("POST", create, b"again").status == 201
    assert strict.ask("PUT", update, b"again").status == 200
    assert {strict.ask("GET", target).body for target in (create, update)} == {b"again"}


def test_an_abort_that_comes_after_the_retry_does_not_harm_it(strict: Server, location: str) -> None:
    target = f"/store/{location}"
    stalled = RawConnection(strict.port)
    begin_declared(stalled, "POST", target)
    assert strict.ask("POST", target, b"retried").status == 201
    lose(stalled)
    assert strict.ask("GET", target).body == b"retried"
    late = RawConnection(strict.port)
    begin_small(late, "PUT", target)
    assert strict.ask("PUT", target, b"newer").status == 200
    end_early(late)
    assert strict.ask("GET", target).body == b"newer"


def test_a_create_that_was_overtaken_is_refused_at_its_end(strict: Server, location: str) -> None:
    with connected(strict.port) as slow:
        begin_small(slow, "POST", f"/store/{location}")
        assert strict.ask("POST", f"/store/{location}", b"first").status == 201
        slow.send(b"67890")
        assert slow.answer().status == 409
        assert slow.ask("GET", f"/store/{location}").body == b"first"  # the connection still works


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_pass_of_the_gc_leaves_nothing_of_what_was_cut(
    connection: str, start_server: StartServer, data: DataDirectory
) -> None:
    server = start_server("--http", connection)
    server.ask("POST", "/store/kept", OLD)
    for _ in range(5):
        for begin, end in ABORTS:
            cut = RawConnection(server.port)
            begin(cut, "POST", "/store/cut")
            end(cut)
    data_dir = layout_of(data.root)

    def only_kept() -> bool:
        gc = Process("gc", data.path, "--once")
        assert gc.popen.wait(120) == 0, gc.said()
        gone = data_dir.ours(layout.GONE_NAME)
        return len(directory.ids_in(data_dir)) == 1 and not (os.path.isdir(gone) and os.listdir(gone))

    wait_for(only_kept, what="the disk's being as if nothing had been sent")
    assert live_blobs(data.root) == {"kept": OLD}
