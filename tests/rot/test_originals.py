"""State files of the original server: what it reads is read. What cannot be judged is quarantined, whole."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.states import MSG_COMPLETE, State
from services.engines.local.disk import blob_folder, directory, layout
from services.engines.local.disk.blob import served
from services.engines.local.disk.layout import Layout
from services.engines.local.recovery import reconcile
from tests.disk.test_reconcile import put
from tests.rot.records import (
    GO_DATA,
    GO_OK,
    Json,
    copy_go,
    data_dir,
    document_of,
    is_kept,
    newest,
    original,
    our_document,
    overwrite,
    sealed,
)
from tests.support.campaign import choose, tally
from tests.support.stores import opened, small_journal

__all__ = ["data_dir", "small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


# --- every bit of a file of the original server ---


def test_whatever_bit_of_an_originals_record_turns_the_start_goes_on_and_nothing_is_thrown_away(
    base: Path,
) -> None:
    files = sorted(GO_DATA.glob(f"*/{layout.STATE_NAME}"))
    bits = [(path, bit) for path in files for bit in range(path.stat().st_size * 8)]
    assert len(bits) == 38_416
    chosen = choose("original's bits", bits, 150)
    tally("bits turned in records of the original", len(chosen))
    for path, bit in chosen:
        blob_id = int(path.parent.name)
        data_dir = directory.open_directory(str(base / "data"), 16, owner=True)
        copy_go(data_dir, blob_id)
        content = bytearray(path.read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        Path(data_dir.state(blob_id)).write_bytes(content)
        found = reconcile.reconcile(data_dir)
        if blob_id in GO_OK:
            assert not found.failures, (path, bit)
            assert is_kept(data_dir, found, blob_id), (path, bit)
        assert not reconcile.reconcile(data_dir).changed, (path, bit)
        shutil.rmtree(data_dir.root)


# --- created or complete, whatever the wording of a message ---


@pytest.mark.parametrize("message", ["Blob Data Written", "", "Blob Created & Saved!", "x\nstate: crc32c 0"])
def test_an_original_that_is_ok_after_pending_is_complete_whatever_its_message(
    data_dir: Layout, message: str
) -> None:
    copy_go(data_dir, 13342)
    document = document_of()
    newest(document)["status"]["msg"] = message
    Path(data_dir.state(13342)).write_bytes(original(document))
    found = reconcile.reconcile(data_dir)
    assert found.live["foo"].id == 13342
    assert not reconcile.reconcile(data_dir).changed
    assert blob_folder.read_record(data_dir, 13342).state is State.COMPLETE


def test_one_of_ours_with_a_checksum_is_complete_whatever_its_message(data_dir: Layout) -> None:
    blob = put(data_dir, 7, "a")
    document, chunks = our_document(data_dir, 7)
    newest(document)["status"]["msg"] = "another wording"
    Path(data_dir.state(7)).write_bytes(sealed(document, chunks))
    found = reconcile.reconcile(data_dir)
    assert found.live == {"a": served(blob)}


def no_status(document: Json) -> None:
    document["status"] = None


def no_log(document: Json) -> None:
    document["status"]["log"] = []


def one_unknown_entry(document: Json) -> None:
    document["status"]["log"] = [newest(document)]
    newest(document)["status"]["msg"] = "another wording"


def ok_after_ok(document: Json) -> None:
    document["status"]["log"] = [
        newest(document),
        {**newest(document), "status": {"code": 0, "msg": "what?"}},
    ]


def unknown_newest_code(document: Json) -> None:
    newest(document)["status"]["code"] = 7


def failure_in_the_log_alone(document: Json) -> None:
    newest(document)["status"]["code"] = -1


def pending_in_the_log_alone(document: Json) -> None:
    newest(document)["status"]["code"] = -2


def no_time(document: Json) -> None:
    newest(document)["timestamp"] = "yesterday"


def out_of_order(document: Json) -> None:
    """A full ring whose index points into its middle."""
    entry = newest(document)
    entries = [{**entry, "timestamp": f"2026-01-01T00:00:{n:02}Z"} for n in range(16)]
    entries[4] = {**entries[4], "status": {"code": -1, "msg": "Deleted!"}}
    document["status"] = {"log": entries, "index": 5}


@pytest.mark.parametrize(
    "change",
    [
        *(no_status, no_log, one_unknown_entry, ok_after_ok, unknown_newest_code, failure_in_the_log_alone),
        *(pending_in_the_log_alone, no_time, out_of_order),
    ],
)
def test_an_original_that_cannot_be_judged_is_quarantined_and_not_thrown_away(
    data_dir: Layout, change: Callable[[Json], None]
) -> None:
    copy_go(data_dir, 13342)
    document = document_of()
    change(document)
    history = (GO_DATA / "13342" / layout.STATE_NAME).read_bytes().split(b"\n\n", 1)[1]
    Path(data_dir.state(13342)).write_bytes(original(document, history))
    found = reconcile.reconcile(data_dir)
    assert (len(found.quarantined), found.failures) == (1, [])
    assert is_kept(data_dir, found, 13342)


def test_one_that_was_only_created_is_still_told(data_dir: Layout) -> None:
    copy_go(data_dir, 13342)
    document = document_of()
    document["status"]["log"] = document["status"]["log"][:1]
    assert newest(document)["status"]["msg"] != MSG_COMPLETE
    Path(data_dir.state(13342)).write_bytes(original(document))
    assert reconcile.reconcile(data_dir).failures == [13342]


def test_data_under_a_temporary_name_takes_no_place_that_it_does_not_fit(data_dir: Layout) -> None:
    """The data under its real name may be damaged, but it is all that is left."""
    put(data_dir, 7, "a", b"twelve bytes")
    os.truncate(data_dir.data(7), 5)
    Path(data_dir.folder(7), layout.DATA_TEMP_NAME).write_bytes(b"torn")
    found = reconcile.reconcile(data_dir)
    (name,) = os.listdir(data_dir.ours(layout.QUARANTINE_NAME))
    assert len(found.quarantined) == 1
    assert Path(data_dir.ours(layout.QUARANTINE_NAME), name, layout.DATA_NAME).read_bytes() == b"twelv"


# --- what the original server reads ---

ABSENT = object()


@pytest.mark.parametrize("value", [None, {}, {"map": {}}, ABSENT, 5, [[]]])
@pytest.mark.parametrize("name", ["options", "UpdateMU", "unknown"])
def test_what_the_original_reads_is_read(data_dir: Layout, name: str, value: object) -> None:
    copy_go(data_dir, 13342)
    document = document_of()
    if value is ABSENT:
        document.pop(name, None)
    else:
        document[name] = value
    Path(data_dir.state(13342)).write_bytes(original(document))
    assert reconcile.reconcile(data_dir).live["foo"].size == 17


@pytest.mark.parametrize("value", [None, ABSENT])
@pytest.mark.parametrize("name", ["code", "msg", "timestamp", "index", "status", "entry"])
def test_members_that_are_missing_or_null_are_zero_as_to_the_original(
    data_dir: Layout, name: str, value: object
) -> None:
    copy_go(data_dir, 13342)
    document = document_of()
    older: Json = document["status"]["log"][0]
    holder: Any = {"code": older["status"], "msg": older["status"], "index": document["status"]}.get(
        name, older
    )
    if name == "entry":
        document["status"]["log"][0] = None
    elif value is ABSENT:
        del holder[name]
    else:
        holder[name] = value
    Path(data_dir.state(13342)).write_bytes(original(document))
    assert reconcile.reconcile(data_dir).live["foo"].size == 17
    assert not reconcile.reconcile(data_dir).changed


TIMES = {
    "1969-12-31T23:59:59Z": 0,
    "0000-01-01T00:00:00Z": 0,
    "0001-01-01T00:00:00Z": 0,
    "0001-01-01T00:00:00+14:00": 0,
    "1826-11-22T07:45:48.364475953Z": 0,
    "2262-04-12T00:00:00Z": (1 << 63) - 1,
    "3026-11-22T07:45:48.364475953Z": (1 << 63) - 1,
    "9999-12-31T23:59:59.999999999-14:00": (1 << 63) - 1,
}


@pytest.mark.parametrize("at", TIMES)
@pytest.mark.parametrize("entry", [0, -1])
def test_a_time_that_we_cannot_hold_is_the_nearest_that_we_can(base: Path, at: str, entry: int) -> None:
    async def run() -> None:
        root = str(base / "data")
        data_dir = directory.open_directory(root, 16, owner=True)
        copy_go(data_dir, 13342)
        document = document_of()
        document["status"]["log"][entry]["timestamp"] = at
        overwrite(data_dir.state(13342), original(document))
        async with opened(root) as store:
            blob = await store.store.stat("foo")
            assert blob is not None
            if entry == -1:
                assert blob.modified_ns == TIMES[at]
            assert await store.read("foo") == b"2" * 17
            new = await store.put("b", b"goes on")
            assert new.seq > blob.seq
        async with opened(root) as store:
            assert (await store.values()).keys() == {"foo", "b"}
            await store.delete("foo")

    asyncio.run(run())
