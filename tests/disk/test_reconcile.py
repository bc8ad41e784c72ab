"""What recovery does with what it finds: one case for each row of the design's table, and the same again
when run twice.
"""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import msgspec
import pytest

from common import checksum
from common.states import MSG_CREATED, MSG_WRITING, State
from services.engines.local.disk import blob_folder, directory, quarantine, record
from services.engines.local.disk.blob import served
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.recovery import reconcile
from tests.cuts.recorder import ListLog, recording


@pytest.fixture(params=[16, 32])
def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    return directory.open_directory(str(tmp_path / "data"), request.param, owner=True)


def pending(blob_id: int, location: str, seq: int) -> BlobRecord:
    first = record.created(blob_id, location, seq, MSG_CREATED, time.time_ns(), "text/plain", "")
    return first.advanced(State.PENDING, MSG_WRITING, time.time_ns())


def put(data_dir: Layout, blob_id: int, location: str, body: bytes = b"body", seq: int = 1) -> BlobRecord:
    assert blob_folder.take(data_dir, blob_id)
    blob = pending(blob_id, location, seq)
    fd = blob_folder.stage(data_dir, blob)
    os.write(fd, body)
    os.close(fd)
    done = blob.completed(len(body), *checksum.sums_of(body), time.time_ns())
    blob_folder.write_record(data_dir, done)
    return done


def state_of(data_dir: Layout, blob_id: int) -> State:
    return blob_folder.read_record(data_dir, blob_id).state


def test_a_complete_blob_is_served(data_dir: Layout) -> None:
    blob = put(data_dir, 7, "a")
    assert reconcile.reconcile(data_dir).live == {"a": served(blob)}


def test_a_pending_blob_becomes_failure(data_dir: Layout) -> None:
    blob_folder.take(data_dir, 7)
    os.close(blob_folder.stage(data_dir, pending(7, "a", 1)))
    found = reconcile.reconcile(data_dir)
    assert (list(found.live), found.interrupted, found.failures) == ([], 1, [7])
    assert state_of(data_dir, 7) is State.FAILURE
    assert reconcile.reconcile(data_dir).interrupted == 0


def test_the_higher_sequence_number_wins(data_dir: Layout) -> None:
    put(data_dir, 7, "a", b"old", seq=1)
    new = put(data_dir, 8, "a", b"new", seq=2)
    found = reconcile.reconcile(data_dir)
    assert (found.live, found.superseded) == ({"a": served(new)}, 1)
    assert state_of(data_dir, 7) is State.FAILURE
    assert reconcile.reconcile(data_dir).live == {"a": served(new)}


def test_of_two_that_came_at_once_the_one_that_is_served_stays(tmp_path: Path) -> None:
    """Records of the original server have no sequence numbers, so two of one location may have the same
    time.
    """
    data_dir = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    for blob_id in range(7, 15):  # in any order of the directory
        make_original(data_dir, put(data_dir, blob_id, "a", b"%d" % blob_id))
    found = reconcile.reconcile(data_dir)
    assert (found.live["a"].id, sorted(found.failures)) == (14, list(range(7, 14)))
    assert state_of(data_dir, 14) is State.COMPLETE


def test_a_failure_is_left_for_the_gc(data_dir: Layout) -> None:
    blob_folder.fail(data_dir, put(data_dir, 7, "a"), "Deleted!", time.time_ns())
    found = reconcile.reconcile(data_dir)
    assert (list(found.live), found.failures, found.changed) == ([], [7], False)


@pytest.mark.parametrize(
    "names", [[], ["blob_state.base64.json.tmp"], ["data.raw", "blob_state.base64.json.tmp"]]
)
def test_what_was_never_complete_is_removed(data_dir: Layout, names: list[str]) -> None:
    blob_folder.take(data_dir, 7)
    for name in names:
        Path(data_dir.folder(7), name).touch()
    assert reconcile.reconcile(data_dir).removed == 1
    assert not os.path.exists(data_dir.folder(7))


def break_state(data_dir: Layout) -> None:
    Path(data_dir.state(7)).write_bytes(b"")


def break_id(data_dir: Layout) -> None:
    os.rename(data_dir.folder(7), data_dir.folder(9))


def lose_data(data_dir: Layout) -> None:
    os.unlink(data_dir.data(7))


def cut_data(data_dir: Layout) -> None:
    os.truncate(data_dir.data(7), 1)


def lengthen_data(data_dir: Layout) -> None:
    os.truncate(data_dir.data(7), 100)


def lose_state(data_dir: Layout) -> None:
    os.unlink(data_dir.state(7))


def link_data(data_dir: Layout) -> None:
    os.unlink(data_dir.data(7))
    os.symlink("/etc/hostname", data_dir.data(7))


