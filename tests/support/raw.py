"""One connection on a raw socket, since a client library would correct the bytes."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
from collections.abc import Iterator

from tests.support.processes import Answer


class RawConnection:
    """Sends exactly the bytes that it is given, and reads one answer after the other."""

    def __init__(self, port: int, timeout_s: float = 120.0, tls: ssl.SSLContext | None = None) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="127.0.0.1")
        self._file: io.BufferedReader = self.sock.makefile("rb")

    def send(self, *parts: bytes) -> None:
        """Send the parts, joined."""
        self.sock.sendall(b"".join(parts))

    def request(
        self,
        method: str,
        target: str | bytes,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> None:
        """Send a request with exactly these fields, and Host; Content-Length if there is a body."""
        raw = target if isinstance(target, bytes) else target.encode()
        fields = {
            "Host": "localhost",
            **({} if body is None else {"Content-Length": str(len(body))}),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
        self.send(method.encode(), b" ", raw, b" HTTP/1.1\r\n", head, b"\r\n", body or b"")

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, without its body for a HEAD. A 100 is an answer like any other."""
        line = self._file.readline()
        if not line:
            raise ConnectionError("the server closed the connection")
        status = int(line.split(b" ", 2)[1])
        headers = dict(http.client.parse_headers(self._file).items())
        answer = Answer(status, headers, b"")
        if method != "HEAD" and status >= 200 and status not in (204, 304):
            answer.body = self._body(answer.headers)
        return answer

    def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" in headers.get("transfer-encoding", ""):
            body = b""
            while size := int(self._file.readline(), 16):
                body += self._file.read(size)
                self._file.readline()
            self._file.readline()
            return body
        if "content-length" in headers:
            return self._file.read(int(headers["content-length"]))
        return self._file.read()

    def ask(
        self,
        method: str,
        target: str | bytes,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send a request, read its answer; the connection stays open."""
        self.request(method, target, headers, body)
        return self.answer(method)

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        return self._file.read()

    def at_end(self) -> bool:
        """Wait for what comes next: True if it is the end of the connection."""
        with contextlib.suppress(ConnectionError):
            return not self._file.read(1)
        return True

    def close(self) -> None:
        """Close it in the usual way."""
        self._file.close()
        self.sock.close()


@contextlib.contextmanager
def connected(port: int, timeout_s: float = 120.0) -> Iterator[RawConnection]:
    """A connection for the time of a `with`."""
    connection = RawConnection(port, timeout_s)
    try:
        yield connection
    finally:
        connection.close()
