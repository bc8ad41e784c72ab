"""Ready answers (services/http1/turns.py): known bytes get one at once, and all other requests are served
as usual.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from services.http1.plain_transport import PlainTransport
from tests.http1.serving import Running, ordinary_app, running, wait_until

MIB = 1 << 20


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Ready:
    """Two answers, a small one and a large one; `sent`: how many requests got one; `turns`: of each turn."""

    def __init__(self) -> None:
        self.answers = {get("/small"): whole(b"ready"), get("/large"): whole(b"x" * (8 * MIB))}
        self.begun = self.sent = 0
        self.turns: list[int] = []
        self.breaks = False

    def begin_turn(self) -> None:
        self.begun = self.sent

    def answer_to(self, data: bytes) -> bytes | None:
        if self.breaks:
            self.breaks = False
            raise RuntimeError("a fault of ours")
        answer = self.answers.get(data)
        self.sent += answer is not None
        return answer

    def end_turn(self, seconds: float) -> None:
        assert seconds >= 0
        self.turns.append(self.sent - self.begun)


@pytest.fixture
def ready() -> Ready:
    return Ready()


@pytest.fixture
def server(ready: Ready) -> Iterator[Running]:
    with running(ordinary_app(), answers=ready, idle_timeout_s=7500, header_timeout_s=300) as made:
        yield made


def test_a_connection_switches_between_what_is_ready_and_what_is_not(ready: Ready, server: Running) -> None:
    with server.connect() as client:
        for _ in range(3):
            client.send(get("/small"))
            assert client.answer()[2] == b"ready"
            client.send(get("/else"))
            assert client.answer()[2] == b"GET /else "
            client.send(b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000))
            assert client.answer()[2] == b"300000"
    assert ready.sent == 3


def test_heads_in_pieces_and_in_rows_are_read_as_ever(ready: Ready, server: Running) -> None:
    """Bytes count as a known head only where a request begins, and if nothing else has come."""
    small = get("/small")
    with server.connect() as client:
        client.send(small[:9])
        wait_until(lambda: ready.turns, "the first piece")
        client.send(small[9:])
        assert client.answer()[2] == b"GET /small "
        client.send(small * 3)
        assert [client.answer()[2] for _ in range(3)] == [b"GET /small "] * 3
        # The body of a request is no request, even if it looks like one.
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(small))
        wait_until(server.requests_under_way, "the head")
        client.send(small)
        assert client.answer()[2] == b"POST /echo " + small
        # Bytes that come while an answer is being made get no ready answer, either.
        client.send(get("/slow?s=0.05"))
        wait_until(server.requests_under_way, "the request")
        client.send(small)
        assert [client.answer()[2] for _ in range(2)] == [b"0.05", b"GET /small "]
    assert ready.sent == 0


def test_what_a_slow_client_does_not_take_is_sent_later_and_in_order(ready: Ready, server: Running) -> None:
    with server.connect(SO_RCVBUF=4096) as client, server.connect() as other:
        client.send(get("/large"))
        wait_until(lambda: ready.sent == 1, "the answer")
        client.send(get("/small"))
        client.send(get("/else"))
        other.send(get("/small"))
        assert other.answer()[2] == b"ready"  # nobody waits for a slow one
        assert client.answer()[2] == b"x" * (8 * MIB)
        assert [client.answer()[2] for _ in range(2)] == [b"GET /small ", b"GET /else "]


def test_nothing_overtakes_what_is_unsent(ready: Ready, server: Running) -> None:
    """This holds even if the kernel has room for a small answer, but has not told us so."""
    with server.connect() as client:
        wait_until(server.open_connections, "the connection")
        (connection,) = server.server._open
        turns, raw = server.server._turns, connection.transport.raw
        assert turns is not None
        assert isinstance(raw, PlainTransport)

        def in_one_turn() -> None:
            raw.keep(whole(b"first"))
            client.send(get("/small"))
            turns._turn([(raw.fd, select.EPOLLIN)])

        server.call(in_one_turn)
        assert [client.answer()[2] for _ in range(2)] == [b"first", b"GET /small "]
        client.send(get("/small"))
        assert client.answer()[2] == b"ready"


def test_a_client_that_takes_nothing_of_it_is_cut_off(ready: Ready) -> None:
    with running(answers=ready, write_idle_timeout_s=600) as server, server.connect(SO_RCVBUF=4096) as client:
        client.send(get("/large"))
        wait_until(lambda: ready.sent == 1, "the answer")
        server.later(500)  # it has begun to wait by now
        assert server.open_connections() == 1

        def is_over() -> (
            bool
        ):  # on a busy machine its system may have taken a last byte only after the first look
            server.later(700)
            return server.open_connections() == 0

        wait_until(is_over, "the end")


def test_a_client_that_goes_away_ends_its_own_connection_alone(ready: Ready, server: Running) -> None:
    with server.connect() as other:
        for act in ("reset", "close", "half"):
            client = server.connect(SO_RCVBUF=4096)
            client.send(get("/large"))
            wait_until(lambda: ready.sent, "the answer")
            ready.sent = 0
            if act == "half":
                client.end_sending()
                assert client.rest().endswith(b"x")
            elif act == "reset":
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
            wait_until(lambda: server.open_connections() <= 1, "the end")
        other.send(get("/small"))
        assert other.answer()[2] == b"ready"


def test_a_fault_cuts_its_own_connection_alone(ready: Ready, server: Running) -> None:
    told: list[object] = []

    def note() -> None:
        server._loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    server.call(note)
    with server.connect() as other, server.connect() as client:
        other.send(get("/small"))
        assert other.answer()[2] == b"ready"
        ready.breaks = True
        client.send(get("/small"))
        assert client.is_closed()
        other.send(get("/small"))
        assert other.answer()[2] == b"ready"
    assert [str(err) for err in told] == ["a fault of ours"]


def test_an_answer_that_is_ready_begins_the_time_of_idleness_anew(ready: Ready, server: Running) -> None:
    with server.connect() as client, server.connect() as other:
        for one in (client, other):
            one.send(get("/small"))
            assert one.answer()[2] == b"ready"
        server.later(0)
        server.later(7000)
        client.send(get("/small"))
        assert client.answer()[2] == b"ready"
        server.later(7000)
        assert other.is_closed()
        client.send(get("/small"))
        assert client.answer()[2] == b"ready"


def test_a_server_that_drains_says_so_in_its_last_answers(ready: Ready, server: Running) -> None:
    """A ready answer promises that the connection stays open."""
    with server.connect() as client, server.connect() as idle:
        for one in (client, idle):
            one.send(get("/small"))
            assert one.answer()[2] == b"ready"
        server.server.draining = True
        client.send(get("/small"))
        status, fields, body = client.answer()
        assert (status, fields["connection"], body) == (200, "close", b"GET /small ")
        assert client.is_closed()
        assert server.run(server.server.drain(120))
        assert idle.is_closed()


def test_a_drain_waits_for_the_request_that_follows_an_answer(
    ready: Ready, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, only the check once a second noted the time of such an answer. So the next request could be
    reset.
    """
    monkeypatch.setattr("services.http1.server._ON_ITS_WAY_S", 60.0)
    with server.connect() as client:
        wait_until(server.open_connections, "the connection")
        (connection,) = server.server._open
        connection._since -= 3600.0  # it was idle for an hour
        client.send(get("/small"))
        assert client.answer()[2] == b"ready"

        async def begin_to_drain() -> asyncio.Task[bool]:
            task = asyncio.create_task(server.server.drain(120))
            await asyncio.sleep(0.03)  # it looks every 10 ms
            return task

        drain = server.run(begin_to_drain())
        client.send(get("/small"))
        status, fields, body = client.answer()
        assert (status, fields["connection"], body) == (200, "close", b"GET /small ")
        assert client.is_closed()
        client.sock.close()
        wait_until(drain.done, "the end of the drain")


