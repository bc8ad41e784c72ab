"""An early answer reaches a client that is still sending, since the connection stays open for a while."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tornado.web import RequestHandler

from tests.http1.serving import Client, Running, ordinary_app, running, wait_until

MIB = 1 << 20


def upload(server: Running, head: bytes, body_bytes: int) -> tuple[int, int]:
    """Send a request with its whole body, and then read. Gives the status, and how much of the body was
    taken.
    """
    client = server.connect()
    sent = [0]

    def send() -> None:
        try:
            while sent[0] < body_bytes:
                sent[0] += client.sock.send(b"x" * min(65536, body_bytes - sent[0]))
        except OSError:
            pass  # the server closed; its answer counts

    client.send(head)
    sender = threading.Thread(target=send)
    sender.start()
    sender.join(120)
    code = client.answer()[0]
    client.sock.close()
    return code, sent[0]


@pytest.mark.parametrize("with_uvloop", [True, False])
@pytest.mark.parametrize(
    ("target", "length", "code"), [("/refuse", 4 * MIB, 409), ("/echo", 4 * MIB, 413)], ids=["409", "413"]
)
def test_twenty_of_twenty_clients_see_an_early_answer(
    with_uvloop: bool, target: str, length: int, code: int
) -> None:
    with running(with_uvloop=with_uvloop, body_bytes=MIB) as server:
        head = f"PUT {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()
        with ThreadPoolExecutor(20) as clients:
            seen = list(clients.map(lambda _: upload(server, head, length)[0], range(20)))
        assert seen == [code] * 20
        wait_until(lambda: server.open_connections() == 0, "closing")


def test_a_refused_chunked_body_is_read_to_its_end_if_it_is_short_and_the_connection_stays() -> None:
    with running() as server, server.connect() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc")
        assert client.answer()[0] == 409
        client.send(b"de" + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.answer()[2] == b"GET /next "


def test_lingering_ends_after_so_many_bytes() -> None:
    with running(linger_bytes=MIB) as server:
        head = b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"
        client = server.connect(SO_SNDBUF=65536)
        client.send(head)
        with pytest.raises(OSError, match=r"reset|Broken"):
            client.send_while_taken(b"x" * 65536, wait_s=120)
        client.sock.close()


def test_lingering_ends_after_so_long() -> None:
    with running(linger_timeout_s=0.1) as server, server.connect() as client:
        client.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
        assert client.answer()[0] == 409
        wait_until(lambda: server.open_connections() == 0, "the cut")


def test_close_answers_end_with_a_clean_close() -> None:
    with running() as server:
        for _ in range(20):
            answer = server.ask(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert answer.endswith(b"GET /x ")


def test_one_connection_too_many_is_told_503_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tornado.general")
    with running(max_connections=3, max_refusing=2) as server:
        kept = [server.connect() for _ in range(3)]
        for client in kept:
            client.send(b"GET /k HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.answer()[0] == 200
        with server.connect() as refused:
            refused.send(b"GET /k HTTP/1.1\r\nHost: a\r\n\r\n")
            code, fields, _ = refused.answer()
            assert (code, fields["retry-after"], fields["connection"]) == (503, "1", "close")
        assert [text.partition(" to ")[0] for text in caplog.messages] == ["Answered 503"]  # not "malformed"
        wait_until(lambda: server.open_connections() == 3, "forgetting the refused one")
        kept[0].send(b"GET /k HTTP/1.1\r\nHost: a\r\n\r\n")
        assert kept[0].answer()[0] == 200
        kept[0].sock.close()
        wait_until(lambda: server.open_connections() == 2, "closing")
        with server.connect() as another:
            another.send(b"GET /k HTTP/1.1\r\nHost: a\r\n\r\n")
            assert another.answer()[0] == 200
        for client in kept:
            client.sock.close()


def test_as_many_as_may_be_are_served_though_one_comes_in_each_turn_of_the_loop() -> None:
    """Each new connection was counted twice, so the last ones got 503."""
    with running(max_connections=40) as server:

        async def connect() -> list[Client]:
            made = []
            for _ in range(40):
                made.append(server.connect())
                await asyncio.sleep(0)
            return made

        clients = server.run(connect())
        for client in clients:
            client.send(b"GET /k HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.answer()[0] == 200
        for client in clients:
            client.sock.close()
        wait_until(lambda: not server.server._admitted, "the end of all")


def test_a_request_that_is_spared_is_answered_though_all_connections_are_in_use() -> None:
    with running(max_connections=1, max_refusing=2) as server, server.connect() as kept:
        server.server.spared = lambda head: head.start_line.path == "/alive"
        kept.send(b"GET /k HTTP/1.1\r\nHost: a\r\n\r\n")
        kept.answer()
        for _ in range(5):
            silent = server.connect()
            with server.connect() as client:
                client.send(b"GET /alive HTTP/1.1\r\nHost: a\r\n\r\n")
                code, fields, body = client.answer()
                assert (code, fields["connection"], body) == (200, "close", b"GET /alive ")
                assert client.is_closed()
            silent.sock.close()


def test_one_too_many_that_asks_nothing_is_told_503_in_time() -> None:
    with running(max_connections=1, refused_head_timeout_s=0.1) as server, server.connect() as kept:
        kept.send(b"GET /k HTTP/1.1\r\nHost: a\r\n\r\n")
        kept.answer()
        with server.connect() as silent:
            assert silent.answer()[0] == 503


def test_those_told_503_are_bounded_too() -> None:
    with running(max_connections=1, max_refusing=2, linger_timeout_s=60) as server:
        first = server.connect()
        first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        first.answer()
        clients = [server.connect() for _ in range(6)]
        # The oldest are closed. If all came in one turn of the loop, the newest are.
        socks = [client.sock for client in clients]
        wait_until(lambda: len(select.select(socks, [], [], 0)[0]) == 4, "closing the others")
        server.later(3)
        seen = sorted(_status(client) for client in clients)
        assert seen == [0] * 4 + [503] * 2
        for client in [first, *clients]:
            client.sock.close()


@pytest.mark.parametrize("with_uvloop", [True, False])
@pytest.mark.parametrize("turns", range(4))
def test_one_told_to_go_while_it_begins_is_forgotten(turns: int, with_uvloop: bool) -> None:
    """It never was, for uvloop does not tell of the end then. So no drain ended, nor the server."""
    with running(with_uvloop=with_uvloop, max_connections=0, max_refusing=1) as server:
        pairs = [socket.socketpair() for _ in range(2)]

        async def come() -> None:
            for ours, _ in pairs:
                ours.setblocking(False)
                server.server._accepted(ours, "")
                for _ in range(turns):
                    await asyncio.sleep(0)

        server.run(come())
        assert pairs[0][1].recv(1) == b""
        pairs[1][1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert pairs[1][1].recv(12) == b"HTTP/1.1 503"
        for _, client in pairs:
            client.close()
        try:
            wait_until(lambda: not server.server._open, "the end of both", seconds=10)
        finally:
            server.call(server.server._open.clear)  # or the server would not end


def _status(client: Client) -> int:
    try:
        return client.answer()[0]
    except (EOFError, OSError):
        return 0


class Waits(RequestHandler):
    """Answers when the test says so."""

    def initialize(self, go_on: asyncio.Event) -> None:
        self.go_on = go_on

    async def get(self) -> None:
        await self.go_on.wait()
        self.write(b"done")


def test_drain_finishes_what_is_under_way_and_closes_the_rest() -> None:
    go_on = asyncio.Event()
    app = ordinary_app((r"/waits", Waits, {"go_on": go_on}))
    with (
        running(app) as server,
        server.connect() as busy,
        server.connect() as idle,
        server.connect() as half,
    ):
        busy.send(b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
        half.send(b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        idle.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        idle.answer()
        wait_until(lambda: server.requests_under_way() == 2, "two requests")
        drained: list[bool] = []
        thread = threading.Thread(target=lambda: drained.append(server.run(server.server.drain(20))))
        thread.start()
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
        half.send(b"cd")
        server.call(go_on.set)
        for client, body in ((busy, b"done"), (half, b"4")):
            _, fields, answered = client.answer()
            assert (fields["connection"], answered) == ("close", body)
            assert client.is_closed()
        busy.sock.close()
        half.sock.close()
        thread.join(120)
        assert drained == [True]


def test_drain_answers_who_has_just_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, its request was already on its way, and was reset."""
    monkeypatch.setattr("services.http1.server._ON_ITS_WAY_S", 60.0)
    with running(ordinary_app()) as server, server.connect() as client:
        wait_until(lambda: len(server.server._open) == 1, "the connection")
        drained: list[bool] = []
        thread = threading.Thread(target=lambda: drained.append(server.run(server.server.drain(20))))
        thread.start()
        wait_until(lambda: server.server.draining, "the drain's begin")
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        _, fields, _ = client.answer()
        assert fields["connection"] == "close"
        assert client.is_closed()
        thread.join(120)
        assert drained == [True]


