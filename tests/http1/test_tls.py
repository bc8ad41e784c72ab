"""TLS: requests, large answers, early refusals, and handshakes that never begin."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.http1.serving import Client, Running, running, wait_until

MIB = 1 << 20


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A self-signed certificate for localhost, made by openssl."""
    folder: Path = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    name = "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        [*make.split(), *name.split(), "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    return {"certfile": cert, "keyfile": key}


def connect(server: Running, certificate: dict[str, str]) -> Client:
    context = ssl.create_default_context(cafile=certificate["certfile"])
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=120)
    return Client(context.wrap_socket(sock, server_hostname="localhost"))


@pytest.mark.parametrize("with_uvloop", [True, False])
def test_requests_over_tls(certificate: dict[str, str], with_uvloop: bool) -> None:
    with running(ssl_options=certificate, with_uvloop=with_uvloop, body_bytes=8 * MIB) as server:
        with connect(server, certificate) as client:
            body = bytes(4 * MIB)
            client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n")
            assert [client.answer()[2] for _ in range(2)] == [b"GET /a ", b"GET /b "]
            client.send(b"PUT /c HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert client.answer()[2] == b"PUT /c " + body
            client.send(b"GET /d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.rest().endswith(b"GET /d ")
        wait_until(lambda: server.open_connections() == 0, "closing")


def test_an_early_refusal_is_seen_over_tls(certificate: dict[str, str]) -> None:
    with running(ssl_options=certificate) as server:
        for _ in range(5):
            with connect(server, certificate) as client:
                client.send(b"PUT /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (4 * MIB))
                client.send(bytes(4 * MIB))
                assert client.answer()[0] == 409


def test_a_handshake_that_never_comes_is_cut_off(certificate: dict[str, str]) -> None:
    with running(ssl_options=certificate, header_timeout_s=0.2) as server, server.connect() as silent:
        assert _rest(silent) == b""


def test_who_does_not_speak_tls_is_cut_off_and_others_go_on(certificate: dict[str, str]) -> None:
    with running(ssl_options=certificate) as server:
        silent = server.connect()
        with server.connect() as other:
            other.send(b"\x16\x03\x01\xff\xff" + bytes(100))
            other.sock.shutdown(socket.SHUT_WR)
            assert not _rest(other).startswith(b"HTTP")
        with connect(server, certificate) as client:
            client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.answer()[0] == 200
        silent.sock.close()


@pytest.mark.parametrize("with_uvloop", [True, False])
def test_who_speaks_plain_http_is_told_so_in_plain_http(
    certificate: dict[str, str], with_uvloop: bool
) -> None:
    refused: list[tuple[str, str, int]] = []
    with running(ssl_options=certificate, with_uvloop=with_uvloop) as server:
        server.server.on_refused = lambda method, target, code, _: refused.append((method, target, code))
        silent = server.connect()
        wait_until(lambda: server.call(lambda: len(server.server._connecting) == 1), "its handshake")
        before = len(os.listdir("/proc/self/fd"))
        for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS"):
            with server.connect() as plain:
                # More than OpenSSL reads before it gives up. What is unread would reset the connection.
                body = bytes(100_000) if method in (b"POST", b"PUT") else b""
                plain.send(b"%b / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (method, len(body)) + body)
                status, fields, text = plain.answer()
                assert (status, fields["connection"]) == (400, "close")
                assert b"This port speaks HTTPS" in text
                assert plain.rest() == b""
        wait_until(lambda: server.open_connections() == 0, "closing")
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before, "giving descriptors back")
        assert refused == [("", "", 400)] * 6
        with connect(server, certificate) as client:
            client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.answer()[0] == 200
        silent.sock.close()


@pytest.mark.parametrize("with_uvloop", [True, False])
def test_unfinished_handshakes_do_not_keep_out_those_that_are_too_many(
    certificate: dict[str, str], with_uvloop: bool
) -> None:
    """Each new client gets 503. Before, it was closed without an answer until a handshake timed out."""
    limits: dict[str, Any] = {
        "max_connections": 1,
        "max_refusing": 2,
        "refused_head_timeout_s": 600,
        "header_timeout_s": 600,
    }
    with running(ssl_options=certificate, with_uvloop=with_uvloop, **limits) as server:
        with connect(server, certificate) as kept:
            silent = [server.connect() for _ in range(10)]
            for _ in range(3):
                with connect(server, certificate) as newcomer:
                    newcomer.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert newcomer.answer()[0] == 503
            kept.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert kept.answer()[0] == 200
            assert server.call(lambda: len(server.server._refusing)) <= 3
            assert [_rest(client) for client in silent[:8]] == [b""] * 8  # the oldest had to go
            for client in silent:
                client.sock.close()
        wait_until(lambda: server.open_connections() == 0, "closing")
        wait_until(lambda: server.call(lambda: not server.server._refusing), "forgetting them")


def test_drain_answers_whose_handshake_was_long(certificate: dict[str, str]) -> None:
    """Its request is on its way from the end of the handshake on, not from the beginning."""
    with running(ssl_options=certificate) as server, server.connect() as client:
        wait_until(lambda: server.call(lambda: len(server.server._connecting) == 1), "its handshake")
        server.later(1000)
        drained = asyncio.run_coroutine_threadsafe(server.server.drain(60), server._loop)
        context = ssl.create_default_context(cafile=certificate["certfile"])
        secure = Client(context.wrap_socket(client.sock, server_hostname="localhost"))
        wait_until(lambda: server.open_connections() == 1, "the end of its handshake")
        time.sleep(0.2)  # in which drain looks at it more than once
        secure.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        assert secure.answer()[2] == b"GET /a "
        secure.sock.close()
        assert drained.result(60)


def _rest(client: Client) -> bytes:
    try:
        return client.rest()
    except ConnectionResetError:
        return b""
