"""A server with a reader and one without, which get the same requests and must give the same answers."""

from __future__ import annotations

import contextlib
import re
import select
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support import readers
from tests.support.processes import Answer, Server, wait_for
from tests.support.raw import RawConnection
from tests.support.rules import DataDirectory

OWN = re.compile(rb"(^(?:Date|Last-Modified|Blob-Id|x-amz-[a-z0-9-]+): |<RequestId>)[^\r<]+", re.M | re.I)
# Fields of the access log that no two requests have in common: the time, and how long it took.
TIMES = re.compile(r"\[[^]]*\]|\d\.\d{6}$", re.MULTILINE)
_AT_ONCE = 32
_COUNTED = re.compile(
    r"^(blobkeep_(?:requests|connection_refusals|request_body_bytes|response_body_bytes"
    r"|request_duration_seconds_count)\S*) (\S+)$",
    re.MULTILINE,
)
_SENT = 'blobkeep_response_body_bytes_total{method="GET"}'


class Pair:
    """A server with one reader, and one without, with the same options. `trust`: clients speak TLS, and
    trust this.
    """

    def __init__(self, base: Path, options: Mapping[str, str], trust: ssl.SSLContext | None = None) -> None:
        env = {f"BLOBKEEP_{name.upper()}": value for name, value in options.items()}
        self.directories = [DataDirectory(base / "shared" / "data"), DataDirectory(base / "alone" / "data")]
        for one in self.directories:
            one.path.parent.mkdir(parents=True)
        with_readers = env | {"BLOBKEEP_READERS": "1"}
        self.shared = Server(self.directories[0].path, env=with_readers)
        self.alone = Server(self.directories[1].path, env=env)
        self.reader = readers.started_reader(self.directories[0].path, 0, with_readers)
        readers.wait_until_there(self.reader)
        self.shared.trust = self.alone.trust = self._trust = trust
        self._metrics_bytes = [0, 0]  # which their answers had
        self._accepted: list[RawConnection] = []  # by the reader, and not used yet

    def connections(self) -> tuple[RawConnection, RawConnection]:
        """One that the reader has accepted, and one of the other server."""
        if not self._accepted:
            self._accepted = self.through_the_reader(_AT_ONCE)
        return self._accepted.pop(0), self.past_readers(1)[0]

    def through_the_reader(self, count: int) -> list[RawConnection]:
        """New connections that the reader has accepted. Many at once, since the server stands still
        meanwhile, which takes longer than a request.
        """
        return readers.accepted_by(
            self.reader,
            [self.shared],
            lambda: [RawConnection(self.shared.port, tls=self._trust) for _ in range(count)],
            lambda made: made[-1].sock,  # it accepts them in their order
        )

    def plain_connections(self) -> list[RawConnection]:
        """As `connections`, without TLS, whatever the servers speak."""
        port = self.shared.port
        through = readers.accepted_by(
            self.reader, [self.shared], lambda: RawConnection(port), lambda made: made.sock
        )
        return [through, RawConnection(self.alone.port)]

    def past_readers(self, count: int) -> list[RawConnection]:
        """New connections of the other server."""
        return [RawConnection(self.alone.port, tls=self._trust) for _ in range(count)]

    def close(self, connection: RawConnection) -> None:
        """Close it, and wait until the other side has, too."""
        port = connection.sock.getsockname()[1]
        connection.close()
        self._wait_for_the_end(port)

    def wait_for_the_end(self, connection: RawConnection) -> None:
        """Wait until the other side has begun to answer on it, so it was accepted, and then has closed it."""
        assert select.select([connection.sock], [], [], 120)[0], "no answer"
        self._wait_for_the_end(connection.sock.getsockname()[1])

    def _wait_for_the_end(self, port: int) -> None:
        wait_for(lambda: not readers.is_held(port), what="the end of a connection")

    def ask(self, *requests: bytes) -> bytes:
        """The answers to these bytes on one connection, until it closes; the same from both."""
        connections = self.connections()
        for connection in connections:
            connection.send(*requests)
        return self.rest(*connections)

    def rest(self, *connections: RawConnection) -> bytes:
        """What still comes on both; the same. Then they are closed."""
        answers = []
        for connection in connections:
            rest = connection.rest() if self._trust is None else _to_the_last(connection)
            answers.append(OWN.sub(rb"\1...", rest))
            connection.close()
        assert answers[0] == answers[1]
        return answers[0]

    def counts_become_alike(self) -> None:
        """Wait until both have counted the same since their start: a reader tells its counts each second."""
        try:
            wait_for(lambda: not self._counted_differently(), what="the same counts")
        finally:
            assert self._counted_differently() == {}

    def _counted_differently(self) -> dict[str, tuple[float, float]]:
        shared, alone = (self._counts(number) for number in range(2))
        return {
            name: (shared.get(name, 0), alone.get(name, 0))
            for name in shared | alone
            if shared.get(name, 0) != alone.get(name, 0)
        }

    def _counts(self, number: int) -> dict[str, float]:
        """What /metrics says of requests, without the bytes of its own answers."""
        text = (self.shared, self.alone)[number].ask("GET", "/metrics").body.decode()
        found = {name: float(value) for name, value in _COUNTED.findall(text)}
        found[_SENT] -= self._metrics_bytes[number]
        self._metrics_bytes[number] += len(text)
        return found

    def both(self, do: Callable[[Server], Answer]) -> list[int]:
        """Ask both servers; their statuses are the same."""
        statuses = [do(server).status for server in (self.shared, self.alone)]
        assert statuses[0] == statuses[1]
        return statuses

    def put(self, location: str, body: bytes, **fields: str) -> None:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        assert self.both(lambda server: server.ask("POST", f"/store/{location}", body, headers))[0] == 201

    def logs(self) -> list[str]:
        """What both processes of the one said, and the other."""
        return [self.shared.said() + self.reader.said(), self.alone.said()]

    def logs_by_line(self) -> list[list[str]]:
        """The lines for requests, in no order."""
        return [sorted(map(without_times, log.splitlines())) for log in self.logs()]

    def end(self) -> None:
        for connection in self._accepted:
            connection.close()
        for process in (self.reader, self.shared, self.alone):
            process.end()
            assert "Traceback" not in process.said()
        for one in self.directories:
            one.check()


def without_times(line: str) -> str:
    """A line of the access log without its time and its seconds; empty for another line."""
    return TIMES.sub("[]", line) if "HTTP/1.1" in line else ""


def wire(method: str, target: str, *fields: str) -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: localhost", *fields)).encode() + b"\r\n\r\n"


def _to_the_last(connection: RawConnection) -> bytes:
    """The answers until one is said to be the last. Over TLS the client may have to close first."""
    text, is_last = b"", False
    with contextlib.suppress(ConnectionError):
        while not is_last:
            answer = connection.answer()
            lines = [f"{answer.status}", *(f"{name}: {value}" for name, value in answer.headers.items())]
            text += "\r\n".join(lines).encode() + b"\r\n\r\n" + answer.body
            is_last = answer.headers.get("connection") == "close"
    return text
