"""The engine's own connections to the store: no request gets the answer to another."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence

import pytest

from common.errors import Unavailable
from services.engines.objects.bucket import ABSENT, Got, Refused, Unchanged, Unclear
from services.engines.objects.client import BucketClient
from services.engines.objects.connections import HEAD_BYTES, IDLE_S, Connections, NoAnswer
from services.engines.objects.meter import Meter
from services.engines.objects.settings import Settings
from tests.objects.scripted import OK, Scripted, ask, run, whole
from tests.support.stores import until


@pytest.mark.parametrize("length", [0, 1, HEAD_BYTES - 65, HEAD_BYTES - 64, HEAD_BYTES, 300_000])
def test_a_body_of_any_length_comes_whole_in_any_pieces(length: int) -> None:
    body = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    wire = whole(body)
    cuts = [[wire], [wire[:5], wire[5:]], [wire[:-1], wire[-1:]] if length else [wire]]

    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        for _ in cuts:
            answer = await ask(connections)
            assert answer.status == 200
            assert answer.body == body
            assert answer.field(b"etag") == '"e"'

    assert run(cuts, test).connections == 1


def test_a_short_answer_follows_a_long_one_that_came_slowly() -> None:
    """Who waits for many bytes of the long one must not wait for as many of the next."""
    long = whole(b"x" * 300_000)

    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        for length in (300_000, 1, 300_000, 1):
            answer = await ask(connections)
            assert len(answer.body or b"") == length

    slow = [long[at : at + 50_000] for at in range(0, len(long), 50_000)]
    assert run([slow, [whole(b"a")], [long], [whole(b"a")]], test).connections == 1


def test_an_object_that_is_unchanged_has_no_body_whatever_length_it_declares() -> None:
    unchanged = b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\nContent-Length: 5\r\n\r\n'

    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        client = BucketClient(settings, Meter())
        assert isinstance(await client.get_changed("a", '"e"'), Unchanged)
        assert await client.get("a") == Got(b"new", '"e"', 3)
        assert await client.get_changed("a", '"e"') == Got(b"other", '"e"', 5)
        assert isinstance(await client.get_changed("a", '"e"'), Unchanged)

    store = run([[unchanged], [whole(b"new")], [whole(b"other")], [unchanged]], test)
    assert store.connections == 1
    assert [b'\r\nif-none-match:"e"\r\n' in head for head in store.heads] == [True, False, True, True]


def test_that_another_object_is_unchanged_is_no_answer() -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        client = BucketClient(settings._replace(patience_s=0.1), Meter())
        with pytest.raises(Unavailable):
            await client.get_changed("a", '"mine"')
        with pytest.raises(Unavailable):
            await client.get("a")  # nobody has asked whether it is unchanged

    another = [b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\n\r\n']
    run([another] * 9, test)


def test_a_long_answer_that_is_cut_is_none() -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        with pytest.raises(NoAnswer, match="closed"):
            await ask(connections)

    run([[whole(b"x" * 300_000)[:-100_000], None]], test)


def test_a_request_that_takes_too_long_is_given_up_and_no_other_one() -> None:
    """One timer watches all requests: it must see each of them, also those that begin while it runs."""

    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        connections._timeout_s = 0.4
        for _ in range(2):  # the timer begins anew
            began_s = time.monotonic()
            with pytest.raises(NoAnswer, match="too long"):
                await ask(connections)
            assert time.monotonic() - began_s >= 0.4
            assert (await ask(connections)).body == b"a"
            await until(lambda: connections._watch is None, "the end of the watch")

    run([[], [whole(b"a")], [], [whole(b"a")]], test)


@pytest.mark.parametrize("way", ["ours", "obstore"])
def test_a_read_without_an_answer_is_sent_once_more_on_another_connection(way: str) -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        client = BucketClient(settings, Meter())
        if way == "obstore":
            client._direct = None
        got = await client.get("k")
        assert got is not None
        assert bytes(got.data) == b"a"
        assert store.connections == 2
        with pytest.raises(Unavailable, match="cannot be reached"):
            await client.get("k")  # it hangs from now on
        assert client.meter.by_kind["get"].errors == 3

    dated = b"Last-Modified: Sun, 29 Nov 2026 00:00:00 GMT\r\n"
    store = run([[], [whole(b"a", also=dated)], [], []], test)
    assert len(store.heads) == 4


def test_a_read_from_a_store_that_hangs_takes_no_longer_than_the_patience() -> None:
    """Three tries of 15 s within a patience of 20 s took 30 s."""

    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        client = BucketClient(settings._replace(patience_s=2.0, request_timeout_s=3600.0), Meter())
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable, match="cannot be reached"):
                await client.get("k")

    run([[]] * 3, test)


def test_memory_is_used_again_when_nobody_refers_to_it() -> None:
    sizes = [300_000, 600_000, 1 << 20, 400_000]
    bodies = [bytes([number]) * size for number, size in enumerate(sizes)]

    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        first, second = (await ask(connections)).body, (await ask(connections)).body
        assert isinstance(first, memoryview)
        assert isinstance(second, memoryview)
        part, kept = first[100:200], [first.obj, second.obj]
        del first
        third = (await ask(connections)).body
        assert isinstance(third, memoryview)
        assert all(third.obj is not one for one in kept)  # a part is referred to
        assert [*map(bytes, (part, second, third))] == [bodies[0][100:200], bodies[1], bodies[2]]
        del part
        fourth = (await ask(connections)).body
        assert isinstance(fourth, memoryview)
        assert fourth.obj is kept[0]
        assert [*map(bytes, (second, third, fourth))] == bodies[1:]

    run([[whole(body)] for body in bodies], test)


@pytest.mark.parametrize(
    "first",
    [
        whole(b"a", more=b"HTTP/1.1 404 stray\r\n\r\n"),
        whole(b"a", also=b"Connection: close\r\n"),
        whole(b"a").replace(b"HTTP/1.1", b"HTTP/1.0"),
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        OK + b"Content-Length: +1\r\n\r\na",
        OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
        OK + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\na",
        OK + b"Content-Length: 1\r\nTransfer-Encoding : chunked\r\n\r\na",
    ],
)
def test_a_connection_is_not_used_again_where_an_end_is_not_plain(first: bytes) -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        await ask(connections)
        assert (await ask(connections)).body == b"second"

    assert run([[first], [whole(b"second")]], test).connections == 2


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [whole(b"abc")[:-1], b""],
        [b"\x00" * HEAD_BYTES],
        [b"HTTP/1.1 101 Other\r\n\r\n"],
        [b"HTTP/1.1 2000 No\r\nContent-Length: 0\r\n\r\n"],
        [OK + b"Content-Length: 999999999999\r\n\r\n"],
        [b"a\r\n\r\n"],
    ],
)
def test_what_is_no_answer_is_an_error_and_the_next_one_is_not_its(wrong: Sequence[bytes] | None) -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        if wrong is not None and wrong[-1] == b"":  # its end never comes, so the caller gives up
            asked = asyncio.ensure_future(ask(connections))
            await until(lambda: store.pieces == len(wrong), "the last piece")
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        else:
            with pytest.raises(NoAnswer):
                await ask(connections)
        assert (await ask(connections)).body == b"second"

    assert run([wrong, [whole(b"second")]], test).connections == 2


def test_what_announces_an_answer_is_not_taken_for_it() -> None:
    announced = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nETag: no\r\n\r\n" + whole(b"a")

    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        for _ in range(2):
            answer = await ask(connections)
            assert (answer.status, answer.body, answer.field(b"etag")) == (200, b"a", '"e"')

    cuts = [[announced], [announced[:20], announced[20:30], announced[30:]]]
    assert run(cuts, test).connections == 1


def test_an_address_that_gives_no_answer_does_not_take_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent, contextlib.ExitStack() as stack:
        full = silent.getsockname()
        for _ in range(3):  # who comes next waits for ever: the queue is full
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full)

        async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
            good = ("127.0.0.1", connections._port)

            async def two(*args: object, **how: object) -> list[object]:
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", at) for at in (full, good)]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
            named = Connections("two.test", 1, 1.0, 3.0)
            assert (await ask(named)).body == b"first"
            assert named._worked == good  # which is tried first from now on

        run([[whole(b"first")]], test)


def test_connections_of_a_burst_do_not_stay_while_others_are_used() -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        await asyncio.gather(*(ask(connections) for _ in range(3)))
        for old in list(connections._idle)[:2]:
            old.idle_since -= IDLE_S
        for left in (2, 1, 1):
            await ask(connections)
            assert len(connections._idle) == left

    assert run([[whole(b"a")]] * 6, test).connections == 3


def test_an_answer_without_an_etag_is_none() -> None:
    """A swap of what it shows would have an empty If-Match, which stores take for no condition."""

    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        client = BucketClient(settings._replace(patience_s=0.01), Meter())
        with pytest.raises(Unavailable):
            await client.get("k")
        with pytest.raises(ValueError, match="without an ETag"):
            await client.put("k", b"x", "")

    assert len(run([[b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"]], test).heads) == 1


def test_a_store_that_asks_to_wait_is_not_asked_sooner() -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        began = time.monotonic()
        assert (await BucketClient(settings, Meter()).get("k")) == Got(b"a", '"e"', 1)
        assert time.monotonic() - began >= 1

    slow = b"HTTP/1.1 503 Slow Down\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    run([[slow], [whole(b"a")]], test)


def test_an_error_of_unknown_length_does_not_end_our_own_way() -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        client = BucketClient(settings, Meter())
        assert await client.get("k") is None
        assert await client.get("k") == Got(b"a", '"e"', 1)

    missing = b"<Error><Code>NoSuchKey</Code></Error>"
    odd = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    plain = b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n" % len(missing) + missing
    store = run([[odd], [plain], [whole(b"a")]], test)
    assert [b"\r\nauthorization:AWS4" in head for head in store.heads] == [True, False, True]


def test_a_write_that_got_no_answer_is_not_sent_again() -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        client = BucketClient(settings, Meter())
        assert await client.put("k", b"x", ABSENT) == '"e"'
        with pytest.raises(Unclear):
            await client.put("k", b"y", '"e"')
        with pytest.raises(Refused):
            await client.put("k", b"y", '"e"')
        with pytest.raises(Unclear):  # the answer says done, but has no ETag
            await client.put("k", b"y", '"e"')

    refused = b"HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n"
    store = run([[whole(b"")], None, [refused], [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]], test)
    assert [b"if-none-match:*" in head for head in store.heads] == [True, False, False, False]
    assert [b'if-match:"e"' in head for head in store.heads] == [False, True, True, True]


def test_an_answer_of_unknown_length_is_asked_for_by_the_library() -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        got = await BucketClient(settings, Meter()).get("k")
        assert got == Got(b"a", '"e"', 1)

    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    plain = whole(b"a", also=b"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n")
    store = run([[chunked], [plain]], test)
    assert len(store.heads) == 2


def test_another_range_than_was_asked_for_is_an_error() -> None:
    async def test(connections: Connections, settings: Settings, store: Scripted) -> None:
        client = BucketClient(settings._replace(patience_s=0.01), Meter())
        assert await client.get("k", 2, 3) == Got(b"abc", '"e"', 9)
        with pytest.raises(Exception, match="cannot be reached"):
            await client.get("k", 2, 3)

    def part(said: bytes) -> list[bytes]:
        return [
            b'HTTP/1.1 206 P\r\nETag: "e"\r\nContent-Length: 3\r\nContent-Range: bytes '
            + said
            + b"\r\n\r\nabc"
        ]

    store = run([part(b"2-4/9"), part(b"0-2/9")], test)
    assert b"range:bytes=2-4\r\n" in store.heads[0]
