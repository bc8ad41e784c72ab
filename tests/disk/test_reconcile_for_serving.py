"""Recovery as the server does it. What the server keeps of a record has no history, but the state file
has one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from common import checksum
from common.states import MSG_COMPLETE, MSG_CREATED, MSG_INTERRUPTED, MSG_SUPERSEDED, MSG_WRITING, State
from services.engines.local.disk import blob_folder, directory, record
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord
from services.engines.local.journal import format as journal
from services.engines.local.journal.file import JournalFile
from services.engines.local.journal.format import JournalEntry
from services.engines.local.recovery import reconcile


@pytest.fixture
def data_dir(tmp_path: Path) -> Layout:
    return directory.open_directory(str(tmp_path / "data"), 16, owner=True)


def put(data_dir: Layout, blob_id: int, seq: int, *, complete: bool = True) -> BlobRecord:
    assert blob_folder.take(data_dir, blob_id)
    first = record.created(blob_id, "a", seq, MSG_CREATED, time.time_ns(), "text/plain", "")
    pending = first.advanced(State.PENDING, MSG_WRITING, time.time_ns())
    fd = blob_folder.stage(data_dir, pending)
    os.write(fd, b"body")
    os.close(fd)
    if not complete:
        return pending
    done = pending.completed(4, *checksum.sums_of(b"body"), time.time_ns())
    blob_folder.write_record(data_dir, done)
    return done


def messages(data_dir: Layout, blob_id: int) -> list[str]:
    return [event.message for event in blob_folder.read_record(data_dir, blob_id).events]


def test_what_is_kept_of_a_record_says_all_that_serving_needs(data_dir: Layout) -> None:
    blob = put(data_dir, 7, 12345)
    (kept,) = reconcile.reconcile(data_dir).live.values()
    names = ("location", "id", "seq", "size", "sha256", "crcs", "type", "encoding", "modified_ns")
    assert [getattr(kept, n) for n in names] == [getattr(blob, n) for n in names]


def test_an_interrupted_blob_keeps_its_history_on_disk(data_dir: Layout) -> None:
    put(data_dir, 7, 1, complete=False)
    assert reconcile.reconcile(data_dir).failures == [7]
    assert messages(data_dir, 7) == [MSG_CREATED, MSG_WRITING, MSG_INTERRUPTED]


@pytest.mark.parametrize("older", [7, 8])
def test_a_superseded_blob_keeps_its_history_on_disk(data_dir: Layout, older: int) -> None:
    newer = 15 - older
    put(data_dir, older, 1)
    put(data_dir, newer, 2)
    found = reconcile.reconcile(data_dir)
    assert (found.live["a"].id, found.superseded, found.failures) == (newer, 1, [older])
    assert messages(data_dir, older) == [MSG_CREATED, MSG_WRITING, MSG_COMPLETE, MSG_SUPERSEDED]
    assert messages(data_dir, newer) == [MSG_CREATED, MSG_WRITING, MSG_COMPLETE]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8192, 16384, 100_000])
def test_a_small_file_is_read_whole_whatever_its_length(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert blob_folder.read_file(str(tmp_path / "file")) == content


def test_a_record_is_found_wherever_it_lies_in_a_journal_larger_than_what_is_read_at_once(
    tmp_path: Path,
) -> None:
    """A journal is read in parts of 1 MiB. Records and gaps may cross the borders."""
    path = str(tmp_path / "journal")
    file = JournalFile(path, 5 << 20)
    file.begin(3)
    body = bytes(range(256)) * 250
    entries = [JournalEntry(n, n, True, b"state", body[: 60_000 + n]) for n in range(60)]
    for entry in entries:
        file.append(journal.encode([[entry]]))
    file.close()
    found = journal.scan(path)
    assert [change[0] for change in found.changes] == entries
    assert found.rotten == 0
    torn = Path(path)
    content = bytearray(torn.read_bytes())
    content[100_000:2_200_000] = bytes(2_100_000)  # more than one part is missing
    torn.write_bytes(content)
    found = journal.scan(path)
    assert found.rotten == 1
    assert found.changes[-1][0] == entries[-1]
    assert 20 < len(found.changes) < 30
