"""The front of a reader process whose server does not answer: what clients are told, and what is counted."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from typing import cast

import pytest

from common.options import Config
from services.engine import Engine
from services.engines.local.disk.blob import Blob
from services.frontends.native.quick_reads import QuickReads
from services.readers import guest as guests
from services.readers.channel import Channel
from services.readers.front import Front
from services.readers.guest import Guest
from services.readers.messages import Hello, answers_by
from services.readers.rights import ToldAccess
from services.watch.request_log import RequestLog
from tests.http1.serving import Running, running, wait_until


class Reader:
    """A reader that has not met a server."""

    def __init__(self) -> None:
        self.requests = RequestLog()
        self.access = access = ToldAccess([])
        self.guest = Guest(cast(Engine, None), access, self.requests, Config(), lambda number: None)
        self.quick = quick = QuickReads(self.guest, access, self.requests, Config())
        self.front = Front(self.guest, quick, self.requests)


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Reader, Running]]:
    monkeypatch.setattr(guests, "PATIENCE_S", 0.01)
    made = Reader()
    with running(made.front) as server:
        yield made, server


@contextlib.contextmanager
def with_a_server(made: Reader, server: Running) -> Iterator[tuple[Channel, socket.socket]]:
    """The reader has met a server that says nothing: the channel to it, and the server's end."""
    ours, theirs = socket.socketpair()

    def meet() -> Channel:
        channel = made.guest._channel = Channel(ours, lambda message, fds: None, lambda: None)
        made.guest._present.set()
        return channel

    with theirs:
        channel = server.call(meet)
        try:
            yield channel, theirs
        finally:
            server.call(channel.close)  # in its loop, where it is read from: the socket is the channel's


def test_who_is_told_to_come_back_can_ask_again_on_the_connection(reader: tuple[Reader, Running]) -> None:
    """The answer to a HEAD has no body. Clients would read one as the beginning of the next answer."""
    made, server = reader
    with server.connect() as client:
        for method in ("HEAD", "GET", "HEAD", "GET"):
            client.send(f"{method} /store/a HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            status, fields, body = client.answer(to_head=method == "HEAD")
            assert (status, fields["content-type"]) == (503, "application/json")
            assert bool(body) == (method == "GET")
    counted = {method: tally.statuses for method, tally in made.requests.tallies.items()}
    assert counted == {"HEAD": {503: 2}, "GET": {503: 2}}
    assert made.requests.tallies["HEAD"].bytes_out == 0


def test_where_no_descriptor_is_left_the_client_is_told(reader: tuple[Reader, Running]) -> None:
    """Its connection must not stay open for ever."""
    made, server = reader
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with server.connect() as client, with_a_server(made, server):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            client.send(b"PUT /store/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
            status, _, _ = client.answer()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert status == 503


def test_what_a_server_does_not_take_stays_a_client_of_the_reader(reader: tuple[Reader, Running]) -> None:
    """So `max_connections` holds, and memory is bounded, while the server hangs."""
    made, server = reader
    put = b"PUT /store/a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
    with server.connect() as client, with_a_server(made, server) as (channel, theirs):
        server.call(lambda: channel.send(bytes(1 << 20)))  # and it hangs
        for _ in range(2):
            client.send(put)
            assert client.answer()[0] == 503
        assert server.open_connections() == 1
        taken = 0
        while taken < 1 << 20:
            taken += len(theirs.recv(1 << 16))
        wait_until(lambda: not channel.has_unsent, "the end of what was said")
        client.send(put)
        message, descriptors, _, _ = socket.recv_fds(theirs, 1 << 16, 1)
        os.close(*descriptors)
        assert put in message


class Shares:
    """An engine that shares nothing."""

    rights = 1

    def shared(self, epoch: int, descriptors: object) -> Shares:
        return self

    def peek(self, location: str, *, body: bool = True) -> None:
        """Nothing is known."""


def test_a_reader_that_ends_does_not_accept_for_a_server_that_begins(reader: tuple[Reader, Running]) -> None:
    """Whom it accepted was reset when it was gone."""
    made, server = reader
    guest = made.guest
    guest.server, guest._engine = server.server, cast(Engine, Shares())
    hello = Hello(0, 1, 0, True, False, answers_by(Config()))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.call(lambda: guest._begin(hello, [os.dup(listener.fileno())]))
        assert len(server.server._acceptors) == 2
        assert server.run(server.server.drain(60))
        server.call(lambda: guest._begin(hello, [os.dup(listener.fileno())]))
        assert not server.server._acceptors
        assert guest._present.is_set()  # so what is to be handed over is


def test_what_a_reader_made_of_another_server_is_not_used(reader: tuple[Reader, Running]) -> None:
    """A directory was restored, so its next blob has the number of another blob that readers know."""
    made, server = reader
    blobs = [
        Blob.make(
            location="a",
            id=1,
            seq=1,
            size=size,
            sha256=bytes(32),
            crcs=bytes(4),
            type="text/plain",
            encoding="",
            modified_ns=size,
        )
        for size in (3, 5)
    ]
    server.server.quick_answer = made.quick.quick_answer
    made.access.replace(None)
    for blob in blobs:
        made.guest.peek = lambda location, *, body=True, blob=blob: (blob, b"x" * blob.size if body else b"")
        with server.connect() as client:
            client.send(b"GET /store/a HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            assert [client.answer()[2] for _ in range(2)] == [b"x" * blob.size] * 2
