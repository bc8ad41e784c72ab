"""The gc removes blobs in Failure, and nothing else: alone, two at once, after a kill, and without a
server.
"""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import checksum, durable
from common.states import MSG_CREATED, MSG_DELETED, MSG_WRITING, State
from services.engines.local.disk import blob_folder, directory, layout, record
from services.engines.local.disk.blob import served
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.recovery import reconcile
from services.engines.local.upkeep import collector, hints
from services.engines.local.upkeep.collector import Collector
from services.engines.local.upkeep.hints import Hints
from tests.cuts.recorder import ListLog, recording
from tests.support.processes import Process, wait_for
from tests.support.rules import DataDirectory

EVERYTHING = 1 << 32


@pytest.fixture(params=[16, 32])
def data_dir(request: pytest.FixtureRequest, data: DataDirectory) -> Layout:
    return directory.open_directory(data.root, request.param, owner=True)


def put(data_dir: Layout, blob_id: int, location: str, body: bytes = b"body") -> BlobRecord:
    assert blob_folder.take(data_dir, blob_id)
    now_ns = time.time_ns()
    first = record.created(blob_id, location, now_ns // 1000, MSG_CREATED, now_ns, "text/plain", "")
    pending = first.advanced(State.PENDING, MSG_WRITING, now_ns)
    fd = blob_folder.stage(data_dir, pending)
    os.write(fd, body)
    os.close(fd)
    done = pending.completed(len(body), *checksum.sums_of(body), now_ns)
    blob_folder.write_record(data_dir, done)
    return done


def fail(data_dir: Layout, blob: BlobRecord, *, hinted: bool = True) -> None:
    failure = blob_folder.failed(blob, MSG_DELETED, time.time_ns())
    blob_folder.write_failure(data_dir, failure)
    if hinted:
        blob_folder.hint(data_dir, [blob.id])


def ids(data_dir: Layout) -> set[int]:
    return set(directory.ids_in(data_dir))


def test_a_hinted_failure_is_gone_after_one_pass_and_the_rest_stays(data_dir: Layout) -> None:
    keep, drop = put(data_dir, 7, "keep"), put(data_dir, 8, "drop", b"x" * 1000)
    fail(data_dir, drop)
    line = Collector(data_dir, 5.0).run_once()
    assert ids(data_dir) == {keep.id}
    assert line is not None
    assert line.startswith("removed=1 freed_bytes=")
    assert os.listdir(data_dir.ours(layout.GONE_NAME)) == []


def test_a_failure_without_a_hint_is_found_within_a_round_of_slices(data_dir: Layout) -> None:
    blobs = [put(data_dir, number, str(number)) for number in range(1, 31)]
    gc = Collector(data_dir, 5.0, slice_folders=10)
    assert [gc.run_once() for _ in range(3)] == [None] * 3  # the first round looks at all blobs
    fail(data_dir, blobs[3], hinted=False)
    for _ in range(3):
        gc.run_once()
    assert ids(data_dir) == {blob.id for blob in blobs} - {blobs[3].id}


def test_after_a_failure_without_a_hint_the_rest_of_the_round_is_looked_at_at_once(data_dir: Layout) -> None:
    blobs = [put(data_dir, number, str(number)) for number in range(1, 41)]
    gc = Collector(data_dir, 5.0, slice_folders=10)
    for _ in range(4):
        gc.run_once()
    for blob in blobs:
        fail(data_dir, blob, hinted=False)
    gc.run_once()
    assert len(ids(data_dir)) == 30
    gc.run_once()
    assert ids(data_dir) == set()


def test_a_pending_blob_is_not_its_business(data_dir: Layout) -> None:
    assert blob_folder.take(data_dir, 9)
    now_ns = time.time_ns()
    first = record.created(9, "a", 1, MSG_CREATED, now_ns, "text/plain", "")
    os.close(blob_folder.stage(data_dir, first.advanced(State.PENDING, MSG_WRITING, now_ns)))
    blob_folder.hint(data_dir, [9])
    gc = Collector(data_dir, 5.0, slice_folders=EVERYTHING)
    gc.run_once()
    gc.close()
    assert ids(data_dir) == {9}


def test_two_of_them_do_no_harm(data_dir: Layout) -> None:
    first, second = Collector(data_dir, 5.0), Collector(data_dir, 5.0)
    fail(data_dir, put(data_dir, 7, "a"))
    assert first.run_once()
    fail(data_dir, put(data_dir, 7, "a"))  # the id came back, and failed again
    assert second.run_once() is None  # a second gc does nothing while the first lives
    assert first.run_once()
    assert ids(data_dir) == set()


def test_what_a_killed_one_left_is_finished(data_dir: Layout) -> None:
    blob = put(data_dir, 7, "a")
    fail(data_dir, blob)
    gone = Path(data_dir.ours(layout.GONE_NAME))
    gone.mkdir(mode=0o700, exist_ok=True)
    os.rename(data_dir.folder(7), gone / f"7-{blob.seq}")
    fail(data_dir, put(data_dir, 7, "b"))
    Collector(data_dir, 5.0).run_once()
    assert os.listdir(gone) == []
    assert ids(data_dir) == set()


def test_hints_that_a_killed_one_took_are_not_lost(data_dir: Layout) -> None:
    blob = put(data_dir, 7, "a")
    fail(data_dir, blob)
    os.rename(data_dir.ours(layout.HINTS_NAME), data_dir.ours(layout.HINTS_TAKEN_NAME))
    Collector(data_dir, 5.0, slice_folders=1).run_once()
    assert ids(data_dir) == set()
    assert not os.path.exists(data_dir.ours(layout.HINTS_TAKEN_NAME))


def test_hints_are_read_a_piece_at_a_time(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no gc ran, the file grew: all of it was read at once, 250 bytes of memory for each line."""
    monkeypatch.setattr(hints, "PIECE_BYTES", 64)
    pieces: list[int] = []
    read = Hints.pieces

    def noted(self: Hints) -> Iterator[list[int]]:
        for some in read(self):
            pieces.append(len(some))
            yield some

    monkeypatch.setattr(Hints, "pieces", noted)
    for number in range(300):
        blob_folder.hint(data_dir, [number])
        if number % 50 == 7:
            fail(data_dir, put(data_dir, number, f"{number}"), hinted=False)
    Collector(data_dir, 5.0, slice_folders=0).run_once()
    assert ids(data_dir) == set()
    assert not os.path.exists(data_dir.ours(layout.HINTS_TAKEN_NAME))
    assert (sum(pieces), max(pieces) <= 32) == (300, True)


def test_hints_that_a_pass_did_not_come_to_stay(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "PIECE_BYTES", 16)
    monkeypatch.setattr(collector, "REMOVED_AT_ONCE", 2)
    for number in range(9):
        fail(data_dir, put(data_dir, number, f"{number}"))
    gc = Collector(data_dir, 5.0, slice_folders=0)
    wanted = iter([False, True])  # an export waits, from the first look within the pass on
    monkeypatch.setattr(gc, "_is_wanted", lambda: next(wanted, False))
    gc.run_once()
    assert len(ids(data_dir)) == 7
    gc.run_once()
    assert ids(data_dir) == set()
    assert not os.path.exists(data_dir.ours(layout.HINTS_TAKEN_NAME))


def test_an_export_does_not_wait_for_a_pass_that_removes_nothing(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited until the gc had looked at all blobs: for ten minutes, with ten million."""
    monkeypatch.setattr(collector, "LOOKED_AT_AT_ONCE", 4)
    blobs = {put(data_dir, number, f"{number}").id for number in range(10)}
    looked_at: list[int] = []
    read_record = blob_folder.read_record

    def noted(where: Layout, blob_id: int) -> BlobRecord:
        looked_at.append(blob_id)
        return read_record(where, blob_id)

    monkeypatch.setattr(blob_folder, "read_record", noted)
    gc = Collector(data_dir, 5.0, slice_folders=EVERYTHING)
    wanted = iter([False, True])
    monkeypatch.setattr(gc, "_is_wanted", lambda: next(wanted, False))
    gc.run_once()
    assert len(looked_at) == 4
    gc.run_once()
    assert (len(looked_at), set(looked_at)) == (10, blobs)


@pytest.mark.parametrize("content", [b"", b"\0\n-1\nx\n99999999999999999999\n7 8\n", b"\xff" * 100])
def test_a_hint_file_may_hold_anything(data_dir: Layout, content: bytes) -> None:
    keep = put(data_dir, 7, "keep")
    Path(data_dir.ours(layout.HINTS_NAME)).write_bytes(content)
    Collector(data_dir, 5.0).run_once()
    assert ids(data_dir) == {keep.id}


def test_the_process_collects_while_no_server_runs(data: DataDirectory) -> None:
    data_dir = directory.open_directory(data.root, 16, owner=True)
    keep = put(data_dir, 7, "keep")
    fail(data_dir, put(data_dir, 8, "drop"))
    gc = Process("gc", data.path, "--gc-interval", "0.05")
    try:
        wait_for(lambda: ids(data_dir) == {keep.id}, what="the collection")
        fail(data_dir, put(data_dir, 9, "later"), hinted=False)
        wait_for(lambda: ids(data_dir) == {keep.id}, what="the second collection")
        assert gc.stop() == 0
    finally:
        gc.end()
    assert gc.said().count("pass: removed=1") == 2  # one line for each pass that did something
    assert reconcile.reconcile(data_dir).live == {"keep": served(keep)}


def test_a_folder_has_left_for_good_before_its_files_go(data_dir: Layout) -> None:
    """Otherwise a power cut could bring the folder back with some of its files, which looks like damage."""
    fail(data_dir, put(data_dir, 7, "a"))
    gc = Collector(data_dir, 5.0, slice_folders=EVERYTHING)
    log = ListLog()
    with recording(log):
        gc.run_once()
    gc.close()
    left = next(n for n, op in enumerate(log.ops) if op.path == data_dir.folder(7))
    removed = next(n for n, op in enumerate(log.ops) if op.kind == "unlink" and layout.GONE_NAME in op.path)
    synced = next(op for op in log.ops[left:removed] if op.kind == "open")
    assert synced.path == data_dir.parent(7)
    between = [op.kind for op in log.ops[left:removed] if op.kind != "unlink"]  # that is of the hints
    assert between[1:4] == ["open", "begin", "end"]


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Path]:
    """An overlay over the layer `lower`. The test fills `lower` first, and then mounts the overlay with
    `mounted`.
    """
    for name in ("lower", "upper", "work", "mounted"):
        (tmp_path / name).mkdir(mode=0o700)
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path / "mounted")], check=False, capture_output=True)


