"""The gc: what is in Failure goes, nothing else does; alone, twice, killed, and without a server."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from common import blobdir, checksum, directory, layout, record, settle
from common.blob import served
from common.layout import Layout
from common.record import BlobRecord
from common.states import MSG_CREATED, MSG_DELETED, MSG_WRITING, State
from services.gc import Collector
from tests.cuts.recorder import ListLog, recording
from tests.support.processes import Process, wait_for
from tests.support.rules import DataDirectory

EVERYTHING = 1 << 32


@pytest.fixture(params=[16, 32])
def where(request: pytest.FixtureRequest, data: DataDirectory) -> Layout:
    return directory.open_directory(data.root, request.param, owner=True)


def put(where: Layout, blob_id: int, location: str, body: bytes = b"body") -> BlobRecord:
    assert blobdir.take(where, blob_id)
    now_ns = time.time_ns()
    first = record.created(blob_id, location, now_ns // 1000, MSG_CREATED, now_ns, "text/plain", "")
    pending = first.advanced(State.PENDING, MSG_WRITING, now_ns)
    fd = blobdir.stage(where, pending)
    os.write(fd, body)
    os.close(fd)
    done = pending.completed(len(body), *checksum.sums_of(body), now_ns)
    blobdir.write_record(where, done)
    return done


def fail(where: Layout, blob: BlobRecord, *, hinted: bool = True) -> None:
    failure = blobdir.failed(blob, MSG_DELETED, time.time_ns())
    blobdir.write_failure(where, failure)
    if hinted:
        blobdir.hint(where, [blob.id])


def ids(where: Layout) -> set[int]:
    return set(directory.ids_in(where))


def test_a_hinted_failure_is_gone_after_one_pass_and_the_rest_stays(where: Layout) -> None:
    keep, drop = put(where, 7, "keep"), put(where, 8, "drop", b"x" * 1000)
    fail(where, drop)
    line = Collector(where, 5.0).run_once()
    assert ids(where) == {keep.id}
    assert line is not None
    assert line.startswith("removed=1 freed_bytes=")
    assert os.listdir(where.ours(layout.GONE_NAME)) == []


def test_a_failure_without_a_hint_is_found_within_a_round_of_slices(where: Layout) -> None:
    blobs = [put(where, number, str(number)) for number in range(1, 31)]
    gc = Collector(where, 5.0, slice_folders=10)
    assert [gc.run_once() for _ in range(3)] == [None] * 3  # the first round: all are looked at
    fail(where, blobs[3], hinted=False)
    for _ in range(3):
        gc.run_once()
    assert ids(where) == {blob.id for blob in blobs} - {blobs[3].id}


def test_after_a_failure_without_a_hint_the_rest_of_the_round_is_looked_at_at_once(where: Layout) -> None:
    blobs = [put(where, number, str(number)) for number in range(1, 41)]
    gc = Collector(where, 5.0, slice_folders=10)
    for _ in range(4):
        gc.run_once()
    for blob in blobs:
        fail(where, blob, hinted=False)
    gc.run_once()
    assert len(ids(where)) == 30
    gc.run_once()
    assert ids(where) == set()


def test_a_pending_blob_is_not_its_business(where: Layout) -> None:
    assert blobdir.take(where, 9)
    now_ns = time.time_ns()
    first = record.created(9, "a", 1, MSG_CREATED, now_ns, "text/plain", "")
    os.close(blobdir.stage(where, first.advanced(State.PENDING, MSG_WRITING, now_ns)))
    blobdir.hint(where, [9])
    gc = Collector(where, 5.0, slice_folders=EVERYTHING)
    gc.run_once()
    gc.close()
    assert ids(where) == {9}


def test_two_of_them_do_no_harm(where: Layout) -> None:
    first, second = Collector(where, 5.0), Collector(where, 5.0)
    fail(where, put(where, 7, "a"))
    assert first.run_once()
    fail(where, put(where, 7, "a"))  # the id came back, and failed again
    assert second.run_once() is None  # it is not its turn while the first lives
    assert first.run_once()
    assert ids(where) == set()


def test_what_a_killed_one_left_is_finished(where: Layout) -> None:
    blob = put(where, 7, "a")
    fail(where, blob)
    gone = Path(where.ours(layout.GONE_NAME))
    gone.mkdir(mode=0o700)
    os.rename(where.folder(7), gone / f"7-{blob.seq}")
    fail(where, put(where, 7, "b"))
    Collector(where, 5.0).run_once()
    assert os.listdir(gone) == []
    assert ids(where) == set()


def test_hints_that_a_killed_one_took_are_not_lost(where: Layout) -> None:
    blob = put(where, 7, "a")
    fail(where, blob)
    os.rename(where.ours(layout.HINTS_NAME), where.ours(layout.HINTS_TAKEN_NAME))
    Collector(where, 5.0, slice_folders=1).run_once()
    assert ids(where) == set()
    assert not os.path.exists(where.ours(layout.HINTS_TAKEN_NAME))


@pytest.mark.parametrize("content", [b"", b"\0\n-1\nx\n99999999999999999999\n7 8\n", b"\xff" * 100])
def test_a_hint_file_may_hold_anything(where: Layout, content: bytes) -> None:
    keep = put(where, 7, "keep")
    Path(where.ours(layout.HINTS_NAME)).write_bytes(content)
    Collector(where, 5.0).run_once()
    assert ids(where) == {keep.id}


def test_the_process_collects_while_no_server_runs(data: DataDirectory) -> None:
    where = directory.open_directory(data.root, 16, owner=True)
    keep = put(where, 7, "keep")
    fail(where, put(where, 8, "drop"))
    gc = Process("gc", data.path, "--gc-interval", "0.05")
    try:
        wait_for(lambda: ids(where) == {keep.id}, what="the collection")
        fail(where, put(where, 9, "later"), hinted=False)
        wait_for(lambda: ids(where) == {keep.id}, what="the second collection")
        assert gc.stop() == 0
    finally:
        gc.end()
    assert gc.said().count("pass: removed=1") == 2  # one line for each pass that did something
    assert settle.settle(where).live == {"keep": served(keep)}


def test_a_folder_has_left_for_good_before_its_files_go(where: Layout) -> None:
    """Else a power cut could bring it back with a part of them, which looks like damage."""
    fail(where, put(where, 7, "a"))
    gc = Collector(where, 5.0, slice_folders=EVERYTHING)
    log = ListLog()
    with recording(log):
        gc.run_once()
    gc.close()
    left = next(n for n, op in enumerate(log.ops) if op.path == where.folder(7))
    removed = next(n for n, op in enumerate(log.ops) if op.kind == "unlink" and layout.GONE_NAME in op.path)
    synced = next(op for op in log.ops[left:removed] if op.kind == "open")
    assert synced.path == where.parent(7)
    assert [op.kind for op in log.ops[left:removed]][1:4] == ["open", "begin", "end"]
