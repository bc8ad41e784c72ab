"""Limits: the answer when each is exceeded, if possible before the body, and that nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.http.conftest import CONNECTIONS, shared_server
from tests.support.processes import Server
from tests.support.raw import RawConnection, connected
from tests.support.rules import DataDirectory

MAX_BLOB, MAX_UPLOADS = 300_000, 3
LARGE = b"x" * 200_000  # more than what is held whole, which never waits for the client
CHUNKED = {"Transfer-Encoding": "chunked"}
MIB = 1 << 20


@pytest.fixture(scope="module", params=CONNECTIONS)
def limited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from shared_server(
        tmp_path_factory,
        request.param,
        "--max-blob-size-bytes",
        str(MAX_BLOB),
        "--max-uploads",
        str(MAX_UPLOADS),
        "--min-upload-rate",
        "0",  # so that none is slow and loses its place to another
    )


@pytest.mark.parametrize("headers", [{}, {"Expect": "100-continue"}])
def test_a_body_declared_over_max_blob_size_is_413_before_it_comes(
    headers: dict[str, str], limited: Server, location: str
) -> None:
    with connected(limited.port) as connection:
        connection.request("POST", f"/store/{location}", headers | {"Content-Length": str(MAX_BLOB + 1)})
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert limited.ask("GET", f"/store/{location}").status == 404


def test_a_chunked_body_over_max_blob_size_is_413_though_it_never_ends(
    limited: Server, location: str
) -> None:
    with connected(limited.port) as connection:
        connection.request("POST", f"/store/{location}", CHUNKED)
        for _ in range(MAX_BLOB // 100_000 + 1):
            connection.send(b"186a0\r\n", b"x" * 100_000, b"\r\n")
        assert connection.answer().status == 413
    assert limited.ask("GET", f"/store/{location}").status == 404


def test_a_body_of_exactly_max_blob_size_is_stored(limited: Server, location: str) -> None:
    assert limited.ask("POST", f"/store/{location}", b"x" * MAX_BLOB).status == 201
    assert len(limited.ask("GET", f"/store/{location}").body) == MAX_BLOB


def test_one_upload_more_than_max_uploads_is_503_with_retry_after(limited: Server, location: str) -> None:
    uploads = []
    for number in range(MAX_UPLOADS):
        upload = RawConnection(limited.port)
        upload.request(
            "POST", f"/store/{location}/{number}", {"Content-Length": "2", "Expect": "100-continue"}
        )
        assert upload.answer().status == 100  # it has its place
        uploads.append(upload)
    refused = limited.ask("POST", f"/store/{location}/more", LARGE)
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert limited.ask("GET", f"/store/{location}/more").status == 404  # reads go on
    for upload in uploads:
        upload.send(b"ab")
        assert upload.answer().status == 201
        upload.close()
    assert limited.ask("POST", f"/store/{location}/more", LARGE).status == 201


@pytest.fixture(scope="module", params=CONNECTIONS)
def nearly_full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may use 40 MiB of the disk, unless others use more of the disk meanwhile."""
    disk = os.statvfs(tmp_path_factory.getbasetemp())
    keep = disk.f_bavail * disk.f_frsize - 40 * MIB
    yield from shared_server(tmp_path_factory, request.param, "--min-free-space-bytes", str(keep))


@pytest.mark.parametrize("headers", [{}, {"Expect": "100-continue"}])
def test_a_declared_body_without_room_is_507_before_it_comes(
    headers: dict[str, str], nearly_full: Server, location: str
) -> None:
    with connected(nearly_full.port) as connection:
        connection.request("POST", f"/store/{location}", headers | {"Content-Length": str(1 << 50)})
        assert connection.answer().status == 507


@pytest.mark.slow  # others use the same disk; tests/store/test_room.py checks the same without a real disk
def test_an_undeclared_body_is_507_when_the_room_ends(nearly_full: Server, location: str) -> None:
    with connected(nearly_full.port) as connection:
        connection.request("POST", f"/store/{location}", CHUNKED)
        connection.sock.settimeout(0.001)
        answered = False
        for _ in range(1000):  # 1,000 MiB: far more than there is room for
            try:
                connection.sock.settimeout(120)
                connection.send(b"100000\r\n", b"x" * MIB, b"\r\n")
                connection.sock.settimeout(0.001)
                answered = bool(connection.sock.recv(1))
                break
            except TimeoutError:
                continue
            except ConnectionError:  # with Tornado's own connection the answer may be lost
                answered = True
                break
        assert answered
    assert nearly_full.ask("GET", f"/store/{location}").status == 404


@pytest.mark.slow
def test_without_a_free_id_an_upload_is_507_and_says_when_to_come_back(
    start_server: StartServer, data: DataDirectory
) -> None:
    server = start_server()
    server.ask("POST", "/store/there", b"old")
    taken = {int(name) for name in os.listdir(data.root) if name.isdigit()}
    others = [number for number in range(65_536) if number not in taken]
    for number in others:
        os.mkdir(f"{data.root}/{number}", 0o700)
    for method, target in (("POST", "/store/new"), ("PUT", "/store/there")):
        answer = server.ask(method, target, b"x")  # the folders might be garbage that the gc is about to free
        assert (answer.status, answer.headers["retry-after"]) == (507, "5")
    assert server.ask("GET", "/store/there").body == b"old"
    assert server.ask("DELETE", "/store/there").status == 200
    for number in others:
        os.rmdir(f"{data.root}/{number}")
    assert server.ask("POST", "/store/new", b"x").status == 201
