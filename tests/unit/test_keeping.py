"""How long the gc must keep a blob: services/engines/local/disk/keeping.py."""

from __future__ import annotations

import msgspec
import pytest

from common import checksum
from common.states import MSG_CREATED, MSG_DELETED, MSG_NOT_COMMITTED, MSG_WRITING, State
from services.engines.local.disk import blob_folder, record
from services.engines.local.disk.keeping import AT_ONCE, NEVER, Keeping, not_before
from services.engines.local.disk.record import BlobRecord

S = 1_000_000_000
DAY_NS = 86_400 * S
NOW_NS = 1_800_000_000 * S
WEEK = Keeping(deleted_s=7 * 86_400.0)


def complete(body: bytes = b"body", location: str = "a") -> BlobRecord:
    first = record.created(7, location, 1, MSG_CREATED, NOW_NS - DAY_NS, "text/plain", "")
    pending = first.advanced(State.PENDING, MSG_WRITING, NOW_NS - DAY_NS)
    return pending.completed(len(body), *checksum.sums_of(body), NOW_NS - DAY_NS)


def deleted(at_ns: int = NOW_NS, *, keeps: bool = True, location: str = "a") -> BlobRecord:
    return blob_folder.failed(complete(location=location), MSG_DELETED, at_ns, keeps=keeps)


def pending() -> BlobRecord:
    first = record.created(7, "a", 1, MSG_CREATED, NOW_NS, "text/plain", "")
    return first.advanced(State.PENDING, MSG_WRITING, NOW_NS)


def test_what_is_not_in_failure_is_never_removed() -> None:
    for found in (complete(), pending()):
        assert not_before(found, WEEK, NOW_NS) == not_before(found, Keeping(), NOW_NS) == NEVER


def test_what_was_deleted_is_kept_for_the_time() -> None:
    assert not_before(deleted(NOW_NS - DAY_NS), WEEK, NOW_NS) == NOW_NS + 6 * DAY_NS
    assert not_before(deleted(), Keeping(), NOW_NS) == AT_ONCE


def test_what_never_was_whole_is_not_kept() -> None:
    interrupted = blob_folder.failed(pending(), "interrupted", NOW_NS)
    not_committed = blob_folder.failed(complete(), MSG_NOT_COMMITTED, NOW_NS)
    for found in (interrupted, not_committed, deleted(keeps=False)):
        assert not_before(found, WEEK, NOW_NS) == AT_ONCE


def test_the_records_of_front_ends_are_not_kept() -> None:
    assert not_before(deleted(location="\0s3/part"), WEEK, NOW_NS) == AT_ONCE
    assert not WEEK.keeps("\0s3/part")


def test_a_clock_that_was_ahead_keeps_nothing_for_ever() -> None:
    assert not_before(deleted(NOW_NS + 900 * DAY_NS), WEEK, NOW_NS) == NOW_NS + 7 * DAY_NS


@pytest.mark.parametrize("body", [b"", b"body", bytes((3 << 20) + 1)])
def test_a_kept_state_has_its_checksums_on_disk_and_another_has_not(body: bytes) -> None:
    kept = blob_folder.failed(complete(body), MSG_DELETED, NOW_NS, keeps=True)
    found = record.load(record.dump(kept))
    assert found == kept
    assert found.is_whole
    dropped = record.load(record.dump(blob_folder.failed(complete(body), MSG_DELETED, NOW_NS)))
    assert not dropped.is_whole
    assert dropped.size == len(body)


def test_checksums_that_do_not_fit_the_size_bring_nothing_back() -> None:
    short = msgspec.structs.replace(deleted(), size=5 << 20)
    assert not record.load(record.dump(short)).is_whole
