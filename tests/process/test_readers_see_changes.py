"""Whatever changes a blob, each of several readers sees it in the next request, and counts are whole."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.http.test_access import bearer, write_clients
from tests.support.processes import Answer, Server, wait_for
from tests.support.reader_pair import wire
from tests.support.readers import Fleet

OLD = b"old value"
Change = Callable[[Server, str], bytes | None]
"""Changes what is at a location, and gives what is there then; None: nothing."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    options = {"put_creates": "true", "s3_path": "/s3", "restic": "true", "keep_deleted_s": "3600"}
    made = Fleet(tmp_path_factory.mktemp("fleet"), 3, **options)
    yield made
    made.end()


def done(answer: Answer) -> Answer:
    """It was acknowledged."""
    assert answer.status in (200, 201, 204), answer
    return answer


def overwrite(server: Server, at: str) -> bytes:
    done(server.ask("PUT", f"/store/{at}", b"new"))
    return b"new"


def delete(server: Server, at: str) -> None:
    done(server.ask("DELETE", f"/store/{at}"))


def describe(server: Server, at: str) -> bytes:
    done(server.ask("PUT", f"/store/{at}", None, {"Blob-Copy-From": f"/store/{at}", "X-Meta-A": "1"}))
    return OLD


def copy_onto(server: Server, at: str) -> bytes:
    done(server.ask("PUT", "/store/other", b"copied"))
    done(server.ask("PUT", f"/store/{at}", None, {"Blob-Copy-From": "/store/other"}))
    return b"copied"


def move_away(server: Server, at: str) -> None:
    done(server.ask("PUT", "/store/elsewhere", None, {"Blob-Move-From": f"/store/{at}"}))


def move_onto(server: Server, at: str) -> bytes:
    done(server.ask("PUT", "/store/other", b"moved"))
    done(server.ask("PUT", f"/store/{at}", None, {"Blob-Move-From": "/store/other"}))
    return b"moved"


def undelete_an_older_one(server: Server, at: str) -> bytes:
    before = server.ask("HEAD", f"/store/{at}").headers["blob-id"]
    overwrite(server, at)
    done(server.ask("POST", f"/blobs/{before}/undelete?replace"))
    return OLD


def put_by_s3(server: Server, at: str) -> bytes:
    done(server.ask("PUT", f"/s3/{at}", b"of S3"))
    return b"of S3"


def delete_by_s3(server: Server, at: str) -> None:
    done(server.ask("DELETE", f"/s3/{at}"))


def delete_many_by_s3(server: Server, at: str) -> None:
    bucket, _, key = at.partition("/")
    body = f"<Delete><Object><Key>{key}</Key></Object></Delete>".encode()
    done(server.ask("POST", f"/s3/{bucket}?delete", body))


def copy_by_s3(server: Server, at: str) -> bytes:
    done(server.ask("PUT", "/s3/bucket/source", b"copied by S3"))
    done(server.ask("PUT", f"/s3/{at}", None, {"x-amz-copy-source": "/bucket/source"}))
    return b"copied by S3"


def complete_parts(server: Server, at: str) -> bytes:
    begun = done(server.ask("POST", f"/s3/{at}?uploads")).body.decode()
    found = re.search("<UploadId>(.*)</UploadId>", begun)
    assert found
    part = done(server.ask("PUT", f"/s3/{at}?partNumber=1&uploadId={found[1]}", b"in parts")).headers["etag"]
    named = f"<Part><PartNumber>1</PartNumber><ETag>{part}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    done(server.ask("POST", f"/s3/{at}?uploadId={found[1]}", body))
    return b"in parts"


def delete_by_restic(server: Server, at: str) -> None:
    done(server.ask("DELETE", f"/{at}"))


CHANGES: list[tuple[Change, str]] = [
    *((one, "a") for one in (overwrite, delete, describe, copy_onto, move_away, move_onto)),
    (undelete_an_older_one, "a"),
    *((one, "bucket/a") for one in (put_by_s3, delete_by_s3, delete_many_by_s3, copy_by_s3, complete_parts)),
    (delete_by_restic, "restic/mine/config"),
]


def read_often(fleet: Fleet, connections: list[object], at: str, body: bytes) -> None:
    """Until each reader has the answer ready."""
    for one in connections:
        for _ in range(4):
            answer = one.ask("GET", f"/store/{at}")  # type: ignore[attr-defined]
            assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize(("change", "at"), CHANGES, ids=lambda value: getattr(value, "__name__", None))
def test_each_reader_sees_it_at_once(fleet: Fleet, change: Change, at: str) -> None:
    done(fleet.server.ask("PUT", f"/store/{at}", OLD))
    clients = fleet.of_each()
    read_often(fleet, [*clients], at, OLD)
    tag = clients[0].ask("HEAD", f"/store/{at}").headers["etag"]
    assert fleet.answered_themselves(clients)
    now = change(fleet.server, at)
    answers = [one.ask("GET", f"/store/{at}") for one in clients]
    if now is None:
        assert [one.status for one in answers] == [404] * 3
    else:
        assert [one.body for one in answers] == [now] * 3
        assert len({one.headers["blob-id"] for one in answers}) == 1
        assert {one.headers.get("x-meta-a") for one in answers} == {"1" if change is describe else None}
        assert fleet.answered_themselves(clients)
        again = [one.ask("GET", f"/store/{at}", {"If-None-Match": tag}).status for one in clients]
        assert again == [304 if now == OLD else 200] * 3
    for one in clients:
        one.close()


