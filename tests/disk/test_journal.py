"""Replay after a system crash, and how torn, stale and rotten records are told apart."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

import pytest

from common import durable
from common.checksum import sums_of
from common.errors import StorageFailed
from common.ours import open_ours
from common.states import MSG_CREATED, MSG_DELETED, MSG_WRITING, State
from services.engines.local.disk import blob_folder, directory, layout, record
from services.engines.local.disk.blob import served
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.journal import format as journal
from services.engines.local.journal import replay
from services.engines.local.journal.file import FilePhase, JournalFile
from services.engines.local.journal.format import JournalEntry
from services.engines.local.recovery import reconcile
from services.engines.local.upkeep.collector import Collector
from tests.cuts.recorder import ListLog, recording

NOW_NS = 1_795_507_830_364_475_953
ANOTHER_BOOT = b"\x01" * 16


@pytest.fixture
def data_dir(tmp_path: Path) -> Layout:
    return directory.open_directory(str(tmp_path / "data"), 16, owner=True)


def complete(blob_id: int, location: str, body: bytes, seq: int = 1) -> BlobRecord:
    first = record.created(blob_id, location, seq, MSG_CREATED, NOW_NS, "text/plain", "")
    return first.advanced(State.PENDING, MSG_WRITING, NOW_NS).completed(len(body), *sums_of(body), NOW_NS)


def entry_of(blob: BlobRecord, body: bytes | None) -> JournalEntry:
    return JournalEntry(blob.id, blob.seq, blob.state is State.COMPLETE, record.dump(blob), body)


def deleted(blob: BlobRecord) -> BlobRecord:
    return blob_folder.failed(blob, MSG_DELETED, NOW_NS)


def write_journal(
    data_dir: Layout, changes: list[list[JournalEntry]], number: int = 0, epoch: int = 1
) -> str:
    """A journal with one batch for each change, as an earlier boot of the system left it."""
    path = data_dir.ours(journal.NAMES[number])
    file = JournalFile(path, 1 << 20)
    boot, journal.boot_id = journal.boot_id, lambda: ANOTHER_BOOT  # type: ignore[assignment]
    try:
        file.begin(epoch)
    finally:
        journal.boot_id = boot
    for change in changes:
        file.append(journal.encode([change]))
    file.close()
    return path


def ids_in(path: str) -> set[int]:
    """The blobs that a journal file covers."""
    return {entry.id for entry in journal.entries_of([journal.scan(path)])}


def test_what_was_lost_is_written_anew(data_dir: Layout) -> None:
    blob = complete(7, "a", b"hello")
    write_journal(data_dir, [[entry_of(blob, b"hello")]])
    assert journal.needs_replay(data_dir)
    assert reconcile.reconcile(data_dir).live == {"a": served(blob)}
    assert Path(data_dir.data(7)).read_bytes() == b"hello"
    assert not journal.needs_replay(data_dir)
    assert [found.clean for found in journal.scan_all(data_dir)] == [True]


@pytest.mark.parametrize("stale", [b"", b"hell", b"jello", b"hello and more"])
def test_a_body_that_differs_is_written_anew(data_dir: Layout, stale: bytes) -> None:
    blob = complete(7, "a", b"hello")
    blob_folder.take(data_dir, 7)
    Path(data_dir.data(7)).write_bytes(stale)
    Path(data_dir.state(7)).write_bytes(record.dump(blob))
    write_journal(data_dir, [[entry_of(blob, b"hello")]])
    reconcile.reconcile(data_dir)
    assert Path(data_dir.data(7)).read_bytes() == b"hello"


@pytest.mark.parametrize("torn", [b"", b"BLOB_BASE64_blobkeep1:eyJ"])
def test_a_torn_state_is_written_anew(data_dir: Layout, torn: bytes) -> None:
    blob = complete(7, "a", b"hello")
    blob_folder.take(data_dir, 7)
    Path(data_dir.data(7)).write_bytes(b"hello")
    Path(data_dir.state(7)).write_bytes(torn)
    write_journal(data_dir, [[entry_of(blob, None)]])
    assert reconcile.reconcile(data_dir).live == {"a": served(blob)}


def test_a_delete_that_was_lost_on_disk_stays_deleted(data_dir: Layout) -> None:
    blob = complete(7, "a", b"hello")
    blob_folder.take(data_dir, 7)
    Path(data_dir.data(7)).write_bytes(b"hello")
    Path(data_dir.state(7)).write_bytes(record.dump(blob))
    write_journal(data_dir, [[entry_of(deleted(blob), None)]])
    found = reconcile.reconcile(data_dir)
    assert (list(found.live), found.failures) == ([], [7])


def test_what_was_created_deleted_and_collected_does_not_come_back(data_dir: Layout) -> None:
    blob = complete(7, "a", b"hello")
    write_journal(data_dir, [[entry_of(blob, b"hello")], [entry_of(deleted(blob), None)]])
    found = reconcile.reconcile(data_dir)
    assert (list(found.live), found.seen) == ([], 0)


def test_an_id_that_came_back_has_its_last_owner(data_dir: Layout) -> None:
    old, new = complete(7, "a", b"old", seq=1), complete(7, "b", b"new", seq=2)
    blob_folder.take(data_dir, 7)
    Path(data_dir.data(7)).write_bytes(b"old")
    Path(data_dir.state(7)).write_bytes(record.dump(old))
    write_journal(data_dir, [[entry_of(deleted(old), None)], [entry_of(new, b"new")]])
    assert reconcile.reconcile(data_dir).live == {"b": served(new)}
    assert Path(data_dir.data(7)).read_bytes() == b"new"


def test_a_newer_pending_blob_is_not_overwritten(data_dir: Layout) -> None:
    old = complete(7, "a", b"old", seq=1)
    newer = record.created(7, "b", 2, MSG_CREATED, NOW_NS, "text/plain", "")
    blob_folder.take(data_dir, 7)
    os.close(blob_folder.stage(data_dir, newer.advanced(State.PENDING, MSG_WRITING, NOW_NS)))
    write_journal(data_dir, [[entry_of(old, b"old")], [entry_of(deleted(old), None)]])
    found = reconcile.reconcile(data_dir)
    assert (list(found.live), found.interrupted) == ([], 1)


def test_the_newer_file_is_replayed_last(data_dir: Layout) -> None:
    old, new = complete(7, "a", b"old", seq=1), complete(7, "a", b"new", seq=2)
    write_journal(data_dir, [[entry_of(new, b"new")]], number=0, epoch=5)
    write_journal(data_dir, [[entry_of(old, b"old")]], number=1, epoch=4)
    assert reconcile.reconcile(data_dir).live == {"a": served(new)}


def test_records_of_an_earlier_epoch_are_stale(data_dir: Layout) -> None:
    path = write_journal(data_dir, [[entry_of(complete(i, f"x{i}", b"x"), b"x")] for i in range(5)])
    file = JournalFile(path, 0)
    file.checkpoint(lambda: None)
    file.begin(2)
    file.append(journal.encode([[entry_of(complete(9, "y", b"y"), b"y")]]))
    file.close()
    assert ids_in(path) == {9}
    assert journal.scan(path).rotten == 0


def test_a_torn_tail_is_ignored_at_every_length(data_dir: Layout, tmp_path: Path) -> None:
    first, second = complete(1, "a", b"a" * 50), complete(2, "b", b"b" * 50)
    path = write_journal(data_dir, [[entry_of(first, b"a" * 50)]])
    end = journal.scan(path).end
    shutil.copy(path, tmp_path / "one")
    os.unlink(path)
    write_journal(data_dir, [[entry_of(first, b"a" * 50)], [entry_of(second, b"b" * 50)]])
    whole, tail = Path(path).read_bytes(), journal.scan(path).end
    for cut in range(end, tail, 7):
        Path(path).write_bytes(whole[:cut] + bytes(len(whole) - cut))
        found = journal.scan(path)
        assert (ids_in(path), found.rotten) in [({1}, 0), ({1, 2}, 0)]


def test_rot_before_a_later_batch_is_told_from_a_torn_tail(data_dir: Layout) -> None:
    blobs = [complete(i, f"x{i}", b"x") for i in range(3)]
    path = write_journal(data_dir, [[entry_of(blob, b"x")] for blob in blobs])
    content = bytearray(Path(path).read_bytes())
    content[4096 + 60] ^= 1
    Path(path).write_bytes(content)
    found = journal.scan(path)
    assert (ids_in(path), found.rotten) == ({1, 2}, 1)


@pytest.mark.parametrize("at", [0, 5, 20, 36])
def test_a_header_that_rotted_is_told_from_one_that_was_never_written(
    data_dir: Layout, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_journal(data_dir, [[entry_of(complete(7, "a", b"hello"), b"hello")]])
    JournalFile(data_dir.ours(journal.NAMES[1]), 1 << 20).close()  # never used
    content = bytearray(Path(path).read_bytes())
    content[at] ^= 1
    Path(path).write_bytes(content)
    assert [found.has_lost_header for found in journal.scan_all(data_dir)].count(True) == 1
    replay.replay(data_dir)
    assert f"{path} has lost its header" in caplog.text


def test_a_process_crash_finishes_what_the_commit_had_not_come_to(data_dir: Layout) -> None:
    blob = complete(7, "a", b"hello")
    path = data_dir.ours(journal.NAMES[0])
    file = JournalFile(path, 1 << 20)
    file.begin(1)
    file.append(journal.encode([[entry_of(blob, b"hello")]]))
    file.close()
    assert not journal.needs_replay(data_dir)
    assert reconcile.reconcile(data_dir).live == {"a": served(blob)}
    # what recovery judges, and the server then serves, must be durable in its folder
    assert journal.scan(path).clean
    assert replay.replay(data_dir).changed == 0


def test_the_first_record_needs_no_descriptor_of_its_own(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The boot id was read from /proc at each turn of the journal. When no descriptor was left, the
    server stopped.
    """
    file = JournalFile(data_dir.ours(journal.NAMES[0]), 1 << 20)

    def none_left(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "no descriptors left")

    with monkeypatch.context() as full:
        full.setattr("builtins.open", none_left)
        file.begin(1)
    file.close()
    assert journal.scan(file.path).boot_id == journal.boot_id()


