"""Calls of Python functions for a small create, on the loop and in the committer's thread. They are counted
on a server in this process, one request after the other, so a batch is one create. A count above the recorded
one fails: something came in by mistake, or it is worth its cost, and then the record says why.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import sys
import threading
from collections import Counter
from types import FrameType
from typing import Any

import pytest

from common.checksum import Bytes
from common.config import Config
from services.access.decisions import Access
from services.engine import Events
from services.engines.local.serving import upload
from services.engines.local.serving.data_writer import DataWriter
from services.frontends.native.fast_path import FastPath
from services.http1 import HTTPServer
from services.http1.connection import Connection
from services.http1.context import RequestContext
from services.watch.feed import Feed
from services.watch.request_log import RequestLog
from tests.cuts.recorder import ListLog, recording
from tests.support.processes import ROOT
from tests.support.rules import DataDirectory
from tests.support.stores import opened
from tests.unit.test_fast_path import Handlers

CREATES = 40
# Calls of our functions, in both threads together. One of them takes the CRC of a record's head apart from
# that of its payload: so a payload of 64 KiB is not copied three times, which took 8 µs. Another makes
# Tornado's form of the fields, which plain reads do without; the constructor that it saves was not counted.
# Two write the journal past the page cache, which saves a batch of 1 MiB 250 µs.
RECORDED = 161
OURS = (f"{ROOT}/services/", f"{ROOT}/common/")


class _Transport(asyncio.Transport):
    """A client that takes everything. `answered` is set at each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()
        self.first = b""

    def write(self, data: Any) -> None:
        self.first = bytes(data[:20])
        self.answered.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False


async def calls_of_a_create(root: str) -> float:
    calls = [0]

    def count(frame: FrameType, event: str, _argument: object) -> None:
        calls[0] += event == "call" and frame.f_code.co_filename.startswith(OURS)

    async def create(connection: Connection, transport: _Transport, number: int) -> None:
        transport.answered.clear()
        head = f"POST /store/blob/{number:05} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1024\r\n\r\n"
        connection.data_received(head.encode() + bytes(1024))
        await transport.answered.wait()
        assert transport.first.startswith(b"HTTP/1.1 201 ")

    events = Events()
    events.subscribe(Feed())
    threading.setprofile(count)  # of the threads that the store starts
    try:
        async with opened(root, events=events) as made:
            fast = FastPath(Handlers(), made.store, Access(), RequestLog(), Config())
            server = HTTPServer(fast)
            server._the_loop()
            server.quick_answer = fast.quick_answer
            context = RequestContext(socket.AF_INET, ("127.0.0.1", 1), "http", None)
            connection, transport = Connection(server, context), _Transport()
            connection.connection_made(transport)
            for number in range(20):
                await create(connection, transport, number)
            found = []
            sys.setprofile(count)
            for number in range(20, 20 + CREATES):
                before = calls[0]
                await create(connection, transport, number)
                found.append(calls[0] - before)
            sys.setprofile(None)
            server.on_close(connection)
            return statistics.median(found)  # some of them include what the store checks each second
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def test_a_small_create_calls_no_more_functions_than_recorded(data: DataDirectory) -> None:
    found = asyncio.run(calls_of_a_create(data.root))
    assert found <= RECORDED, f"{found} calls a create"
    assert found > RECORDED - 5, f"{found} calls a create: lower the record"


# A body of 1 MiB is held until it is complete. Then one step makes its folder, writes its data, and syncs the
# bytes, the folder and its parent; the commit writes the state and the journal, and syncs the journal alone.
WHOLE = {"mkdir": 1, "open": 4, "write": 3, "begin": 4, "end": 4, "rename": 2}


def test_a_create_of_1_mib_takes_no_more_steps_on_disk_than_recorded(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "STAGE_AFTER_S", 3600.0)

    async def main() -> Counter[str]:
        async with opened(data.root) as made:
            made.holds_whole()
            await made.put("first", b"x")  # begins the journal
            log = ListLog()
            with recording(log):
                await made.put("large", bytes(1 << 20))
            return Counter(op.kind for op in log.ops)

    assert asyncio.run(main()) == WHOLE


OF_A_MIB = 12  # calls of our functions in the thread that writes it past the page cache, and hashes it


def test_a_mib_of_a_large_upload_takes_one_write_and_few_calls(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for all of it is made once, and no sync comes in between."""
    monkeypatch.setattr(upload, "PAST_CACHE_BYTES", 4 << 20)
    monkeypatch.setattr(upload, "STAGE_AFTER_S", 3600.0)
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            calls[frame.f_code.co_name] += 1

    def counted(writer: DataWriter, pieces: list[Bytes], *, last: bool = False) -> None:
        sys.setprofile(note)
        try:
            real(writer, pieces, last=last)
        finally:
            sys.setprofile(None)

    real = DataWriter.append
    monkeypatch.setattr(DataWriter, "append", counted)

    async def main(size: int) -> Counter[str]:
        async with opened(data.root) as made:
            await made.put("first", b"x")  # begins the journal
            log = ListLog()
            with recording(log):
                await made.put_lent(str(size), bytes(size), size, 1 << 20)
            return Counter(op.kind for op in log.ops)

    found = []
    for mib in (4, 12):
        calls.clear()
        ops = asyncio.run(main(mib << 20))
        found.append((ops, calls.total()))
    (few, few_calls), (many, many_calls) = found
    assert many["grow"] == few["grow"]
    assert many["write"] - few["write"] == 8
    assert many["begin"] == few["begin"]
    assert many_calls - few_calls <= 8 * OF_A_MIB, (many_calls - few_calls) / 8