def test_nobody_gets_what_has_expired(fleet: Fleet) -> None:
    over_at_s = int(time.time()) + 3
    until = {"Blob-Expires": formatdate(over_at_s, usegmt=True)}
    done(fleet.server.ask("PUT", "/store/short", b"lived", until))
    clients = fleet.of_each()
    began = [[one.ask(method, "/store/short").status for one in clients] for method in ("GET", "HEAD", "GET")]
    if time.time() < over_at_s:
        assert began == [[200] * 3] * 3
        assert fleet.answered_themselves(clients)
    wait_for(lambda: time.time() >= over_at_s, what="the time")
    for method in ("HEAD", "GET"):
        for one in clients if method == "HEAD" else fleet.of_each():
            assert one.ask(method, "/store/short").status == 404
            one.close()


def test_a_key_that_was_taken_back_opens_nothing(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    write_clients(keys, "reader", "writer")
    fleet = Fleet(tmp_path, 2, auth_file=str(keys), public="open/")
    try:
        for at in ("a", "open/a"):
            done(fleet.server.ask("POST", f"/store/{at}", OLD, bearer("writer")))
        clients, strangers, others = fleet.of_each(), fleet.of_each(), fleet.of_each()
        for _ in range(4):
            assert [one.ask("GET", "/store/a", bearer("reader")).status for one in clients] == [200] * 2
            assert [one.ask("GET", "/store/a", bearer("writer")).status for one in others] == [200] * 2
            assert [one.ask("GET", "/store/open/a").status for one in strangers] == [200] * 2
        for held in (clients, others, strangers):
            assert fleet.answered_themselves(held)
        write_clients(keys, "writer")
        fleet.server.popen.send_signal(1)
        wait_for(lambda: "auth_file read again" in fleet.server.said())
        assert [one.ask("GET", "/store/a", bearer("reader")).status for one in clients] == [401] * 2
        assert [one.ask("GET", "/store/open/a").status for one in strangers] == [200] * 2
        assert [one.ask("GET", "/store/a", bearer("writer")).status for one in others] == [200] * 2
        for held in (others, strangers):
            assert fleet.answered_themselves(held)
        for one in (*clients, *strangers, *others):
            one.close()
    finally:
        fleet.end()


COUNTS = re.compile(
    r"^blobkeep_(?:requests_total|re\w+_body_bytes_total|request_duration_seconds_(?:count|bucket))\{"
    r'(?:le="\+Inf",)?method="(?:GET|PUT|HEAD)"[^}]*\} \S+$',
    re.M,
)


def counted(server: Server) -> dict[str, float]:
    """What /metrics has of requests."""
    text = server.ask("GET", "/metrics").body.decode()
    lines = (line.rpartition(" ") for line in COUNTS.findall(text))
    return {name.removeprefix("blobkeep_"): float(value) for name, _, value in lines}


@pytest.mark.parametrize("count", [2, 3])
def test_counts_are_those_of_all_processes_together(tmp_path: Path, count: int) -> None:
    fleet = Fleet(tmp_path, count, put_creates="true")
    try:
        done(fleet.server.ask("PUT", "/store/a", OLD))
        clients = fleet.of_each()
        for number, one in enumerate(clients):
            for _ in range(10 * (number + 1)):
                assert one.ask("HEAD", "/store/a").status == 200
        assert fleet.answered_themselves(clients)
        heads = sum(10 * (number + 1) for number in range(count))
        first: dict[str, float] = {'requests_total{method="HEAD",status="200"}': heads}

        def are(expected: dict[str, float]) -> bool:
            now = counted(fleet.server)
            assert all(now.get(name, 0) <= value for name, value in expected.items()), now
            return all(now.get(name, 0) == value for name, value in expected.items())

        wait_for(lambda: are(first), what="all counts")
        # One is killed after it has told its counts: they stay. Its successor adds to them.
        fleet.readers[0].kill()
        assert are(first)
        fleet.restart(fleet.readers[0])
        for one in fleet.of_each():
            for _ in range(7):  # the reader answers the first two, and hands the connection over
                one.send(wire("HEAD", "/store/a") * 2, wire("HEAD", "/store/none"), wire("HEAD", "/store/a"))
                assert [one.answer("HEAD").status for _ in range(4)] == [200, 200, 404, 200]
            one.close()
        heads += 3 * 7 * count
        last: dict[str, float] = {
            'requests_total{method="HEAD",status="200"}': heads,
            'requests_total{method="HEAD",status="404"}': 7 * count,
            'request_duration_seconds_count{method="HEAD"}': heads + 7 * count,
            'request_duration_seconds_bucket{le="+Inf",method="HEAD"}': heads + 7 * count,
            'requests_total{method="PUT",status="201"}': 1,
            'request_body_bytes_total{method="PUT"}': len(OLD),
            'response_body_bytes_total{method="HEAD"}': 0,
        }
        wait_for(lambda: are(last), what="all counts")
        # A reader that is told to stop tells the rest of its counts.
        for one in fleet.of_each():
            assert one.ask("HEAD", "/store/a").status == 200
            one.close()
        for reader in fleet.readers:
            assert reader.stop() == 0
        last['requests_total{method="HEAD",status="200"}'] += count
        wait_for(lambda: are({k: v for k, v in last.items() if "200" in k}), what="the last counts")
        for one in clients:
            one.close()
    finally:
        fleet.end()