def test_nothing_is_appended_to_what_a_dead_process_left(data_dir: Layout) -> None:
    """Its end may be torn. What it covers is made durable in the folders, and the file is started again."""
    blob = complete(7, "a", b"x")
    path = write_journal(data_dir, [[entry_of(blob, b"x")]])
    file = JournalFile(path, 1 << 20)
    assert file.phase is FilePhase.FULL
    with pytest.raises(RuntimeError):
        file.append(journal.encode([[entry_of(blob, b"x")]]))
    file.close()
    assert ids_in(path) == {7}


def test_a_failure_is_final_also_for_the_journal(data_dir: Layout) -> None:
    blob = complete(7, "a", b"hello")
    blob_folder.take(data_dir, 7)
    Path(data_dir.data(7)).write_bytes(b"hello")
    Path(data_dir.state(7)).write_bytes(record.dump(deleted(blob)))
    write_journal(data_dir, [[entry_of(blob, b"hello")]])
    found = reconcile.reconcile(data_dir)
    assert (list(found.live), found.failures) == ([], [7])


def test_an_id_whose_old_folder_came_back_is_its_last_owners(
    data_dir: Layout,
) -> None:
    """A cut may undo the gc's rename: then the folder is that of a deleted blob, with a higher number
    if the clock went back."""
    gone, new = complete(7, "a", b"gone", seq=900), complete(7, "b", b"new", seq=2)
    blob_folder.take(data_dir, 7)
    Path(data_dir.data(7)).write_bytes(b"gone")
    Path(data_dir.state(7)).write_bytes(record.dump(deleted(gone)))
    write_journal(data_dir, [[entry_of(new, b"new")]])
    assert reconcile.reconcile(data_dir).live == {"b": served(new)}


