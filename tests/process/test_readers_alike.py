"""What a client gets through a reader, and what is written of it, is what the server alone gives: the same
requests are sent to a server with readers and to one without.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from services.access import file as access_file
from services.access.secret_hash import hash_token
from services.engines.local.disk import layout
from tests.http.test_damage import rot
from tests.support import readers
from tests.support.processes import Server, wait_for
from tests.support.raw import RawConnection
from tests.support.reader_pair import Pair, wire, without_times


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    made: list[Pair] = []

    def start(**options: str) -> Pair:
        made.append(Pair(tmp_path / str(len(made)), options))
        return made[-1]

    yield start
    for one in made:
        one.end()


CLOSE = "Connection: close"
CONDITIONS = [
    (),
    ("If-None-Match: *",),
    ("If-None-Match: {etag}",),
    ("If-None-Match: W/{etag}",),
    ('If-None-Match: "a", {etag}',),
    ("If-None-Match: {etag}", "If-None-Match: *"),
    ('If-Match: "no such tag"',),
    ("If-Match: {etag}",),
    ("If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT",),
    ("If-Modified-Since: rubbish",),
    ("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT",),
    ("If-None-Match: {etag}", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Range: bytes=0-3",),
    ("Range: bytes=-2",),
    ("Range: bytes=0-0,2-2",),
    ("Range: bytes=999999999-",),
    ("Range: bytes=0-3", "If-Range: {etag}"),
    ("Range: bytes=0-3", "If-None-Match: {etag}"),
    ("Accept-Encoding: gzip, br", "Accept: text/html", "Cookie: a=b"),
    ("Origin: http://elsewhere.example",),
    ("Content-Length: 0",),
    ("Authorization: Bearer nobody",),
]
BLOBS = {
    "empty": b"",
    "small": b"0123456789",
    "64k": bytes(range(256)) * 256,
    "more": bytes(range(256)) * 256 + b"x",
    "a/b%20c/%C3%BC%25": b"odd",
}
ODD = [
    *("/store/large", "/store/none", "/store/a//b", "/store/./small", "/store/a/../small", "/store/small/"),
    *("/store/small?", "/store/small?a=b", "/store/%73mall", "/store/small;x", "/store/%0a"),
    *("/store/?limit=x", "/blobs/x", "/blobs/1/data"),
    *("/nothing", "//store/small", "/STORE/small", "/s3/b/key", "/s3/b/none"),
]


def test_reads_are_answered_byte_for_byte_alike(pair: Callable[..., Pair]) -> None:
    both = pair(s3_path="/s3")
    large = bytes(1_200_000)
    for location, body in (BLOBS | {"large": large, "b/key": b"of s3"}).items():
        both.put(location, body, Content_Type="text/plain", X_Meta_Of="a", Cache_Control="no-cache")
    for location in BLOBS:
        target = f"/store/{location}"
        tag = both.alone.ask("HEAD", target).headers["etag"]
        for fields in CONDITIONS:
            sent = [field.format(etag=tag) for field in fields]
            both.ask(wire("GET", target, *sent) * 2, wire("HEAD", target, *sent, CLOSE))
    for target in ODD:
        for method in ("GET", "HEAD"):
            both.ask(wire(method, target) * 2, wire(method, "/store/small", CLOSE))


def test_a_reader_lets_in_whom_the_server_does(pair: Callable[..., Pair], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    clients = [
        access_file.make_client(name, role, prefix, hash_token(f"token-of-{name}"))
        for name, role, prefix in (
            *(("all", "read-write", ""), ("reads", "read-only", ""), ("adds", "append-only", "")),
            *(("team", "read-write", "team/"), ("teamreads", "read-only", "team/")),
        )
    ]
    keys.write_text("".join(map(access_file.entry_text, clients)))
    keys.chmod(0o600)
    both = pair(auth_file=str(keys), public="open/")
    owner = "Bearer token-of-all"
    for at in ("team/a", "teams", "other/a", "open/a"):
        both.put(at, b"0123456789", Authorization=owner)
    tag = both.alone.ask("HEAD", "/store/open/a").headers["etag"]
    found = set()
    for who in (*(client.name for client in clients), "nobody", ""):
        credentials = [f"Authorization: Bearer token-of-{who}"] if who else []
        for at in ("team/a", "teams", "other/a", "open/a", "team/none", "none"):
            for fields in ((), (f"If-None-Match: {tag}",), ("Range: bytes=1-2",)):
                target = f"/store/{at}"
                answers = both.ask(
                    wire("GET", target, *credentials, *fields) * 2,
                    wire("HEAD", target, *credentials, *fields, CLOSE),
                )
                found.add((who, at, answers[9:12]))
    assert {status for who, at, status in found if at == "teams"} == {b"200", b"304", b"206", b"401", b"403"}
    assert {who for who, at, status in found if at == "teams" and status == b"200"} == {
        "all",
        "reads",
        "adds",
    }


def test_a_readers_line_in_the_access_log_is_the_servers(pair: Callable[..., Pair], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(
        access_file.entry_text(access_file.make_client("me", "read-write", "", hash_token("token")))
    )
    keys.chmod(0o600)
    both = pair(access_log="true", auth_file=str(keys), public="open/")
    who = "Authorization: Bearer token"
    for at in ("a", "open/a"):
        both.put(at, b"12345", Authorization="Bearer token")
    both.both(lambda server: server.ask("HEAD", "/store/open/a"))
    tag = f'"{hashlib.sha256(b"12345").hexdigest()}"'
    agent = ('User-Agent: x" 500\\', "Referer: http://from.example/")
    through, alone = both.connections()
    for method, target, *fields in (
        ("GET", "/store/a", who, *agent),
        ("HEAD", "/store/a", who),
        ("GET", "/store/open/a"),
        ("GET", "/store/open/a", f"If-None-Match: {tag}", *agent),
        ("HEAD", "/store/open/a", who, f"If-None-Match: {tag}"),
    ):
        for connection in (through, alone):
            connection.send(wire(method, target, *fields))
            assert connection.answer(method).status in (200, 304)
    # At least these: requests of their own connections may have been the reader's, too.
    wait_for(lambda: both.reader.said().count("HTTP/1.1") >= 5, what="the reader's lines")
    # The connection moves: the server writes the line.
    for connection in (through, alone):
        connection.send(wire("GET", "/store/none", who, *agent))
        assert connection.answer().status == 404
        connection.close()
    wait_for(lambda: {log.count("HTTP/1.1") for log in both.logs()} == {9}, what="the last lines")
    shared, single = ([line for line in map(without_times, log) if line] for log in both.logs_by_line())
    assert shared == single
    assert sum('"GET /store/a HTTP/1.1" 200 5' in line for line in shared) == 1
    assert sum(" - me [" in line for line in shared) >= 4


def is_quarantined(root: str, count: int) -> bool:
    return len(os.listdir(f"{root}/{layout.QUARANTINE_NAME}")) == count


def test_damage_that_a_reader_meets_is_the_servers_to_tell(pair: Callable[..., Pair]) -> None:
    both = pair()
    states = []
    for data in both.directories:
        data.rotten = True
    for at, size in (("small", 1000), ("whole", 65_536)):
        body = os.urandom(size)
        both.put(at, body)
        for server, data in zip((both.shared, both.alone), both.directories, strict=True):
            rot(server, data, at, size // 2)
        for _ in range(2):
            answers = both.ask(wire("GET", f"/store/{at}", CLOSE))
            assert answers.startswith(b"HTTP/1.1 500 ")
            assert body[:100] not in answers
        assert both.ask(wire("HEAD", f"/store/{at}", CLOSE)).startswith(b"HTTP/1.1 500 ")
    for server, data in zip((both.shared, both.alone), both.directories, strict=True):
        wait_for(partial(is_quarantined, data.root, 2), what="both in quarantine, behind the answers")
        metrics = server.ask("GET", "/metrics").body.decode()
        counted = sorted(
            line for line in metrics.splitlines() if re.match("blobkeep_.*(damage|quarantine)", line)
        )
        told = re.findall(r"(?:ERROR|WARNING).*damaged.*", server.said())
        states.append((counted, [re.sub(r"\b\d[\d:.TZ-]*", "N", line) for line in told]))
    assert states[0] == states[1]
    assert states[0][0]
    assert states[0][1]
    assert "damaged" not in both.reader.said()


def exchange(server: Server, root: str, one: str, other: str) -> None:
    """Exchange the folders of two blobs, as somebody might by hand."""
    first, second = (f"{root}/{server.ask('HEAD', f'/store/{at}').headers['blob-id']}" for at in (one, other))
    os.rename(first, f"{root}/between")
    os.rename(second, first)
    os.rename(f"{root}/between", second)


def test_a_write_of_what_is_being_settled_is_told_when_to_come_back(pair: Callable[..., Pair]) -> None:
    """The folder of its old blob has another blob's state. The writes change nothing."""
    both = pair(s3_path="/s3", restic="true", put_creates="true")
    for at in ("bucket/a", "bucket/b", "restic/mine/config", "other"):
        both.put(at, b"0123456789")
    both.ask(wire("GET", "/store/bucket/a") * 3, wire("GET", "/store/restic/mine/config", CLOSE))
    servers = list(zip((both.shared, both.alone), both.directories, strict=True))
    for server, data in servers:
        exchange(server, data.root, "bucket/a", "restic/mine/config")
    for method, target, *fields in (
        ("PUT", "/store/bucket/a", "Content-Length: 3"),
        ("PUT", "/store/bucket/a", "Content-Length: 3", "If-Match: *"),
        ("PUT", "/store/bucket/a", "Content-Length: 0", "Blob-Copy-From: /store/other"),
        ("DELETE", "/store/bucket/a"),
        ("PUT", "/s3/bucket/a", "Content-Length: 3"),
        ("PUT", "/s3/bucket/a", "Content-Length: 0", "x-amz-copy-source: /bucket/b"),
        ("DELETE", "/s3/bucket/a"),
        ("DELETE", "/restic/mine/config"),
    ):
        body = b"new" if "Content-Length: 3" in fields else b""
        answer = both.ask(wire("GET", "/store/other"), wire(method, target, *fields, CLOSE), body)
        refused = answer[answer.index(b"HTTP/1.1", 1) :]
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in refused
        assert (b"<Code>SlowDown</Code>" in refused) == target.startswith("/s3/")
    for server, data in servers:
        exchange(server, data.root, "bucket/a", "restic/mine/config")
    for at in ("bucket/a", "restic/mine/config"):
        kept = both.ask(wire("GET", f"/store/{at}", CLOSE))
        assert kept.endswith(b"0123456789")


def test_a_reader_that_dies_or_stands_still_cuts_its_own_connections_alone(pair: Callable[..., Pair]) -> None:
    """In the middle of an answer to many requests, which its client has not taken."""
    both = pair()
    both.put("a", bytes(65_536))
    (through,) = both.through_the_reader(1)
    through.send(wire("GET", "/store/a") * 2000)
    assert through.answer().body == bytes(65_536)
    os.kill(both.reader.pid, signal.SIGSTOP)
    assert both.shared.ask("PUT", "/store/a", b"new").status == 200
    direct = readers.accepted_by(
        both.shared, [], lambda: RawConnection(both.shared.port), lambda one: one.sock
    )
    assert direct.ask("GET", "/store/a").body == b"new"
    both.reader.kill()
    begun = through.rest()  # what had been sent, and then the end
    assert len(begun) < 1999 * 65_536
    assert direct.ask("GET", "/store/a").body == b"new"
    both.reader.restart()
    readers.wait_until_there(both.reader)
    (again,) = both.through_the_reader(1)
    assert again.ask("GET", "/store/a").body == b"new"
    for one in (through, direct, again):
        one.close()
