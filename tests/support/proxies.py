"""nginx and Caddy in front of a server, with the configurations of conf/ and a certificate made here."""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.engines.objects.development import free_ports
from tests.support.processes import ROOT, Answer, ask_on, wait_for


@dataclass
class Proxy:
    """A proxy that listens for TLS on `port`."""

    port: int

    def connect(self) -> http.client.HTTPSConnection:
        """A connection whose certificate is not looked at: it was made for this test."""
        context = ssl._create_unverified_context()
        return http.client.HTTPSConnection("localhost", self.port, timeout=120, context=context)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        return ask_on(self.connect(), method, target, body, headers)


def changed(path: Path, *changes: tuple[str, str]) -> str:
    """The text of a file of conf/ with what a test must change; each must be there to be changed."""
    text = path.read_text()
    for old, new in changes:
        assert old in text, f"{old!r} is not in {path.name}"
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def nginx(folder: Path, server_port: int) -> Iterator[Proxy]:
    """nginx with conf/nginx.conf, in the foreground, as the user that runs the tests."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            "-nodes",
            *("-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"),
        ],
        check=True,
        capture_output=True,
    )
    plain, tls = free_ports(2)
    conf = folder / "nginx.conf"
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf.write_text(
        "daemon off;\n"
        + (f"user {_user()};\n" if os.getuid() == 0 else "")
        + f"pid {folder}/nginx.pid;\n"
        + changed(
            ROOT / "conf" / "nginx.conf",
            ("worker_processes auto", "worker_processes 1"),
            ("/var/log/nginx/blobkeep.log", f"{folder}/access.log"),
            ("server 127.0.0.1:7777;", f"server 127.0.0.1:{server_port};"),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{tls} ssl;"),
            ("/etc/ssl/blobs.example.org.crt", str(certificate)),
            ("/etc/ssl/blobs.example.org.key", str(key)),
            ("http {\n", "http {\n" + temporary),
        )
    )
    with _running(["nginx", "-p", str(folder), "-c", str(conf)], folder / "nginx.log", {}, tls):
        yield Proxy(tls)


@contextlib.contextmanager
def caddy(folder: Path, server_port: int) -> Iterator[Proxy]:
    """Caddy with conf/Caddyfile, and a certificate that it makes itself."""
    plain, tls = free_ports(2)
    conf = folder / "Caddyfile"
    options = f"{{\n\tadmin off\n\tskip_install_trust\n\thttp_port {plain}\n\thttps_port {tls}\n}}\n"
    conf.write_text(
        options
        + changed(
            ROOT / "conf" / "Caddyfile",
            ("blobs.example.org {", "localhost {\n\ttls internal"),
            ("reverse_proxy 127.0.0.1:7777", f"reverse_proxy 127.0.0.1:{server_port}"),
        )
    )
    environment = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    command = ["caddy", "run", "--config", str(conf), "--adapter", "caddyfile"]
    with _running(command, folder / "caddy.log", environment, tls):
        yield Proxy(tls)


@contextlib.contextmanager
def _running(command: list[str], log: Path, environment: dict[str, str], port: int) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
    try:

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                Proxy(port).ask("OPTIONS", "/healthz")
            except OSError:
                return False
            return True

        wait_for(listens, what=f"{command[0]}'s start")
        yield
    finally:
        process.terminate()
        process.wait(120)


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