def test_numbers_in_the_journal_are_not_given_again(data_dir: Layout) -> None:
    blob = complete(7, "a", b"hello", seq=900)
    write_journal(data_dir, [[entry_of(blob, b"hello")], [entry_of(deleted(blob), None)]])
    assert reconcile.reconcile(data_dir).max_seq == 900


@pytest.mark.parametrize("boots", [1, 2])
def test_the_journal_is_durable_before_the_folders_follow_it(data_dir: Layout, boots: int) -> None:
    """A process may die before its sync; the old blob's Failure must not be on disk without the new one."""
    old, new = complete(7, "a", b"old", seq=1), complete(8, "a", b"new", seq=2)
    blob_folder.take(data_dir, 7)
    Path(data_dir.data(7)).write_bytes(b"old")
    blob_folder.write_record(data_dir, old)
    path = write_journal(data_dir, [[entry_of(new, b"new"), entry_of(deleted(old), None)]])
    log = ListLog()
    with recording(log):
        for _ in range(boots):
            replay.replay(data_dir)
    opened = next(op.fd for op in log.ops if op.kind == "open" and op.path == path)
    syncs = [n for n, op in enumerate(log.ops) if op.kind == "begin"]
    assert log.ops[syncs[0]].fd == opened
    assert all(op.kind in ("open", "write", "begin", "end") for op in log.ops[: syncs[0] + 1])
    assert not any(op.path.startswith(data_dir.folder(8)) for op in log.ops[: syncs[0]])


def test_nothing_is_judged_before_it_is_durable(data_dir: Layout) -> None:
    log = ListLog()
    with recording(log):
        reconcile.reconcile(data_dir)
    assert [op.path for op in log.ops if op.kind == "begin"][:1] == ["all"]


