"""Reader processes beside a real server, and connections that one of them accepts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tests.support.processes import Process, Server, wait_for
from tests.support.raw import RawConnection
from tests.support.rules import DataDirectory

T = TypeVar("T")


def started_reader(root: Path, number: int, env: Mapping[str, str]) -> Process:
    """A reader of the server on `root`, with the options `env`; see `wait_until_there`."""
    return Process(f"reader-{number}", root, module="services.reader", env=dict(env))


def wait_until_there(reader: Process) -> None:
    """Wait until the server has let it in."""

    def is_in() -> bool:
        assert reader.popen.poll() is None, reader.said()
        return "answers for the server" in reader.said()

    wait_for(is_in, what="a reader's hello")


def owner_of(sock: socket.socket, processes: list[Process]) -> Process | None:
    """Which of these processes has the other end of a connection, by the kernel's tables."""
    inodes = _other_ends(sock.getsockname()[1])
    return next((process for process in processes if inodes & _inodes(process)), None)


def is_held(port: int) -> bool:
    """Whether any process has the other end of the connection whose end here has, or had, `port`. This is so,
    too, while one process hands it to another, and it is not before somebody accepts it.
    """
    return bool(_other_ends(port))


def _other_ends(port: int) -> set[str]:
    """The inodes of the sockets of this machine that are connected to `port`."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = {fields[9] for fields in lines if int(fields[2].split(":")[1], 16) == port}
    return found - {"0"}  # closed, or not accepted yet


def accepted_by(
    reader: Process, others: list[Process], connect: Callable[[], T], sock_of: Callable[[T], socket.socket]
) -> T:
    """A connection made by `connect` that `reader` accepts. The other processes, which also accept, are
    stopped meanwhile.
    """
    for other in others:
        os.kill(other.pid, signal.SIGSTOP)
    try:
        for other in others:
            wait_for(lambda other=other: _is_stopped(other))  # type: ignore[misc]
        made = connect()
        wait_for(lambda: owner_of(sock_of(made), [reader]), what="a reader's accept")
    finally:
        for other in others:
            os.kill(other.pid, signal.SIGCONT)
    return made


def _inodes(process: Process) -> set[str]:
    """Of its sockets."""
    links = [_link(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")]
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def _is_stopped(process: Process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b") ")[2][:1] == b"T"


def _link(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""


class Fleet:
    """A server with readers, and connections that a certain reader has accepted."""

    def __init__(self, root: Path, count: int, **options: str) -> None:
        self.data = DataDirectory(root / "data")
        env = {f"BLOBKEEP_{name.upper()}": value for name, value in options.items()}
        env["BLOBKEEP_READERS"] = str(count)
        self.server = Server(self.data.path, env=env)
        self.readers = [started_reader(self.data.path, number, env) for number in range(count)]
        for reader in self.readers:
            wait_until_there(reader)
        self._unused: dict[Process, list[RawConnection]] = {reader: [] for reader in self.readers}

    def connection(self, reader: Process) -> RawConnection:
        """One that `reader` has accepted."""
        unused = self._unused[reader]
        if not unused:  # some at once, since the others stand still meanwhile
            others = [one for one in (self.server, *self.readers) if one is not reader]
            made = accepted_by(reader, others, self._some, lambda some: some[-1].sock)
            unused.extend(made)
        return unused.pop(0)

    def _some(self) -> list[RawConnection]:
        return [RawConnection(self.server.port) for _ in range(24)]

    def of_each(self) -> list[RawConnection]:
        """A connection of each reader."""
        return [self.connection(reader) for reader in self.readers]

    def answered_themselves(self, connections: list[RawConnection]) -> bool:
        """Whether each reader still has its connection: who cannot answer hands it over."""
        processes: list[Process] = [self.server, *self.readers]
        return [owner_of(one.sock, processes) for one in connections] == self.readers

    def restart(self, reader: Process) -> None:
        """Start a reader that was killed again."""
        for one in self._unused[reader]:
            one.close()
        self._unused[reader] = []
        reader.restart()
        wait_until_there(reader)

    def end(self) -> None:
        for connections in self._unused.values():
            for one in connections:
                one.close()
        for process in (*self.readers, self.server):
            process.end()
            assert "Traceback" not in process.said()
        self.data.check()
