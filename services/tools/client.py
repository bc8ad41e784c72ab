"""A client of a running server. Its own configuration says where it listens and whether it speaks TLS."""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from common import config as options
from common.config import Config
from common.errors import DAMAGE_ERRNOS
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.parsing import PROGRAM

TIMEOUT_S = 120.0
START_IT = f"Start it with `{PROGRAM} serve`, or name another one with --url."


class RequestBody(NamedTuple):
    """The bytes of a request. `chunks` gives them from the start; `again`: more than once."""

    chunks: Callable[[], Iterator[bytes]]
    again: bool = True


class HttpClient:
    """One server. One connection a thread, kept alive. `name`: its address, for people."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = TIMEOUT_S,
        advice: str = START_IT,
    ) -> None:
        """Connects at the first request. Raises CommandFailed if `url` is not valid. `advice`: where nobody
        listens.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.path.strip("/"):
            raise CommandFailed(exits.USAGE, f"--url {url!r} is not http://HOST:PORT or https://HOST:PORT.")
        self.name = url
        self._host = parts.hostname
        self._port = port
        self._is_tls = parts.scheme == "https"
        self._tls = tls
        self._timeout_s = timeout_s
        self._advice = advice
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._of_thread = threading.local()
        self._all: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close every connection."""
        for connection in self._all:
            connection.close()

    def ask(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: RequestBody | None = None
    ) -> http.client.HTTPResponse:
        """Send a request, and return the answer, whose body is still to be read.

        If a kept connection turns out to be closed, the request is sent once more. If the first one did
        arrive, the second finds its own bytes there. Raises CommandFailed if nobody answers.
        """
        while True:
            connection = getattr(self._of_thread, "connection", None)
            is_new = connection is None
            if connection is None:
                connection = self._connect()
            try:
                content = body.chunks() if body is not None else None
                return _talk(connection, method, target, content, {**self._headers, **(headers or {})})
            except (OSError, http.client.HTTPException) as err:
                self._drop(connection)
                if isinstance(err, OSError) and err.errno in DAMAGE_ERRNOS:
                    raise
                if is_new or (body is not None and not body.again):
                    raise CommandFailed(exits.REFUSED, self._no_answer(err)) from err
            except BaseException:
                self._drop(connection)  # a body broke off: what was sent of it must not be taken for the next
                raise

    def text(
        self, method: str, target: str, headers: dict[str, str] | None = None, body: RequestBody | None = None
    ) -> tuple[int, http.client.HTTPMessage, str]:
        """(status, headers, text) of an answer that is short."""
        answer = self.ask(method, target, headers, body)
        try:
            content = answer.read()
        except (OSError, http.client.HTTPException) as err:
            raise CommandFailed(exits.REFUSED, f"The server at {self.name} broke off: {err}.") from err
        return answer.status, answer.headers, content.decode(errors="replace")

    def forget(self) -> None:
        """Close the connection of this thread, whose last answer was not read to its end."""
        connection = getattr(self._of_thread, "connection", None)
        if connection is not None:
            self._drop(connection)

    def _no_answer(self, err: Exception) -> str:
        why = (isinstance(err, OSError) and err.strerror) or err
        text = f"The server at {self.name} does not answer: {why}."
        return f"{text} {self._advice}" if isinstance(err, ConnectionRefusedError) else text

    def _connect(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection
        if self._is_tls:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        self._of_thread.connection = connection
        self._all.append(connection)
        return connection

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        connection.close()
        self._of_thread.connection = None
        self._all.remove(connection)


def _talk(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: Iterator[bytes] | None,
    headers: dict[str, str],
) -> http.client.HTTPResponse:
    try:
        connection.request(method, target, body, headers)
    except (BrokenPipeError, ConnectionResetError):
        if connection.sock is None:
            raise
        # It answered before the body was whole, and closed: its answer says why.
    return connection.getresponse()


def text_of(answer: str) -> str:
    """The sentence in the body of an error; of an answer that is none of ours, how it begins."""
    try:
        return str(json.loads(answer)["text"])
    except (ValueError, KeyError, TypeError):
        return answer[:200]


def token_hint(status: int) -> str:
    """What to add to the text of an answer with `status`, where a token may help."""
    return " Give the token of a client that may do it: --token-file." if status in (401, 403) else ""


def add_token_argument(parser: argparse.ArgumentParser) -> None:
    """The argument of every command that asks a server."""
    parser.add_argument(
        "--token-file", metavar="FILE", help="a file with the token of a client that may do it"
    )


def http_client(
    config: Config,
    url: str | None,
    token_file: str | None,
    tls: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
    advice: str = START_IT,
) -> HttpClient:
    """A client of the server at `url`, or else of the one in the configuration. Raises CommandFailed.

    The certificate of the latter must be the one in the configuration, unless `tls` says otherwise.
    """
    token = _token(token_file)
    if url is None and tls is None and config.tls_cert:
        tls = _own_certificate(config)
    return HttpClient(url or default_url(config), token, tls, timeout_s, advice)


def default_url(config: Config) -> str:
    """The address of the server with this configuration, from this machine."""
    host, port = options.host_and_port(config.listen)
    reached = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    shown = f"[{reached}]" if ":" in reached else reached
    return f"{'https' if config.tls_cert else 'http'}://{shown}:{port}"


def _own_certificate(config: Config) -> ssl.SSLContext:
    """Trust only the certificate in tls_cert, under any name: it is not made for "127.0.0.1"."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(config.tls_cert)
    except (OSError, ssl.SSLError) as err:
        raise CommandFailed(exits.USAGE, f"tls_cert: {config.tls_cert} cannot be used: {err}.") from err
    return context


def _token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as err:
        raise CommandFailed(exits.USAGE, f"--token-file: {path} cannot be read: {err}.") from err
