"""A hundred clients at once, on real sockets: exactly one wins, and no update is lost."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter

import pytest

from tests.support.processes import Server
from tests.support.raw import RawConnection

CLIENTS = 100


def tag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()}"'


def race(server: Server, method: str, target: str, headers: dict[str, str]) -> list[tuple[int, bytes]]:
    """Status and body for each of the clients. All send their last bytes only after everything else was
    sent.
    """
    racers: list[tuple[RawConnection, bytes]] = []
    for number in range(CLIENTS):
        body = b"%03d of all" % number
        racer = RawConnection(server.port)
        racer.request(method, target, headers | {"Content-Length": str(len(body))})
        racer.send(body[:-1])
        racers.append((racer, body))
    for racer, body in racers:
        racer.send(body[-1:])
    results = [(racer.answer().status, body) for racer, body in racers]
    for racer, _ in racers:
        racer.close()
    return results


CREATES = [("POST", {}, 409), ("POST", {"If-None-Match": "*"}, 412), ("PUT", {"If-None-Match": "*"}, 412)]


@pytest.mark.parametrize(("method", "headers", "loses"), CREATES)
def test_of_a_hundred_creates_one_wins(
    method: str, headers: dict[str, str], loses: int, creating: Server, location: str
) -> None:
    results = race(creating, method, f"/store/{location}", headers)
    assert Counter(status for status, _ in results) == {201: 1, loses: CLIENTS - 1}
    (winner,) = [body for status, body in results if status == 201]
    assert creating.ask("GET", f"/store/{location}").body == winner


def test_of_a_hundred_swaps_one_wins(creating: Server, location: str) -> None:
    target = f"/store/{location}"
    creating.ask("POST", target, b"old")
    results = race(creating, "PUT", target, {"If-Match": tag(b"old")})
    assert Counter(status for status, _ in results) == {200: 1, 412: CLIENTS - 1}
    (winner,) = [body for status, body in results if status == 200]
    assert creating.ask("GET", target).body == winner


def test_of_a_hundred_deletes_one_wins(creating: Server, location: str) -> None:
    target = f"/store/{location}"
    creating.ask("POST", target, b"old")
    racers = [RawConnection(creating.port) for _ in range(CLIENTS)]
    for racer in racers:
        racer.request("DELETE", target, {"If-Match": tag(b"old")})
    assert Counter(racer.answer().status for racer in racers) == {200: 1, 404: CLIENTS - 1}
    for racer in racers:
        racer.close()


def test_all_of_a_hundred_puts_succeed_and_one_is_there(creating: Server, location: str) -> None:
    target = f"/store/{location}"
    results = race(creating, "PUT", target, {})
    assert Counter(status for status, _ in results) == {201: 1, 200: CLIENTS - 1}
    assert creating.ask("GET", target).body in [body for _, body in results]


def test_no_increment_is_lost_among_clients_that_compare_and_swap(creating: Server, location: str) -> None:
    target = f"/store/{location}"
    creating.ask("POST", target, b"0")
    workers, each = 5, 8

    def count() -> None:
        done = 0
        while done < each:
            found = creating.ask("GET", target)
            new = b"%d" % (int(found.body) + 1)
            answer = creating.ask("PUT", target, new, {"If-Match": found.headers["etag"]})
            assert answer.status in (200, 412)
            done += answer.status == 200

    threads = [threading.Thread(target=count) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert creating.ask("GET", target).body == b"%d" % (workers * each)
