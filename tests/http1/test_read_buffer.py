"""Bodies that are read into memory that is used again: nobody gets bytes that were read later."""

from __future__ import annotations

import errno
import mmap
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from common.read_buffer import ROOM_BYTES, ReadBuffer, read_buffer
from services.engines.local.disk import read_nowait
from services.http1 import RequestContext, RequestHead
from tests.http1.serving import NothingIsReady, running, wait_until
from tests.http1.test_tls import certificate, connect  # noqa: F401 - a fixture

SIZE = 64 << 10
FILES = 120  # together more than the system takes of an answer that nobody reads
REQUEST = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def bodies(tmp_path: Path) -> list[bytes]:
    made = [random.Random(number).randbytes(SIZE - number % 3) for number in range(FILES)]
    for number, body in enumerate(made):
        (tmp_path / str(number)).write_bytes(body)
    return made


def answering(folder: Path) -> Callable[[RequestHead, RequestContext], tuple[bytes, memoryview] | None]:
    """Answers with the file that the target names."""

    def answer(head: RequestHead, context: RequestContext) -> tuple[bytes, memoryview] | None:
        path = f"{folder}{head.start_line.path}"
        body = read_nowait.read_file_nowait(path, os.stat(path).st_size)
        if body is None:
            return None
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body

    return answer


@pytest.mark.parametrize("way", ["uvloop", "asyncio", "plain transport", "uvloop, TLS", "asyncio, TLS"])
def test_clients_that_take_nothing_for_a_while_get_their_bytes(
    way: str,
    tmp_path: Path,
    bodies: list[bytes],
    certificate: dict[str, str],  # noqa: F811
) -> None:
    tls = certificate if "TLS" in way else None
    answers = NothingIsReady() if way == "plain transport" else None
    with running(with_uvloop="asyncio" not in way, ssl_options=tls, answers=answers) as server:
        server.server.quick_answer = answering(tmp_path)
        silent = connect(server, certificate) if tls else server.connect(SO_RCVBUF=4096)
        with silent, connect(server, certificate) if tls else server.connect() as other:
            silent.send(b"".join(REQUEST % number for number in range(FILES)))
            wait_until(
                lambda: server.call(lambda: any(c.transport.writing_paused for c in server.server._open)),
                "the first client is waited for",
            )
            for number in range(FILES):  # what is read now must not reach the first one
                other.send(REQUEST % number)
                assert other.answer()[2] == bodies[number]
            for number in range(FILES):
                assert silent.answer()[2] == bodies[number]


@pytest.mark.parametrize("with_uvloop", [True, False])
def test_short_answers_that_nobody_takes_keep_no_memory_of_their_own(
    with_uvloop: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[memoryview] = []

    def counted(most_bytes: int) -> memoryview:
        made.append(read_buffer(most_bytes))
        return made[-1]

    monkeypatch.setattr(read_nowait, "read_buffer", counted)
    (tmp_path / "0").write_bytes(bytes(range(200)) * 20)
    with running(with_uvloop=with_uvloop) as server, server.connect(SO_RCVBUF=4096) as silent:
        server.server.quick_answer = answering(tmp_path)
        while not server.call(lambda: any(c.transport.writing_paused for c in server.server._open)):
            silent.send(REQUEST % 0 * 50)
    assert len(made) <= 1  # in place of one that another test has lent


def test_a_file_is_closed_where_there_is_no_memory_for_it(
    tmp_path: Path, bodies: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(size: int) -> memoryview:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(read_nowait, "read_buffer", none_left)
    monkeypatch.setattr(read_nowait._place.buffer, "is_lent", True)
    monkeypatch.setattr(read_nowait, "_places", [])
    before = os.listdir("/proc/self/fd")
    assert read_nowait.read_file_nowait(f"{tmp_path}/0", len(bodies[0])) is None
    assert os.listdir("/proc/self/fd") == before


def read_into(data: bytes) -> tuple[memoryview, memoryview]:
    """Memory into which `data` was read, and its body."""
    memory = read_buffer(SIZE)
    body = memory[ROOM_BYTES : ROOM_BYTES + len(data)]
    body[:] = data
    cast(ReadBuffer, memory.obj).body_bytes = len(data)
    return memory, body


def test_a_head_goes_before_a_body_without_a_copy() -> None:
    memory, body = read_into(b"12345" * (SIZE // 5))
    buffer = cast(ReadBuffer, memory.obj)
    for head in (b"", b"head", b"h" * ROOM_BYTES):
        data = buffer.in_one(head, body)
        assert isinstance(data, memoryview)
        assert data.obj is buffer
        assert data == head + bytes(body)
    assert ROOM_BYTES % mmap.PAGESIZE == 0


def test_what_is_not_all_of_a_buffer_is_joined() -> None:
    read = b"12345" * (SIZE // 5)
    memory, body = read_into(read)
    buffer = cast(ReadBuffer, memory.obj)
    for head, part in ((b"head", body[1:]), (b"h" * ROOM_BYTES + b"h", body)):
        assert buffer.in_one(head, part) == head + bytes(part)
        assert bytes(body) == read


def test_memory_that_is_lent_is_not_read_into(tmp_path: Path, bodies: list[bytes]) -> None:
    first = read_nowait.read_file_nowait(f"{tmp_path}/0", len(bodies[0]))
    assert first is not None
    cast(ReadBuffer, first.obj).is_lent = True
    second = read_nowait.read_file_nowait(f"{tmp_path}/1", len(bodies[1]))
    third = read_nowait.read_file_nowait(f"{tmp_path}/2", len(bodies[2]))
    assert first == bodies[0]
    assert second is not None and third is not None  # noqa: PT018
    assert third == bodies[2]
    assert second.obj is third.obj  # which is used again
