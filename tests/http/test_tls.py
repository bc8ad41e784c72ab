"""TLS with the server's own certificate and key, and the warnings without TLS."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from common.config import Config
from services.access.credentials import ServerCredentials, exposure
from tests.conftest import StartServer
from tests.support.processes import Server, wait_for

HTTP = ["blobkeep", "tornado"]
BODY = os.urandom(3 << 20) + b"end"
_SILENT_READERS = 25


def make_certificate(folder: Path, name: str = "tls") -> tuple[Path, Path]:
    """(certificate, key) in PEM, self-signed, for 127.0.0.1."""
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def curl(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "30", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def name_of_certificate(server: Server, ca: Path) -> str:
    context = ssl.create_default_context(cafile=str(ca))
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=120) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        found = secure.getpeercert()
    assert found is not None
    return dict(pair[0] for pair in found["subject"])["commonName"]  # type: ignore[misc]


@pytest.fixture(params=HTTP)
def encrypted(request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path) -> Server:
    cert, key = make_certificate(tmp_path)
    return start_server("--tls-cert", str(cert), "--tls-key", str(key), "--http", request.param)


def test_curl_sends_and_gets_blobs_over_tls_in_http_1_1(encrypted: Server, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(BODY)
    url, ca = f"https://127.0.0.1:{encrypted.port}/store/a", tmp_path / "tls.crt"
    sent = curl("--cacert", ca, "-X", "POST", "--data-binary", f"@{tmp_path}/up", "-w", "%{http_code}", url)
    assert sent == "201"
    got = curl("--cacert", ca, "--http2", "-o", tmp_path / "down", "-w", "%{http_code} %{http_version}", url)
    assert got == "200 1.1"
    assert (tmp_path / "down").read_bytes() == BODY
    without = subprocess.run(["curl", "-sS", url], capture_output=True, text=True, check=False)
    assert without.returncode == 60  # unknown issuer


def test_who_speaks_plain_http_to_it_is_told_so_and_disturbs_nobody(
    encrypted: Server, tmp_path: Path
) -> None:
    try:
        answer = encrypted.ask("GET", "/store/a")
    except (OSError, http.client.HTTPException):
        assert "--http tornado" in " ".join(encrypted.flags)
    else:
        assert (answer.status, b"speaks HTTPS" in answer.body) == (400, True)
    with socket.create_connection(("127.0.0.1", encrypted.port), timeout=120) as sock:
        sock.sendall(b"\x16\x03\x01\xff\xff" + b"\0" * 100)
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(65536):
                pass
    assert name_of_certificate(encrypted, tmp_path / "tls.crt") == "tls"


def test_one_who_never_ends_the_handshake_is_cut_off(start_server: StartServer, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    tls = ("--tls-cert", str(cert), "--tls-key", str(key))
    server = start_server(*tls, "--http", "blobkeep", "--header-timeout", "0.3")
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as sock:
        assert sock.recv(1) == b""


def test_readers_that_take_nothing_hold_little_memory(start_server: StartServer, tmp_path: Path) -> None:
    """Fifty slow readers may take 32 MiB together. They take 17 to 28."""
    cert, key = make_certificate(tmp_path)
    server = start_server("--tls-cert", str(cert), "--tls-key", str(key))
    (tmp_path / "up").write_bytes(bytes(16 << 20))
    url = f"https://127.0.0.1:{server.port}/store/a"
    assert curl("--cacert", cert, "-X", "POST", "-T", tmp_path / "up", "-w", "%{http_code}", url) == "201"
    context = ssl.create_default_context(cafile=str(cert))
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    grown = [0]

    def stays() -> bool:
        grown.append(process.memory_info().rss - before)
        time.sleep(0.1)
        return len(grown) > 10 and grown[-10] == grown[-1] > _SILENT_READERS << 16

    with contextlib.ExitStack() as readers:
        for _ in range(_SILENT_READERS):
            plain = readers.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=120))
            secure = readers.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
            secure.sendall(b"GET /store/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        wait_for(stays, what="that all hold what they will")
    assert grown[-1] <= (28 << 20) * _SILENT_READERS // 50  # 15.6 MiB with buffers of 256 KiB


def test_a_renewed_certificate_is_served_on_sighup_and_a_wrong_one_is_not(
    encrypted: Server, tmp_path: Path
) -> None:
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    old_ca = tmp_path / "old.crt"
    old_ca.write_bytes(cert.read_bytes())
    context = ssl.create_default_context(cafile=str(old_ca))
    kept = http.client.HTTPSConnection("127.0.0.1", encrypted.port, context=context, timeout=120)
    kept.request("GET", "/healthz")
    assert kept.getresponse().read() == b'"Ok!"\n'

    new_cert, new_key = make_certificate(tmp_path, "renewed")
    cert.write_bytes(new_cert.read_bytes())  # the key of another certificate
    encrypted.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: "the old certificate goes on" in encrypted.said(), what="the error")
    assert name_of_certificate(encrypted, old_ca) == "tls"

    key.write_bytes(new_key.read_bytes())
    encrypted.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: "tls_key read again" in encrypted.said(), what="the new certificate")
    assert name_of_certificate(encrypted, cert) == "renewed"
    kept.request("GET", "/healthz")  # a connection that is open goes on
    assert kept.getresponse().status == 200
    kept.close()


def test_a_key_that_does_not_fit_stops_the_start_with_a_sentence(
    start_server: StartServer, tmp_path: Path
) -> None:
    cert, _ = make_certificate(tmp_path)
    _, key = make_certificate(tmp_path, "other")
    with pytest.raises(AssertionError, match="cannot start: tls_cert or tls_key cannot be used"):
        start_server("--tls-cert", str(cert), "--tls-key", str(key))


@pytest.mark.parametrize(
    ("address", "family", "is_told"),
    [
        ("127.0.0.1", socket.AF_INET, False),
        ("127.8.8.8", socket.AF_INET, False),
        ("0.0.0.0", socket.AF_INET, True),
        ("::1", socket.AF_INET6, False),
        ("::", socket.AF_INET6, True),
        ("::ffff:127.0.0.1", socket.AF_INET6, False),
        ("", socket.AF_UNIX, False),
    ],
)
def test_what_other_machines_may_do_is_told_where_they_reach_the_server(
    address: str, family: int, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(family) as sock:  # bound, but nobody listens
        if family != socket.AF_UNIX:
            sock.bind((address, 0))
        with caplog.at_level(logging.WARNING):
            ServerCredentials(Config()).warn([sock])
    assert ["OPEN TO EVERYONE" in text for text in caplog.messages] == ([True] if is_told else [])


def test_the_warning_is_about_what_is_missing() -> None:
    assert "OPEN TO EVERYONE" in str(exposure(is_open=True, is_plain=True))
    assert "OPEN TO EVERYONE" in str(exposure(is_open=True, is_plain=False))
    assert "plain text" in str(exposure(is_open=False, is_plain=True))
    assert exposure(is_open=False, is_plain=False) is None
