"""A server whose requests to the object store go through a proxy: which requests there are, and what
happens without answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.objects.test_system import System
from tests.support.fault_proxy import NONE, Door, Faults, Proxy
from tests.support.processes import Server
from tests.support.raw import connected
from tests.support.seaweed import Seaweed

AWAY = Faults(lost_request=1.0)


@pytest.fixture
def served(store_process: Seaweed, tmp_path: Path) -> Iterator[tuple[Server, Door]]:
    """A server, and its proxy to the store."""
    proxy = Proxy([store_process.ports.s3], seed=1)
    door = proxy.door()
    proxy.start()
    system = System(store_process, tmp_path)
    system.env |= {
        "BLOBKEEP_OBJECTS_ENDPOINT": f"http://127.0.0.1:{door.port}",
        "BLOBKEEP_OBJECTS_PATIENCE": "0.3",
    }
    yield system.server(), door
    system.end()
    proxy.close()


def test_a_create_of_up_to_a_mebibyte_is_one_request_to_the_store(served: tuple[Server, Door]) -> None:
    server, door = served
    # The second headers are for a handler, the first for the fast path.
    for place, (writes, reads) in enumerate((({}, {}), ({"X-Meta-A": "b"}, {"Range": "bytes=0-"}))):
        for size in (1, 100_000, 1 << 20):
            target = f"/store/{place}/{size}"
            before = door.requests
            assert server.ask("POST", target, b"x" * size, writes).status == 201
            assert door.requests - before == 1
            before = door.requests
            assert len(server.ask("GET", target, headers=reads).body) == size
            assert door.requests - before == 1
    # A client that waits for 100 Continue is refused before the body, so the server must look first.
    before = door.requests
    with connected(server.port) as raw:
        raw.request("POST", "/store/0/1", {"Expect": "100-continue", "Content-Length": str(1 << 20)})
        assert raw.answer().status == 409
    assert door.requests - before == 1


def _tick(server: Server) -> dict[str, object]:
    """The first status that a dashboard gets."""
    with connected(server.port) as listening:
        listening.request("GET", "/events")
        said = b""
        while (found := re.search(rb"event: tick\r?\ndata: (.*)\n", said)) is None:
            said += listening.sock.recv(1 << 16)
    tick: dict[str, object] = json.loads(found[1])["now"]
    return tick


def test_it_says_so_everywhere_and_goes_on_when_the_store_is_back(served: tuple[Server, Door]) -> None:
    server, door = served
    assert server.ask("POST", "/store/a", b"x").status == 201
    assert f"serving the blobs of http://127.0.0.1:{door.port}/blobkeep/" in server.said()
    door.faults = AWAY
    for method, target, body in (
        ("GET", "/store/a", None),
        ("HEAD", "/store/a", None),
        ("PUT", "/store/a", b"y"),
        ("POST", "/store/b", b"y"),
        ("DELETE", "/store/a", None),
        ("GET", "/store/", None),
    ):
        answer = server.ask(method, target, body)
        assert answer.status == 503, (method, target, answer)
        assert int(answer.headers["retry-after"]) > 0
    health = server.ask("GET", "/healthz?verbose")
    assert health.status == 503
    assert b"The object store gives no answer" in health.body
    assert b"loc/" not in health.body  # everyone may see it, so it has no name of a blob
    metrics = server.ask("GET", "/metrics").body.decode()
    errors = re.search(r'blobkeep_store_request_errors_total\{kind="get"\} (\d+)', metrics)
    assert errors is not None
    assert int(errors[1]) > 0
    now = _tick(server)
    assert now["ready"] is False
    requests = now["requests"]
    assert isinstance(requests, dict)
    assert requests["get"]["errors"] > 0
    assert requests["get"]["seconds"] > 0
    door.faults = NONE
    assert server.ask("GET", "/store/a").body == b"x"
    assert server.ask("GET", "/healthz").status == 200
    assert server.ask("PUT", "/store/a", b"z").status == 200
