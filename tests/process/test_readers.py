"""Reader processes beside a real server: no read is stale, and clients see one server on one port."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common import self_report
from services.engines.local.disk import layout
from tests.conftest import StartServer
from tests.http.test_access import bearer, write_clients
from tests.http.test_tls import make_certificate
from tests.support import readers
from tests.support.processes import Answer, Process, Server, wait_for
from tests.support.rules import DataDirectory

Start = Callable[..., tuple[Server, list[Process]]]


_clients: list[Client] = []  # of the current test


class Client:
    """One connection that stays open."""

    def __init__(
        self, port: int, headers: dict[str, str] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        if tls is not None:
            self.connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=120, context=tls)
        self._headers = headers or {}
        _clients.append(self)

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Answer:
        fields = self._headers | {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, target, body, fields)
        answer = self.connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())

    def ask_often(self, target: str, body: bytes, **headers: str) -> None:
        """Send a GET, answered with `body`, so often that its answer is ready (http1/turns.py)."""
        for _ in range(5):
            answer = self.ask("GET", target, None, **headers)
            assert (answer.status, answer.body) == (200, body)


@pytest.fixture
def start(start_server: StartServer, data: DataDirectory, tmp_path: Path) -> Iterator[Start]:
    """Starts a server and its readers. Options come from the environment."""
    started: list[Process] = []

    def start_all(*flags: str, count: int = 1, **options: str) -> tuple[Server, list[Process]]:
        env = {"BLOBKEEP_READERS": str(count)} | {
            f"BLOBKEEP_{name.upper()}": value for name, value in options.items()
        }
        server = start_server(*flags, env=env)
        mine = [readers.started_reader(data.path, number, env) for number in range(count)]
        started.extend(mine)
        for reader in mine:
            readers.wait_until_there(reader)
        return server, mine

    yield start_all
    for client in _clients:
        client.connection.close()
    _clients.clear()
    for process in started:
        process.end()


def owner_of(client: Client, processes: list[Process]) -> Process | None:
    """The first of these that has the connection: a reader keeps what it hands over a moment longer."""
    return readers.owner_of(client.connection.sock, processes)


def client_of(
    reader: Process | None, server: Server, *others: Process, tls: ssl.SSLContext | None = None
) -> Client:
    """A new connection that `reader` has accepted; None: the server itself."""

    def connect() -> Client:
        client = Client(server.port, tls=tls)
        client.connection.connect()
        return client

    taker, still = (server, [*others]) if reader is None else (reader, [server, *others])
    return readers.accepted_by(taker, still, connect, lambda one: one.connection.sock)


def test_a_reader_answers_and_hands_over(start: Start) -> None:
    """The reader answers a GET, a HEAD and a 304 itself. For anything else the connection goes to the
    server.
    """
    server, (reader,) = start()
    assert server.ask("POST", "/store/a", b"one").status == 201
    client = client_of(reader, server)
    plain = client.ask("GET", "/store/a")
    assert (plain.status, plain.body) == (200, b"one")
    assert client.ask("HEAD", "/store/a").headers["content-length"] == "3"
    assert client.ask("GET", "/store/a", If_None_Match=plain.headers["etag"]).status == 304
    assert owner_of(client, [server, reader]) is reader
    assert client.ask("GET", "/store/none").status == 404
    assert owner_of(client, [server, reader]) is server
    assert client.ask("GET", "/store/a").body == b"one"
    for size in (10, 300_000):  # a body has begun to come
        writer, body = client_of(reader, server), os.urandom(size)
        assert writer.ask("POST", f"/store/{size}", body).status == 201
        assert writer.ask("GET", f"/store/{size}").body == body
    # Pipelined: two requests that the reader answers, a write, a read that sees it, and the end.
    sock = client_of(reader, server).connection.sock
    get = b"GET /store/a HTTP/1.1\r\nHost: localhost\r\n\r\n"
    put = b"PUT /store/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nnew"
    sock.sendall(get + get + put + get)
    sock.shutdown(socket.SHUT_WR)
    answers = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200 OK") == 4
    assert [answers.count(b"\r\n\r\none"), answers.count(b"\r\n\r\nnew")] == [2, 1]
    assert answers.endswith(b"new")


def test_a_connection_switches_between_what_a_reader_has_ready_and_what_it_has_not(start: Start) -> None:
    """The connection stays with the reader, and each request sees the last write. The same holds for the
    server's own connections.
    """
    server, (reader,) = start()
    for at in ("a", "b"):
        assert server.ask("POST", f"/store/{at}", b"0").status == 201
    for client, owner in ((client_of(reader, server), reader), (client_of(None, server, reader), server)):
        for value in (b"1", b"2"):
            for at in ("a", "b"):
                assert server.ask("PUT", f"/store/{at}", value).status == 200
                client.ask_often(f"/store/{at}", value)
                tag = client.ask("HEAD", f"/store/{at}").headers["etag"]
                assert client.ask("GET", f"/store/{at}", If_None_Match=tag).status == 304
        assert owner_of(client, [server, reader]) is owner
        assert client.ask("PUT", "/store/a", b"3").status == 200
        client.ask_often("/store/a", b"3")
        assert owner_of(client, [server, reader]) is server


def test_no_read_after_a_write_is_stale(start: Start) -> None:
    """Two readers, many connections: a client that got the answer to a write sees that write or a later
    one on any connection.
    """
    server, two = start(count=2)
    blobs = 4
    acknowledged = [0] * blobs
    for number in range(blobs):
        assert server.ask("POST", f"/store/{number}", b"0").status == 201
    done = threading.Event()
    stale: list[str] = []
    reads = [0]

    def read(client: Client, first: int) -> None:
        at = first
        while not done.is_set():
            at = (at + 1) % blobs
            before = acknowledged[at]
            answer = client.ask("GET", f"/store/{at}")
            after_it = int(answer.body) if answer.status == 200 else -1
            if after_it < before:
                stale.append(f"blob {at}: {before} was acknowledged, then {after_it} read")
            reads[0] += 1

    clients = [client_of(two[one % 2], server, two[1 - one % 2]) for one in range(8)]
    threads = [threading.Thread(target=read, args=(one, number)) for number, one in enumerate(clients)]
    for client in clients:
        assert client.ask("GET", "/store/0").body == b"0"
    assert {owner_of(client, [server, *two]) for client in clients} == set(two)
    for thread in threads:
        thread.start()
    writer, value = Client(server.port), 0
    while value < 100 or reads[0] < 300:
        value += 1
        at = value % blobs
        assert writer.ask("PUT", f"/store/{at}", str(value).encode()).status == 200
        acknowledged[at] = value
    done.set()
    for thread in threads:
        thread.join()
    assert stale == []


def test_what_was_deleted_is_gone_at_once(start: Start) -> None:
    server, (reader,) = start()
    client = client_of(reader, server)
    for turn in range(5):
        assert server.ask("POST", "/store/a", str(turn).encode()).status == 201
        client.ask_often("/store/a", str(turn).encode())
        assert server.ask("DELETE", "/store/a").status == 200
        assert client.ask("GET", "/store/a").status == 404
        client = client_of(reader, server)


def test_a_dead_server_leaves_readers_that_answer(start: Start) -> None:
    """While the server is dead, nobody can write. Clients see its successor at once, also those that
    asked before.
    """
    server, (reader,) = start()
    assert server.ask("POST", "/store/a", b"old").status == 201
    client, other = client_of(reader, server), client_of(reader, server)
    client.ask_often("/store/a", b"old")
    other.ask_often("/store/a", b"old")
    server.kill()
    wait_for(lambda: "the server is gone" in reader.said())
    assert client.ask("GET", "/store/a").body == b"old"
    waiting: list[Answer] = []
    thread = threading.Thread(target=lambda: waiting.append(other.ask("PUT", "/store/a", b"new")))
    thread.start()
    server.restart()
    thread.join()
    assert [answer.status for answer in waiting] == [200]
    assert client.ask("GET", "/store/a").body == b"new"
    assert server.ask("PUT", "/store/a", b"newer").status == 200
    assert client.ask("GET", "/store/a").body == b"newer"


def test_a_reader_that_stood_still_says_nothing_old(start: Start) -> None:
    """A reader is stopped while its server dies, and the next server acknowledges a write. What the
    reader knows is then void.
    """
    server, (reader,) = start()
    assert server.ask("POST", "/store/a", b"old").status == 201
    client = client_of(reader, server)
    client.ask_often("/store/a", b"old")
    os.kill(reader.pid, signal.SIGSTOP)
    try:
        server.kill()
        server.restart()
        assert server.ask("PUT", "/store/a", b"new").status == 200
        client.connection.request("GET", "/store/a")
    finally:
        os.kill(reader.pid, signal.SIGCONT)
    assert client.connection.getresponse().read() == b"new"


def test_a_killed_reader_closes_its_connections_and_no_more(start: Start) -> None:
    server, (reader,) = start()
    assert server.ask("POST", "/store/a", b"one").status == 201
    client = client_of(reader, server)
    reader.kill()
    with pytest.raises((http.client.HTTPException, OSError)):
        client.ask("GET", "/store/a")
    assert server.ask("GET", "/store/a").body == b"one"
    reader.restart()
    readers.wait_until_there(reader)
    assert client_of(reader, server).ask("GET", "/store/a").body == b"one"
    report = self_report.read(f"{server.root}/{layout.STATUS_NAME}", "reader-0")
    assert report is not None
    assert (report.starts, report.crashes, report.pid) == (2, 1, reader.pid)


def test_who_may_is_asked_of_the_server(start: Start, tmp_path: Path) -> None:
    """A reader answers the clients that the server named, and none of them after the rules have changed."""
    file = tmp_path / "clients.toml"
    write_clients(file, "reader", "writer")
    server, (reader,) = start(auth_file=str(file), public="open/")
    for target in ("/store/a", "/store/open/a"):
        assert server.ask("POST", target, b"one", bearer("writer")).status == 201
    client, nobody, stranger = (client_of(reader, server) for _ in range(3))
    known = bearer("reader")["Authorization"]
    client.ask_often("/store/a", b"one", Authorization=known)
    nobody.ask_often("/store/open/a", b"one")
    assert [owner_of(one, [server, reader]) for one in (client, nobody)] == [reader, reader]
    assert nobody.ask("GET", "/store/a").status == 401
    assert stranger.ask("GET", "/store/a", Authorization="Bearer wrong").status == 401
    write_clients(file, "writer")
    server.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: "auth_file read again" in server.said())
    assert client.ask("GET", "/store/a", Authorization=known).status == 401


def test_host_names_are_judged_as_by_the_server_that_is_there_now(start: Start, tmp_path: Path) -> None:
    """A server that needs tokens answers under every host name. Its successor needs none, so it answers
    only under its own names. The connection and the request are the same that the reader answered before.
    """
    file = tmp_path / "clients.toml"
    write_clients(file, "writer")
    server, (reader,) = start(auth_file=str(file), public="open/")
    assert server.ask("POST", "/store/open/a", b"one", bearer("writer")).status == 201
    client = client_of(reader, server)
    client.ask_often("/store/open/a", b"one", Host="rebound.example")
    assert owner_of(client, [server, reader]) is reader
    server.kill()
    wait_for(lambda: "the server is gone" in reader.said())
    del server._env["BLOBKEEP_AUTH_FILE"]
    server.restart()
    wait_for(lambda: reader.said().count("answers for the server") == 2)
    assert client.ask("GET", "/store/open/a").body == b"one"
    assert owner_of(client, [server, reader]) is reader
    assert client.ask("GET", "/store/open/a", Host="rebound.example").status == 421


def test_readers_speak_tls_and_the_server_answers_what_they_do_not(start: Start, tmp_path: Path) -> None:
    """A TLS connection stays with the reader. What the reader cannot answer, it passes to the server
    without TLS.
    """
    cert, key = make_certificate(tmp_path)
    server, (reader,) = start(tls_cert=str(cert), tls_key=str(key), access_log="true")
    trust = ssl.create_default_context(cafile=str(cert))
    writer = Client(server.port, tls=trust)
    assert writer.ask("POST", "/store/a", b"one").status == 201
    client = client_of(reader, server, tls=trust)
    assert client.ask("GET", "/store/a").body == b"one"
    os.kill(server.pid, signal.SIGSTOP)
    try:
        assert client.ask("GET", "/store/a").body == b"one"  # so this is the reader's answer
    finally:
        os.kill(server.pid, signal.SIGCONT)
    body = os.urandom(3_000_000)
    for value in (b"two", body):
        assert client.ask("PUT", "/store/a", value).status == 200
        assert client.ask("GET", "/store/a").body == value
    assert client.ask("GET", "/store/none").status == 404
    assert owner_of(client, [server, reader]) is reader
    # Server and readers read the certificate again.
    other, _ = make_certificate(tmp_path, "other")
    other.replace(cert)
    (tmp_path / "other.key").replace(key)
    server.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: "tls_cert and tls_key read again" in server.said())
    now = ssl.create_default_context(cafile=str(cert))

    def is_renewed() -> bool:
        with contextlib.suppress(ssl.SSLError):
            return client_of(reader, server, tls=now).ask("GET", "/store/none").status == 404
        return False

    wait_for(is_renewed)
    assert '"PUT /store/a HTTP/1.1" 200' in server.said()
    assert "127.0.0.1 - - [" in server.said().partition("PUT /store/a")[0].rpartition("\n")[2]


def test_readers_are_watched_and_counted_as_the_server(start: Start) -> None:
    server, (reader,) = start()
    assert server.ask("POST", "/store/a", b"one").status == 201
    client = client_of(reader, server)
    for _ in range(100):
        assert client.ask("GET", "/store/a").status == 200
    assert owner_of(client, [server, reader]) is reader
    wait_for(lambda: b'requests_total{method="GET",status="200"} 10' in server.ask("GET", "/metrics").body)
    now = json.loads(server.ask("GET", "/healthz?verbose").body)
    (shown,) = [one for one in now["processes"] if one["name"] == "reader-0"]
    assert (shown["pid"], shown["state"], shown["crashes"]) == (reader.pid, "up", 0)
    assert {"reader-0"} <= {check["name"] for check in now["checks"]}
    assert reader.stop() == 0
    wait_for(lambda: b'"stopped"' in server.ask("GET", "/healthz?verbose").body)


def test_a_reader_with_other_options_than_the_server_ends(start_server: StartServer) -> None:
    """The server was started again with other options: supervisord must start the reader with these, too."""
    env = {"BLOBKEEP_READERS": "1"}
    server = start_server(env=env)
    reader = readers.started_reader(server.root, 0, {**env, "BLOBKEEP_PUBLIC": "a/"})
    try:
        assert reader.popen.wait(120) == 1
        assert "its options are not ours" in reader.said()
    finally:
        reader.end()