def test_the_gc_does_nothing_before_the_replay(data_dir: Layout) -> None:
    """A cut may bring back the folder of a deleted blob under an id that was given to another."""
    gone, new = complete(7, "a", b"gone", seq=1), complete(7, "b", b"new", seq=2)
    blob_folder.take(data_dir, 7)
    blob_folder.write_record(data_dir, deleted(gone))
    write_journal(data_dir, [[entry_of(new, b"new")]])
    gc = Collector(data_dir, 5.0, slice_folders=1 << 32)
    assert gc.run_once() is None
    assert os.path.isdir(data_dir.folder(7))
    assert reconcile.reconcile(data_dir).live == {"b": served(new)}
    gc.run_once()
    gc.close()
    assert reconcile.reconcile(data_dir).live == {"b": served(new)}


def test_the_gc_may_take_a_failure_while_it_is_replayed(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = complete(7, "a", b"hello")
    blob_folder.take(data_dir, 7)
    blob_folder.write_record(data_dir, deleted(blob))
    file = JournalFile(data_dir.ours(journal.NAMES[0]), 1 << 20)
    file.begin(1)
    file.append(journal.encode([[entry_of(deleted(blob), None)]]))
    file.close()
    blob_folder.note_failed_sync(data_dir)  # so that it is written again, though it is equal
    gc = Collector(data_dir, 5.0, slice_folders=1 << 32)
    replace_state = blob_folder.replace_state

    def collect_first(data_dir: Layout, blob_id: int, content: bytes) -> None:
        assert gc.run_once()
        replace_state(data_dir, blob_id, content)

    monkeypatch.setattr(blob_folder, "replace_state", collect_first)
    found = reconcile.reconcile(data_dir)
    gc.close()
    assert (list(found.live), found.seen) == ([], 0)


@pytest.mark.parametrize("bad", ["data.raw", "blob_state.base64.json"])
def test_what_the_kernel_failed_to_write_back_is_written_anew(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    """The process was killed, a write-back failed, and the error was reported to another process's sync,
    not to ours.
    """
    blob = complete(7, "a", b"hello")
    blob_folder.take(data_dir, 7)
    Path(data_dir.data(7)).write_bytes(b"hello")
    Path(data_dir.state(7)).write_bytes(record.dump(blob))
    inodes = {name: os.stat(f"{data_dir.folder(7)}/{name}").st_ino for name in os.listdir(data_dir.folder(7))}
    write_journal(data_dir, [[entry_of(blob, b"hello")]])

    def tell(fd: int, *_: object) -> int:
        if os.fstat(fd).st_ino != inodes[bad]:
            return 0
        ctypes.set_errno(errno.EIO)
        return -1

    monkeypatch.setattr(durable, "_sync_file_range", tell)
    assert replay.replay(data_dir).changed == 1
    assert os.stat(f"{data_dir.folder(7)}/{bad}").st_ino != inodes[bad]
    assert not os.path.exists(data_dir.ours(layout.SYNC_FAILED_NAME))
    assert reconcile.reconcile(data_dir).live == {"a": served(blob)}


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_journal_that_the_disk_does_not_give_is_never_gone_without(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """One read error moved the journal aside, and what only the journal had was lost."""
    blob = complete(7, "a", b"hello")
    path = write_journal(data_dir, [[entry_of(blob, b"hello")]])
    left = [failures]
    monkeypatch.setattr(journal, "DISK_WAITS_S", (0.0, 0.0))

    def refuse(opened: str) -> int:
        if opened == path and left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open_ours(opened)

    monkeypatch.setattr(journal, "open_ours", refuse)
    if failures == 3:
        with pytest.raises(StorageFailed, match="cannot be read"):
            reconcile.reconcile(data_dir)
    assert reconcile.reconcile(data_dir).live == {"a": served(blob)}


def test_the_gc_waits_while_nobody_can_read_the_journal(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    assert not journal.needs_replay(data_dir)
    monkeypatch.setattr(journal, "open_ours", refuse)
    assert journal.needs_replay(data_dir)


def test_a_disk_that_refuses_the_replay_has_no_blob_moved_away(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One read error of the disk put an intact blob into quarantine."""
    blob = complete(7, "a", b"hello")
    blob_folder.take(data_dir, 7)
    Path(data_dir.data(7)).write_bytes(b"hello")
    write_journal(data_dir, [[entry_of(blob, None)]])
    monkeypatch.setattr(journal, "DISK_WAITS_S", (0.0, 0.0))
    really = durable.rename

    def refuse(old: str, new: str) -> None:
        if old.startswith(data_dir.folder(7) + "/"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        really(old, new)

    with monkeypatch.context() as broken:
        broken.setattr(durable, "rename", refuse)
        with pytest.raises(OSError, match="Input/output"):
            reconcile.reconcile(data_dir)
    assert os.listdir(data_dir.folder(7)) == ["data.raw"]
    assert reconcile.reconcile(data_dir).live == {"a": served(blob)}