@pytest.mark.parametrize("dies_at", [None, "remove_file", "sync_folder", "remove_tree"])
def test_a_blob_of_a_lower_layer_is_removed_in_place(
    overlay: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str | None
) -> None:
    """overlayfs cannot rename a folder of a lower layer (EXDEV), so each pass failed, for ever."""
    lower = directory.open_directory(str(overlay / "lower"), 16, owner=True)
    keep, drop = put(lower, 7, "keep"), put(lower, 8, "drop", b"x" * 1000)
    options = ",".join(f"{name}dir={overlay / name}" for name in ("lower", "upper", "work"))
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(overlay / "mounted")]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("overlays may not be mounted here")
    data_dir = directory.open_directory(str(overlay / "mounted"), 16, owner=True)
    fail(data_dir, drop)
    if dies_at is not None:
        with monkeypatch.context() as dying:
            dying.setattr(durable, dies_at, die)
            killed = Collector(data_dir, 5.0, slice_folders=EVERYTHING)
            with pytest.raises(KeyboardInterrupt):
                killed.run_once()
            killed.close()
        found = reconcile.reconcile(data_dir)
        assert (list(found.live), found.quarantined) == (["keep"], [])
    line = Collector(data_dir, 5.0, slice_folders=EVERYTHING).run_once()
    assert ids(data_dir) == {keep.id}
    assert "errors=0" in (line or "errors=0")
    found = reconcile.reconcile(data_dir)
    assert (list(found.live), found.quarantined) == (["keep"], [])


def die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_blob_that_could_not_be_removed_is_tried_again_each_pass(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hint was forgotten, and later rounds skipped it as unchanged, so it stayed until a restart."""
    fail(data_dir, put(data_dir, 7, "a"))
    gc = Collector(data_dir, 5.0, slice_folders=1 << 32)
    with monkeypatch.context() as broken:
        broken.setattr(gc, "_if_due", raising)
        for _ in range(3):
            gc.run_once()
    monkeypatch.setattr(gc, "_may_have_changed", lambda _: False)
    gc.run_once()
    gc.close()
    assert ids(data_dir) == set()


def raising(_: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))