class Halves(RequestHandler):
    """Sends an answer in two halves, the second when the test says so."""

    go_on: asyncio.Event

    def initialize(self, go_on: asyncio.Event) -> None:
        self.go_on = go_on

    async def get(self) -> None:
        self.set_header("Content-Length", "4")
        self.write(b"ab")
        await self.flush()
        await self.go_on.wait()
        self.write(b"cd")


def test_drain_closes_behind_an_answer_that_promised_to_keep_the_connection() -> None:
    go_on = asyncio.Event()
    app = ordinary_app((r"/halves", Halves, {"go_on": go_on}))
    with running(app) as server, server.connect() as client:
        client.send(b"GET /halves HTTP/1.1\r\nHost: a\r\n\r\n")
        head = client.until(b"ab")
        assert b"connection: close" not in head.lower()
        drained: list[bool] = []
        thread = threading.Thread(target=lambda: drained.append(server.run(server.server.drain(20))))
        thread.start()
        wait_until(lambda: server.server.draining, "the drain's begin")
        server.call(go_on.set)
        assert client.until(b"cd").endswith(b"cd")
        assert client.is_closed()
        thread.join(120)
        assert drained == [True]


def test_drain_does_not_wait_for_who_has_his_answer_and_stays() -> None:
    """Before, a drain waited its whole time for an idle client that kept its connection, and then said
    that a request was cut off.
    """
    with running() as server, server.connect() as client:
        client.send(b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        wait_until(server.requests_under_way, "the request")
        drained: list[bool] = []
        thread = threading.Thread(target=lambda: drained.append(server.run(server.server.drain(1e6))))
        thread.start()
        wait_until(lambda: server.server.draining, "the drain's begin")
        client.send(b"cd")
        assert client.answer()[2] == b"4"
        thread.join(60)
        assert drained == [True]
        assert client.is_closed()


class Large(RequestHandler):
    """An answer that fits into the kernel's buffers of both ends."""

    def get(self) -> None:
        self.write(bytes(2 * MIB))


def test_drain_waits_for_who_is_still_taking_his_answer() -> None:
    """Before, the drain was over when our kernel had the whole answer. A client that then sent anything
    was reset.
    """
    app = ordinary_app((r"/large", Large))
    with running(app, drain_linger_s=0.02) as server, server.connect(SO_RCVBUF=65536) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        client.until(b"\r\n\r\n")
        wait_until(lambda: not server.requests_under_way(), "the answer")
        drained: list[bool] = []
        thread = threading.Thread(target=lambda: drained.append(server.run(server.server.drain(1e6))))
        thread.start()
        thread.join(0.3)
        assert drained == []
        # pipelined before the client saw that this was the last answer
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert len(client.exactly(2 * MIB)) == 2 * MIB
        thread.join(60)
        assert drained == [True]


def test_drain_gives_up_in_time() -> None:
    with running() as server, server.connect() as client:
        client.send(b"GET /slow?s=30 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(server.requests_under_way, "the request")
        # at once, not after 30 s: `run` does not wait so long
        assert server.run(server.server.drain(0.2)) is False
