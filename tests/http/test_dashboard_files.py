"""The dashboard's files and its stream of events, over HTTP."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time

import pytest

from services.frontends.native import dashboard, live
from tests.conftest import StartServer
from tests.support.processes import Server, wait_for

HTTP = ["blobkeep", "tornado"]


def listen(server: Server) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), timeout=120)
    client.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


def read_to_end(client: socket.socket) -> None:
    """Read as a browser does, and close the connection at the end."""
    while client.recv(1 << 16):
        pass
    client.close()


def test_each_file_has_a_type_a_policy_and_a_tag_that_saves_sending_it_again(server: Server) -> None:
    index = server.ask("GET", "/")
    assert index.status == 200
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    names = set(re.findall(r'(?:href|src)="dashboard/([^"]+)"', index.body.decode()))
    scripts = [name for name in dashboard.DashboardHandler.ASSETS if name.endswith(".js")]
    assert {"main.js", "uPlot.js", "dashboard.css", "uPlot-license.txt"} <= names
    for path in ["/", *(f"/dashboard/{name}" for name in names | set(scripts))]:
        answer = server.ask("GET", path)
        assert answer.status == 200, path
        assert answer.headers["content-security-policy"] == dashboard.CSP
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = server.ask("GET", path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        head = server.ask("HEAD", path)
        assert (head.status, head.body, head.headers["etag"]) == (200, b"", answer.headers["etag"])
    for path in ("/dashboard/none.js", "/dashboard/../app.py", "/dashboard/..%2Fapp.py"):
        assert server.ask("GET", path).status == 404


def test_no_file_of_the_page_names_another_host() -> None:
    for name, asset in dashboard.DashboardHandler.ASSETS.items():
        text = asset.content.decode().replace("http://www.w3.org/", "")
        if not name.startswith("uPlot"):
            assert "//" not in re.sub(r"^\s*//.*$|; //.*$|, //.*$|\) //.*$| // .*$", "", text, flags=re.M), (
                name
            )
            assert not re.search("innerHTML|outerHTML|insertAdjacentHTML|document.write|eval\\(", text), name


@pytest.mark.parametrize("which", HTTP)
def test_events_begin_with_the_past_and_go_on_with_what_happens(
    start_server: StartServer, which: str
) -> None:
    server = start_server("--http", which)
    assert server.ask("POST", "/store/a", b"1").status == 201
    with listen(server) as client:
        client.settimeout(0.05)
        received = b""

        def events() -> dict[str, list[bytes]]:
            nonlocal received
            with contextlib.suppress(TimeoutError):
                received += client.recv(1 << 16)
            found: dict[str, list[bytes]] = {}
            for event, data in re.findall(rb"event: (\w+)\ndata: (.*)\n\n", received):
                found.setdefault(event.decode(), []).append(data)
            return found

        wait_for(lambda: "tick" in events(), what="the first tick")
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Type: text/event-stream" in received
        hello = json.loads(events()["hello"][0])
        assert [entry["state"] for entry in hello["feed"]] == ["OK", "Pending", "OK"]
        tick = json.loads(events()["tick"][0])
        assert tick["now"]["counts"]["blobs"] == 1
        assert tick["now"]["processes"][0]["pid"] == server.pid
        assert server.ask("DELETE", "/store/a").status == 200
        wait_for(lambda: "feed" in events(), what="the deletion")
        assert json.loads(events()["feed"][0])[0]["text"] == "Deleted!"
        wait_for(lambda: len(events()["tick"]) >= 3, what="a tick a second")
    assert b'"sample"' in received


@pytest.mark.parametrize("which", HTTP)
def test_there_is_a_bound_of_listeners_and_who_leaves_makes_room(
    start_server: StartServer, which: str
) -> None:
    server = start_server("--http", which)
    clients = [listen(server) for _ in range(live.MAX_LISTENERS)]
    for client in clients:
        assert client.recv(20).startswith(b"HTTP/1.1 200 ")
    refused = server.ask("GET", "/events")
    assert refused.status == 503
    assert "retry-after" in refused.headers
    clients.pop().close()

    def comes_in() -> bool:
        client = listen(server)
        clients.append(client)
        return client.recv(20).startswith(b"HTTP/1.1 200 ")

    wait_for(comes_in, what="room for one more")
    for client in clients:
        client.close()


def test_a_server_that_stops_does_not_wait_for_its_dashboards(server: Server) -> None:
    with listen(server) as client:
        assert client.recv(20).startswith(b"HTTP/1.1 200 ")
        reading = threading.Thread(target=read_to_end, args=(client,))
        reading.start()
        assert server.stop() == 0
        reading.join()
    assert "some requests were not done in time" not in server.said()  # not even for the dashboard


def test_a_dashboard_that_is_open_is_no_latency(server: Server) -> None:
    with listen(server) as client:
        assert client.recv(20).startswith(b"HTTP/1.1 200 ")
        time.sleep(0.3)
    pattern = r'blobkeep_request_duration_seconds_bucket\{le="0.0001",method="GET"\} ([1-9])'
    wait_for(lambda: re.search(pattern, server.ask("GET", "/metrics").body.decode()), what="its line")


def test_the_feed_tells_of_an_update_in_the_order_in_which_it_becomes_true(server: Server) -> None:
    assert server.ask("POST", "/store/a", b"1").status == 201
    assert server.ask("PUT", "/store/a", b"2").status == 200
    with listen(server) as client:
        received = b""
        while b"event: tick" not in received:
            received += client.recv(1 << 16)
    found = re.search(rb"event: hello\ndata: (.*)\n\n", received)
    assert found is not None
    feed = json.loads(found[1])["feed"]
    old, new = feed[0]["id"], feed[-2]["id"]
    told = [(entry["id"], entry["state"]) for entry in feed]
    assert told[:3] == [(old, "OK"), (old, "Pending"), (old, "OK")]
    assert told[3:] == [(new, "OK"), (new, "Pending"), (new, "OK"), (old, "Failure")]


def test_no_address_begins_at_the_root() -> None:
    """Behind a proxy that served the page under another path, it stayed "Connecting"."""
    for name, asset in dashboard.load().items():
        if name.startswith("uPlot") or not name.endswith((".js", ".html")):
            continue
        rooted = r"""["'`]/(?:store|blobs|events|dashboard|healthz|metrics)\b"""
        text = asset.content.decode()
        found = [match[0] for match in re.finditer(rooted, text) if f">{match[0][1:]}" not in text]
        assert found == [], name
