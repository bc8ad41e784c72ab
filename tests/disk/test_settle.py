"""What recovery does with what it finds: a row of the design's table each, and twice the same."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import msgspec
import pytest

from common import blobdir, checksum, directory, record, settle
from common.blob import served
from common.layout import Layout
from common.record import BlobRecord
from common.states import MSG_CREATED, MSG_WRITING, State
from tests.cuts.recorder import ListLog, recording


@pytest.fixture(params=[16, 32])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    return directory.open_directory(str(tmp_path / "data"), request.param, owner=True)


def pending(blob_id: int, location: str, seq: int) -> BlobRecord:
    first = record.created(blob_id, location, seq, MSG_CREATED, time.time_ns(), "text/plain", "")
    return first.advanced(State.PENDING, MSG_WRITING, time.time_ns())


def put(where: Layout, blob_id: int, location: str, body: bytes = b"body", seq: int = 1) -> BlobRecord:
    assert blobdir.take(where, blob_id)
    blob = pending(blob_id, location, seq)
    fd = blobdir.stage(where, blob)
    os.write(fd, body)
    os.close(fd)
    done = blob.completed(len(body), *checksum.sums_of(body), time.time_ns())
    blobdir.write_record(where, done)
    return done


def state_of(where: Layout, blob_id: int) -> State:
    return blobdir.read_record(where, blob_id).state


def test_a_complete_blob_is_served(where: Layout) -> None:
    blob = put(where, 7, "a")
    assert settle.settle(where).live == {"a": served(blob)}


def test_a_pending_blob_becomes_failure(where: Layout) -> None:
    blobdir.take(where, 7)
    os.close(blobdir.stage(where, pending(7, "a", 1)))
    found = settle.settle(where)
    assert (found.live, found.interrupted, found.failures) == ({}, 1, [7])
    assert state_of(where, 7) is State.FAILURE
    assert settle.settle(where).interrupted == 0


def test_the_higher_sequence_number_wins(where: Layout) -> None:
    put(where, 7, "a", b"old", seq=1)
    new = put(where, 8, "a", b"new", seq=2)
    found = settle.settle(where)
    assert (found.live, found.superseded) == ({"a": served(new)}, 1)
    assert state_of(where, 7) is State.FAILURE
    assert settle.settle(where).live == {"a": served(new)}


def test_of_two_that_came_at_once_the_one_that_is_served_stays(tmp_path: Path) -> None:
    """Records of the original have no numbers: two of one location may count by the same time."""
    where = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    for blob_id in range(7, 15):  # in whatever order the directory gives them
        make_original(where, put(where, blob_id, "a", b"%d" % blob_id))
    found = settle.settle(where)
    assert (found.live["a"].id, sorted(found.failures)) == (14, list(range(7, 14)))
    assert state_of(where, 14) is State.COMPLETE


def test_a_failure_is_left_for_the_gc(where: Layout) -> None:
    blobdir.fail(where, put(where, 7, "a"), "Deleted!", time.time_ns())
    found = settle.settle(where)
    assert (found.live, found.failures, found.changed) == ({}, [7], False)


@pytest.mark.parametrize(
    "names", [[], ["blob_state.base64.json.tmp"], ["data.raw", "blob_state.base64.json.tmp"]]
)
def test_what_was_never_complete_is_removed(where: Layout, names: list[str]) -> None:
    blobdir.take(where, 7)
    for name in names:
        Path(where.folder(7), name).touch()
    assert settle.settle(where).removed == 1
    assert not os.path.exists(where.folder(7))


def break_state(where: Layout) -> None:
    Path(where.state(7)).write_bytes(b"")


def break_id(where: Layout) -> None:
    os.rename(where.folder(7), where.folder(9))


def lose_data(where: Layout) -> None:
    os.unlink(where.data(7))


def cut_data(where: Layout) -> None:
    os.truncate(where.data(7), 1)


def lengthen_data(where: Layout) -> None:
    os.truncate(where.data(7), 100)


def lose_state(where: Layout) -> None:
    os.unlink(where.state(7))


def link_data(where: Layout) -> None:
    os.unlink(where.data(7))
    os.symlink("/etc/hostname", where.data(7))


@pytest.mark.parametrize(
    "damage", [break_state, break_id, lose_data, cut_data, lengthen_data, lose_state, link_data]
)
def test_damage_is_quarantined_and_nothing_else(where: Layout, damage) -> None:  # type: ignore[no-untyped-def]
    put(where, 7, "a")
    other = put(where, 12, "b")
    damage(where)
    found = settle.settle(where)
    assert found.live == {"b": served(other)}
    assert len(found.quarantined) == 1
    assert len(os.listdir(where.ours(".quarantine"))) == 1
    again = settle.settle(where)
    assert again.live == {"b": served(other)}
    assert not again.changed


def test_a_damaged_location_is_known_until_it_is_released(where: Layout) -> None:
    put(where, 7, "a", seq=5)
    lose_data(where)
    found = settle.settle(where)
    name, note = found.damaged["a"]
    assert (name, note.seq, note.location) == ("7-5", 5, "a")
    blobdir.release(where, name, note)
    assert settle.settle(where).damaged == {}


def test_foreign_names_are_left_alone(where: Layout) -> None:
    put(where, 7, "a")
    root = Path(where.root)
    (root / "notes.txt").write_text("mine")
    os.symlink("/tmp", root / "12")
    (root / "007").mkdir()
    found = settle.settle(where)
    assert sorted(found.foreign) == ["007", "12", "notes.txt"]
    assert not found.changed


def test_a_dry_run_changes_nothing(where: Layout) -> None:
    put(where, 7, "a")
    lose_data(where)
    before = sorted(os.walk(where.root))
    assert len(settle.settle(where, dry_run=True).quarantined) == 1
    assert sorted(os.walk(where.root)) == before


def make_original(where: Layout, blob: BlobRecord) -> None:
    """The same fields that the original writes: no checksums, no sequence number, the same time for all."""
    document = msgspec.json.decode(base64.b64decode(record.dump(blob).splitlines()[0].split(b":")[1]))
    del document["blobkeep"]
    document["status"]["log"][-1]["timestamp"] = "2026-11-22T07:45:48.364475953Z"
    first = b"BLOB_BASE64_dev:" + base64.b64encode(msgspec.json.encode(document))
    history = b"2026-11-22T07:45:48Z - OK - Blob Data WR Complete!\n"
    Path(where.state(blob.id)).write_bytes(first + b"\n\n" + history)


def test_a_directory_of_the_original_server_is_served(tmp_path: Path) -> None:
    where = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    blob = put(where, 7, "foo", b"22222222222222222")
    make_original(where, blob)
    found = settle.settle(where)
    assert found.adopted == 1
    assert found.live["foo"].sha256 == blob.sha256
    assert not settle.settle(where).changed


def test_a_damaged_blob_that_was_written_anew_does_not_come_back_with_a_delete(where: Layout) -> None:
    put(where, 7, "a", seq=5)
    lose_data(where)
    settle.settle(where)
    new = put(where, 8, "a", seq=6)  # and the server died before it released the old one's note
    assert settle.settle(where).live == {"a": served(new)}
    blobdir.fail(where, new, "Deleted!", time.time_ns())
    found = settle.settle(where)
    assert (found.live, found.damaged) == ({}, {})


def test_data_of_what_never_was_a_blob_goes_before_its_state(where: Layout) -> None:
    """Killed in between, it must not look like a blob that lost its state."""
    assert blobdir.take(where, 7)
    Path(where.data(7)).write_bytes(b"body")
    Path(where.state(7) + ".tmp").write_bytes(b"state")
    log = ListLog()
    with recording(log):
        settle.settle(where)
    removed = [os.path.basename(op.path) for op in log.ops if op.kind == "unlink"]
    assert removed == ["data.raw", "blob_state.base64.json.tmp"]


def test_a_note_is_durable_before_its_folder_is_moved(where: Layout) -> None:
    """Else a power cut could leave a damaged blob without its location, which then answers 404."""
    put(where, 7, "a")
    log = ListLog()
    with recording(log):
        blobdir.quarantine(where, 7, "a", 1, "damaged")
    kinds = [op.kind for op in log.ops]
    named = next(n for n, op in enumerate(log.ops) if op.to.endswith("quarantine.json"))
    moved = next(n for n, op in enumerate(log.ops) if op.path == where.folder(7) and op.kind == "rename")
    synced = kinds.index("begin", named)
    assert log.ops[synced - 1].path == where.folder(7)
    assert kinds.index("end", synced) < moved