def test_a_thousand_idle_connections_cost_a_turn_nothing(ready: Ready, server: Running) -> None:
    clients = [server.connect() for _ in range(1000)]
    try:
        wait_until(lambda: server.open_connections() == 1000, "all of them")
        for client in clients[::100]:
            client.send(get("/small"))
            assert client.answer()[2] == b"ready"
        # One connection for each turn, the one that has bytes. A turn ends after its answers.
        wait_until(lambda: ready.turns == [1] * 10, "the turns")
        for client in clients:
            client.send(get("/small"))
        assert {client.answer()[2] for client in clients} == {b"ready"}
        wait_until(lambda: sum(ready.turns) == 1010, "the last turn")
        assert max(ready.turns) > 1  # what comes together is answered together
    finally:
        for client in clients:
            client.sock.close()


def test_a_connection_that_is_one_too_many_gets_nothing_that_is_ready(ready: Ready) -> None:
    with running(answers=ready, max_connections=1) as server, server.connect() as first:
        wait_until(server.open_connections, "the first")
        with server.connect() as second:
            second.send(get("/small"))
            assert second.answer()[0] == 503
        first.send(get("/small"))
        assert first.answer()[2] == b"ready"


def test_a_connection_that_leaves_http_takes_what_comes(ready: Ready) -> None:
    """Its new protocol gets all bytes, also those that would have an answer."""
    with running(answers=ready) as server, server.connect() as client:
        client.send(get("/small"))
        assert client.answer()[2] == b"ready"
        server.call(lambda: _to_echo(server))
        client.send(get("/small"))
        assert client.exactly(len(get("/small"))) == get("/small")


def _to_echo(server: Running) -> None:
    (connection,) = server.server._open
    transport = connection.transport.raw

    class Back(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            transport.write(data)

        def connection_lost(self, exc: Exception | None) -> None:
            connection.connection_lost(exc)

    transport.set_protocol(Back())
