"""A server with a reader and one without, which get the same requests and must give the same answers."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support import readers
from tests.support.processes import Answer, Server
from tests.support.raw import RawConnection
from tests.support.rules import DataDirectory

OWN = re.compile(rb"(^(?:Date|Last-Modified|Blob-Id|x-amz-[a-z0-9-]+): |<RequestId>)[^\r<]+", re.M | re.I)
# Fields of the access log that no two requests have in common: the time, and how long it took.
TIMES = re.compile(r"\[[^]]*\]|\d\.\d{6}$", re.MULTILINE)
_AT_ONCE = 32


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
        self._trust = trust
        self._accepted: list[RawConnection] = []  # by the reader, and not used yet

    def connections(self) -> tuple[RawConnection, RawConnection]:
        """One that the reader has accepted, and one of the other server."""
        if not self._accepted:
            self._accepted = self.through_the_reader(_AT_ONCE)
        return self._accepted.pop(0), RawConnection(self.alone.port, tls=self._trust)

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

    def ask(self, *requests: bytes) -> bytes:
        """The answers to these bytes on one connection, until it closes; the same from both."""
        answers = []
        for connection in self.connections():
            connection.send(*requests)
            answers.append(OWN.sub(rb"\1...", connection.rest()))
            connection.close()
        assert answers[0] == answers[1], requests
        return answers[0]

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
