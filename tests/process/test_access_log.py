"""The access log of a real server: one line on stdout for each request, also for refusals by the
connection.
"""

from __future__ import annotations

import re
import socket
import struct

import pytest

from tests.conftest import StartServer
from tests.support.processes import wait_for


@pytest.mark.parametrize("http", ["blobkeep", "tornado"])
def test_each_answer_is_a_line_with_its_bytes(start_server: StartServer, http: str) -> None:
    server = start_server("--access-log", "--http", http)
    assert server.ask("POST", "/store/a", b"12345", {"User-Agent": 'x" 500'}).status == 201
    assert server.ask("GET", "/store/a").status == 200
    assert server.ask("GET", "/store/%0a").status == 400
    assert server.stop() == 0
    said = server.said()
    assert re.search(
        r'127\.0\.0\.1 - - \[.*\] "POST /store/a HTTP/1\.1" 201 0 "-" "x\\x22 500" \d\.\d{6}\n', said
    )
    assert re.search(r'"GET /store/a HTTP/1\.1" 200 5 ', said)
    assert re.search(r'"GET /store/%0a HTTP/1\.1" 400 \d+ ', said)


def test_what_the_connection_refuses_is_a_line_too(start_server: StartServer) -> None:
    server = start_server("--access-log", "--http", "blobkeep")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /store/a HTTP/1.1\r\nHost: localhost\r\nX: \0\r\n\r\n")
        assert b" 400 " in client.recv(1000)
    wait_for(lambda: re.search(r'\] "-" 400 0 "-" "-" 0\.000000\n', server.said()), what="the line")


def test_it_is_off_unless_asked_for(start_server: StartServer) -> None:
    server = start_server()
    assert server.ask("GET", "/store/a").status == 404
    assert server.stop() == 0
    assert "/store/a" not in server.said()


@pytest.mark.parametrize("http", ["blobkeep", "tornado"])
def test_a_client_that_leaves_before_its_request_is_whole_is_a_line_too(
    start_server: StartServer, http: str
) -> None:
    server = start_server("--access-log", "--http", http)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /store/cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1234")
        wait_for(lambda: server.ask("GET", "/blobs/?state=Pending").body.count(b'"cut"'), what="its begin")
        # a reset, not an orderly end
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: '"POST /store/cut HTTP/1.1" 499 0 ' in server.said(), what="the line")
    assert b'blobkeep_requests_total{method="POST",status="499"} 1.0' in server.ask("GET", "/metrics").body


def test_an_upload_that_is_refused_on_its_way_is_one_line(start_server: StartServer) -> None:
    server = start_server("--access-log", "--body-timeout", "0.2")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /store/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1234")
        assert b" 408 " in client.recv(1000)
    server.stop()
    assert re.findall(r'"POST /store/slow[^"]*" (\d+)', server.said()) == ["408"]
