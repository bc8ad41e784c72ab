"""TLS: requests, large answers, early refusals, and handshakes that never come."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path

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
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
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
        with server.connect() as plain:
            plain.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"HTTP/1.1 200" not in _rest(plain)
        with connect(server, certificate) as client:
            client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.answer()[0] == 200
        silent.sock.close()


def _rest(client: Client) -> bytes:
    try:
        return client.rest()
    except ConnectionResetError:
        return b""
