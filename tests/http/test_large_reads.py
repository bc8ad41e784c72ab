"""Larger blobs, from the disk and from sealed memory: the answer is the same, for fast and slow clients."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support.processes import Server

SIZES = (100_000, 1 << 20, (3 << 20) + 5)


def get(server: Server, name: str, *fields: str, pause_s: float = 0.0) -> tuple[dict[str, str], bytes]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        lines = [f"GET /store/{name} HTTP/1.1", "Host: localhost", "Connection: close", *fields, "", ""]
        sock.sendall("\r\n".join(lines).encode())
        time.sleep(pause_s)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    told = dict(line.split(": ", 1) for line in rest)
    del told["Date"]
    return {"": first, **told}, body


def test_each_way_gives_the_same(strict: Server) -> None:
    for size in SIZES:
        name, body = f"large-{size}", os.urandom(size)
        assert strict.ask("POST", f"/store/{name}", body).status == 201
        by_handler = get(strict, name, "If-Match: *")
        assert by_handler[1] == body
        for _ in range(4):  # read, kept, then sent from memory
            assert get(strict, name) == by_handler
        told, part = get(strict, name, f"Range: bytes=99990-{size - 2}")
        assert (told[""], part) == ("HTTP/1.1 206 Partial Content", body[99990 : size - 1])
        with ThreadPoolExecutor(5) as clients:
            slow = [clients.submit(get, strict, name, pause_s=0.1) for _ in range(5)]
            assert all(answer.result() == by_handler for answer in slow)
