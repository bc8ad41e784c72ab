"""Time limits of heads, bodies, rates, idle connections, and clients that do not read. If a limit must be
exceeded, it is small, and the test waits for it. If it must not, the test sets the clock (`Running.later`),
so that a busy machine changes nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from tests.http1.serving import Client, Running, running, take_a_little_for_ten_minutes, wait_until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def trickle(client: Client, pause_s: float = 0.02) -> int:
    """Send a byte now and then until the server answers; the status."""
    client.sock.settimeout(pause_s)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            client.sock.send(b"a")
            code = client.answer()[0]
        except TimeoutError:
            continue
        client.sock.settimeout(120)
        return code
    raise AssertionError("no answer")


def test_a_slow_head_is_answered_408() -> None:
    with running(header_timeout_s=0.3) as server, server.connect() as client:
        client.send(b"GET /")
        assert trickle(client) == 408
        assert client.is_closed()


def test_a_slow_head_after_others_is_answered_408() -> None:
    with running(header_timeout_s=0.3) as server, server.connect() as client:
        client.send(GET + b"GET /")
        assert client.answer()[0] == 200
        assert client.answer()[0] == 408


def test_a_body_that_stalls_is_answered_408() -> None:
    with running(body_idle_timeout_s=0.3) as server, server.connect() as client:
        client.send(b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        code, fields, body = client.answer()
        assert (code, fields["connection"]) == (408, "close")
        assert b"without pauses" in body
        assert client.is_closed()


def test_an_upload_goes_on_after_a_pause_of_the_machine() -> None:
    with running(body_idle_timeout_s=2) as server, server.connect() as client:
        client.send(b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        wait_until(server.requests_under_way, "the request")
        pause = threading.Thread(target=lambda: server.call(lambda: time.sleep(5)))
        pause.start()
        client.send(b"defghij")  # it waits in the socket
        assert client.answer()[2] == b"10"
        pause.join()


def test_a_body_slower_than_the_minimum_is_answered_408() -> None:
    with running(upload_grace_s=0.2, min_upload_bytes_per_s=1000) as server, server.connect() as client:
        client.send(b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        assert trickle(client) == 408


UPLOAD = b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
HALF = b"x" * 50_000


@contextlib.contextmanager
def uploading(server: Running, count: int, sent: bytes) -> Iterator[list[Client]]:
    """So many clients. Each sends a head, `sent` bytes of the body, and then nothing."""
    under_way = server.requests_under_way()
    with contextlib.ExitStack() as clients:
        made = [clients.enter_context(server.connect()) for _ in range(count)]
        for client in made:
            client.send(UPLOAD + sent)
        wait_until(lambda: server.requests_under_way() == under_way + count, "the requests")
        yield made


def test_where_many_bodies_are_under_way_the_slowest_gives_way_to_a_new_one() -> None:
    with (
        running(many_bodies=3, upload_grace_s=1000, body_idle_timeout_s=1000) as server,
        uploading(server, 2, HALF) as fast,
        uploading(server, 1, b"x") as (slow,),
        server.connect() as new,
    ):
        server.later(20)  # 2,500 bytes a second and 0.05. If there are few, all of them get their time
        new.send(UPLOAD)
        code, fields, body = slow.answer()
        assert (code, fields["retry-after"], fields["connection"]) == (503, "1", "close")
        assert b"faster" in body
        new.send(HALF + HALF)
        for client in fast:
            client.send(HALF)
        assert [client.answer()[2] for client in (new, *fast)] == [b"100000"] * 3


def test_none_gives_way_to_a_new_body_for_those_that_are_not_received_any_more() -> None:
    """Before, refused bodies counted until their connections were closed, which took 10 s if a client did
    not close.
    """
    refused = b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"
    with (
        running(
            many_bodies=3, upload_grace_s=1000, body_idle_timeout_s=1000, linger_timeout_s=1000
        ) as server,
        uploading(server, 1, b"x") as (slow,),
        server.connect() as early,
        server.connect() as malformed,
        server.connect() as new,
    ):
        early.send(refused)
        assert early.answer()[0] == 409
        malformed.send(b"PUT /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        wait_until(lambda: server.requests_under_way() == 2, "the head")
        malformed.send(b"no size\r\n")
        assert malformed.answer()[0] == 400
        server.later(20)
        new.send(UPLOAD[:-2] + b"Expect: 100-continue\r\n\r\n")
        assert new.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for client, rest in ((slow, b"x" * 99_999), (new, HALF + HALF)):
            client.send(rest)
            assert client.answer()[2] == b"100000"


def test_none_gives_way_that_has_just_begun() -> None:
    with running(many_bodies=2, give_way_grace_s=1000) as server, uploading(server, 5, b"") as young:
        for client in young:
            client.send(HALF + HALF)
            assert client.answer()[2] == b"100000"


def test_a_body_within_the_rate_is_taken_though_the_application_is_slow() -> None:
    with (
        running(upload_grace_s=0.2, min_upload_bytes_per_s=100_000, piece_bytes=1000) as server,
        server.connect() as client,
    ):
        client.send(
            b"PUT /count?wait=0.03 HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000
        )
        code, _, body = client.answer()  # takes 0.6 s, all of it in the handler
        assert (code, body) == (200, b"20000")


def test_an_idle_connection_is_closed_without_a_word() -> None:
    with running(idle_timeout_s=7500) as server, server.connect() as new, server.connect() as used:
        used.send(GET)
        assert used.answer()[0] == 200
        wait_until(lambda: server.open_connections() == 2, "both connections")
        server.later(7000)
        assert server.open_connections() == 2
        server.later(600)
        assert used.is_closed()
        assert new.is_closed()


def test_time_passes_by_itself() -> None:
    with running(idle_timeout_s=0.1) as server, server.connect() as client:
        assert client.is_closed()


def test_a_request_under_way_is_not_idle() -> None:
    with running() as server, server.connect() as client:
        client.send(b"GET /slow?s=0.2 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(server.requests_under_way, "the request")
        server.later(1000)
        assert client.answer()[2] == b"0.2"


def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    with (
        running(write_idle_timeout_s=0.3, body_bytes=1 << 25) as server,
        server.connect(SO_RCVBUF=4096) as client,
    ):
        body = b"x" * (1 << 24)
        client.send(b"PUT /e HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(server.taken_bytes, "the answer")
        wait_until(lambda: server.open_connections() == 0, "the cut")


def test_a_slow_reader_that_takes_a_little_is_not_cut_off() -> None:
    with (
        running(write_idle_timeout_s=60, body_bytes=1 << 25) as server,
        server.connect(SO_RCVBUF=65536) as client,
    ):
        body = b"x" * (1 << 24)
        client.send(b"PUT /e HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        take_a_little_for_ten_minutes(server, client)


def test_a_client_that_is_gone_half_way_does_not_hold_an_answer_for_ever() -> None:
    with running(half_closed_timeout_s=0.2) as server, server.connect() as client:
        client.send(b"GET /slow?s=30 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(server.requests_under_way, "the request")
        client.end_sending()
        wait_until(lambda: server.open_connections() == 0, "the cut")


def test_slow_attackers_do_not_hold_up_others() -> None:
    with running() as server:
        attackers = [server.connect() for _ in range(200)]
        for number, attacker in enumerate(attackers):
            attacker.send(
                b"GET /" if number % 2 else b"PUT /count HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1"
            )
        for _ in range(20):
            with server.connect() as client:
                client.send(GET)
                assert client.answer()[0] == 200
        for attacker in attackers:
            attacker.sock.close()
        wait_until(lambda: server.open_connections() == 0, "closing")