@pytest.mark.parametrize(
    "damage", [break_state, break_id, lose_data, cut_data, lengthen_data, lose_state, link_data]
)
def test_damage_is_quarantined_and_nothing_else(data_dir: Layout, damage) -> None:  # type: ignore[no-untyped-def]
    put(data_dir, 7, "a")
    other = put(data_dir, 12, "b")
    damage(data_dir)
    found = reconcile.reconcile(data_dir)
    assert found.live == {"b": served(other)}
    assert len(found.quarantined) == 1
    assert len(os.listdir(data_dir.ours(".quarantine"))) == 1
    again = reconcile.reconcile(data_dir)
    assert again.live == {"b": served(other)}
    assert not again.changed


def test_a_damaged_location_is_known_until_it_is_released(data_dir: Layout) -> None:
    put(data_dir, 7, "a", seq=5)
    lose_data(data_dir)
    found = reconcile.reconcile(data_dir)
    name, note = found.damaged["a"]
    assert (name, note.seq, note.location) == ("7-5", 5, "a")
    quarantine.release(data_dir, name, note)
    assert reconcile.reconcile(data_dir).damaged == {}


def test_foreign_names_are_left_alone(data_dir: Layout) -> None:
    put(data_dir, 7, "a")
    root = Path(data_dir.root)
    (root / "notes.txt").write_text("mine")
    os.symlink("/tmp", root / "12")
    (root / "007").mkdir()
    found = reconcile.reconcile(data_dir)
    assert sorted(found.foreign) == ["007", "12", "notes.txt"]
    assert not found.changed


def test_a_dry_run_changes_nothing(data_dir: Layout) -> None:
    put(data_dir, 7, "a")
    lose_data(data_dir)
    before = sorted(os.walk(data_dir.root))
    assert len(reconcile.reconcile(data_dir, dry_run=True).quarantined) == 1
    assert sorted(os.walk(data_dir.root)) == before


def make_original(data_dir: Layout, blob: BlobRecord) -> None:
    """The same fields that the original writes: no checksums, no sequence number, the same time for all."""
    document = msgspec.json.decode(base64.b64decode(record.dump(blob).splitlines()[0].split(b":")[1]))
    del document["blobkeep"]
    document["status"]["log"][-1]["timestamp"] = "2026-11-22T07:45:48.364475953Z"
    first = b"BLOB_BASE64_dev:" + base64.b64encode(msgspec.json.encode(document))
    history = b"2026-11-22T07:45:48Z - OK - Blob Data WR Complete!\n"
    Path(data_dir.state(blob.id)).write_bytes(first + b"\n\n" + history)


def test_a_directory_of_the_original_server_is_served(tmp_path: Path) -> None:
    data_dir = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    blob = put(data_dir, 7, "foo", b"22222222222222222")
    make_original(data_dir, blob)
    found = reconcile.reconcile(data_dir)
    assert found.adopted == 1
    assert found.live["foo"].sha256 == blob.sha256
    assert not reconcile.reconcile(data_dir).changed


def test_a_damaged_blob_that_was_written_anew_does_not_come_back_with_a_delete(data_dir: Layout) -> None:
    put(data_dir, 7, "a", seq=5)
    lose_data(data_dir)
    reconcile.reconcile(data_dir)
    new = put(data_dir, 8, "a", seq=6)  # and the server died before it removed the note of the old one
    assert reconcile.reconcile(data_dir).live == {"a": served(new)}
    blob_folder.fail(data_dir, new, "Deleted!", time.time_ns())
    found = reconcile.reconcile(data_dir)
    assert (list(found.live), found.damaged) == ([], {})


def test_data_of_what_never_was_a_blob_goes_before_its_state(data_dir: Layout) -> None:
    """If it is killed in between, the blob must not look like one that lost its state."""
    assert blob_folder.take(data_dir, 7)
    Path(data_dir.data(7)).write_bytes(b"body")
    Path(data_dir.state(7) + ".tmp").write_bytes(b"state")
    log = ListLog()
    with recording(log):
        reconcile.reconcile(data_dir)
    removed = [os.path.basename(op.path) for op in log.ops if op.kind == "unlink"]
    assert removed == ["data.raw", "blob_state.base64.json.tmp"]


def test_a_note_is_durable_before_its_folder_is_moved(data_dir: Layout) -> None:
    """Otherwise a power cut could leave a damaged blob without its location, which would then answer 404."""
    put(data_dir, 7, "a")
    log = ListLog()
    with recording(log):
        quarantine.move_in(data_dir, 7, "a", 1, "damaged")
    kinds = [op.kind for op in log.ops]
    named = next(n for n, op in enumerate(log.ops) if op.to.endswith("quarantine.json"))
    moved = next(n for n, op in enumerate(log.ops) if op.path == data_dir.folder(7) and op.kind == "rename")
    synced = kinds.index("begin", named)
    opened = [op.path for op in log.ops[:synced] if op.kind == "open" and op.fd == log.ops[synced].fd]
    assert opened[-1] == data_dir.folder(7)
    assert kinds.index("end", synced) < moved
