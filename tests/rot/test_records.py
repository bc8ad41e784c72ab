"""State files with any content: one blob never prevents a start, and what cannot be judged is served or
quarantined, never thrown away.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common import checksum
from common.errors import CorruptRecord, Unreadable
from common.states import MSG_COMPLETE, MSG_CREATED, State
from services.engines.local.disk import blob_folder, directory, layout, quarantine, record
from services.engines.local.disk.blob import served
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record_json import MAX_PLAUSIBLE_SEQ
from services.engines.local.recovery import reconcile
from services.engines.local.recovery.reconciled import Reconciled
from services.engines.local.recovery.scan import parse
from services.engines.local.upkeep.check import check
from services.engines.local.upkeep.verifier import Verifier
from tests.disk.test_reconcile import put
from tests.support.campaign import choose, tally
from tests.support.stores import opened, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

GO_DATA = Path(__file__).resolve().parents[1] / "go-data"
GO_OK = {13342, 41055, 39822, 2818, 41740}  # complete; 1090 is Pending, 13343 in Failure
Json = dict[str, Any]


@pytest.fixture
def data_dir(base: Path) -> Layout:
    return directory.open_directory(str(base / "data"), 16, owner=True)


def document_of(blob_id: int = 13342) -> Json:
    """The JSON that the original server wrote for one of its blobs."""
    content = (GO_DATA / str(blob_id) / layout.STATE_NAME).read_bytes()
    found: Json = msgspec.json.decode(base64.b64decode(content.splitlines()[0].split(b":")[1]))
    return found


def original(document: Json | bytes, history: bytes = b"") -> bytes:
    """A state file of the original with this JSON."""
    packed = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return b"BLOB_BASE64_dev:" + base64.b64encode(packed) + b"\n\n" + history


def sealed(document: Json | bytes, chunks: bytes = b"") -> bytes:
    """A state file of ours with this JSON, and a checksum that is right."""
    packed = document if isinstance(document, bytes) else msgspec.json.encode(document)
    body = b"BLOB_BASE64_blobkeep1:" + base64.b64encode(packed) + b"\n\n\n" + chunks
    return body + b"state: crc32c %08x\n" % checksum.crc(body)


def our_document(data_dir: Layout, blob_id: int) -> tuple[Json, bytes]:
    """The JSON of a blob of ours, and its line of chunks."""
    content = Path(data_dir.state(blob_id)).read_bytes()
    found: Json = msgspec.json.decode(base64.b64decode(content.splitlines()[0].split(b":")[1]))
    return found, next(line + b"\n" for line in content.splitlines() if line.startswith(b"chunks"))


def copy_go(data_dir: Layout, blob_id: int) -> None:
    shutil.copytree(GO_DATA / str(blob_id), data_dir.folder(blob_id))


def newest(document: Json) -> Json:
    entry: Json = document["status"]["log"][-1]
    return entry


def is_kept(data_dir: Layout, found: Reconciled, blob_id: int) -> bool:
    """Served, or in quarantine with its data."""
    kept = {blob.id for blob in (*found.live.values(), *found.unadopted.values())}
    home = Path(data_dir.ours(layout.QUARANTINE_NAME))
    moved = [name for name in os.listdir(home) if name.split("-")[0] == str(blob_id)] if home.is_dir() else []
    return blob_id in kept or any((home / name / layout.DATA_NAME).exists() for name in moved)


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


def overwrite(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


# --- what no program writes ---

DEEP = b"[" * 5000 + b"]" * 5000


def with_ours(**changes: object) -> Callable[[Json], bytes]:
    def change(document: Json) -> bytes:
        document["blobkeep"].update(changes)
        return _encoded(document)

    return change


def with_member(name: str, value: object) -> Callable[[Json], bytes]:
    return lambda document: _encoded({**document, name: value})


def _encoded(document: Json) -> bytes:
    """JSON with numbers of any length, which msgspec does not write."""
    import json

    return json.dumps(document).encode()


def with_code(at: int, code: int) -> Callable[[Json], bytes]:
    def change(document: Json) -> bytes:
        document["status"]["log"][at]["status"]["code"] = code
        return _encoded(document)

    return change


HOSTILE: dict[str, Callable[[Json], bytes]] = {
    **{f"seq {seq}": with_ours(seq=seq) for seq in (-1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 100, 10**4000)},
    **{f"modified {ns}": with_ours(modified_ns=ns) for ns in (1 << 63, -(1 << 63) - 1, 1 << 100)},
    **{f"size {size}": with_ours(size=size) for size in (-1, 5, 1 << 63, 1 << 64, 1 << 100)},
    **{f"id {n}": with_member("id", n) for n in (-1, 8, 1 << 32, 1 << 64, "7", 7.5, None)},
    **{f"sha256 {text!r}": with_ours(sha256=text) for text in ("", "zz", "00", "é")},
    "newest code 7": with_code(-1, 7),
    "newest code 2^64": with_code(-1, 1 << 64),
    "deep in the middle": lambda d: _encoded(d)[:-1] + b',"x":' + DEEP + b"}",
    "deep options": lambda d: _encoded({**d, "options": "@"}).replace(b'"@"', DEEP),
    "deep alone": lambda d: DEEP,
    "deep objects": lambda d: b'{"a":' * 5000,
    "no object": lambda d: b"[1]",
    "nothing": lambda d: b"",
    "lone surrogate": lambda d: _encoded(d).replace(b'"a"', b'"\\ud800"'),
    "location null": with_member("location", None),
    "location empty": with_member("location", ""),
    "location a number": with_member("location", 5),
    "status a list": with_member("status", []),
    "seventeen entries": lambda d: _encoded({**d, "status": {"log": d["status"]["log"] * 6, "index": 0}}),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("seal", [True, False])
def test_a_record_that_says_the_impossible_harms_nobody_else(base: Path, name: str, seal: bool) -> None:
    async def run() -> None:
        root = str(base / "data")
        data_dir = directory.open_directory(root, 16, owner=True)
        put(data_dir, 7, "a", b"hostile")
        put(data_dir, 9, "b", b"good", seq=2)
        document, chunks = our_document(data_dir, 7)
        content = HOSTILE[name](document)
        overwrite(data_dir.state(7), sealed(content, chunks) if seal else original(content))
        check(data_dir, dry_run=True)
        async with opened(root) as store:
            assert await store.read("b") == b"good"
            assert not store.found.failures
            assert is_kept(store.data_dir, store.found, 7)
            await store.put("c", b"new")
            await store.put("b", b"newer")
            await store.delete("c")
        async with opened(root) as store:
            assert (await store.values())["b"] == b"newer"
        worker = Verifier(data_dir, 1.0, 1e9)
        worker.run_once()

    asyncio.run(run())


@pytest.mark.parametrize("code", [7, -3, 1 << 20])
def test_an_unknown_code_in_an_older_entry_matters_to_nobody(base: Path, code: int) -> None:
    async def run() -> None:
        root = str(base / "data")
        data_dir = directory.open_directory(root, 16, owner=True)
        copy_go(data_dir, 13342)
        overwrite(data_dir.state(13342), original(with_code(0, code)(document_of())))
        async with opened(root) as store:
            assert await store.read("foo") == b"2" * 17
            await store.delete("foo")
        async with opened(root) as store:
            assert await store.values() == {}

    asyncio.run(run())


@pytest.mark.parametrize("seq", [MAX_PLAUSIBLE_SEQ, MAX_PLAUSIBLE_SEQ + 1, (1 << 63) - 1])
def test_a_number_near_the_end_ends_no_server(base: Path, seq: int) -> None:
    async def run() -> None:
        root = str(base / "data")
        put(directory.open_directory(root, 16, owner=True), 7, "a", b"hostile", seq=seq)
        for turn in range(3):
            async with opened(root) as store:
                assert not store.found.quarantined
                assert await store.read("a") == b"hostile"
                for number in range(3):
                    await store.put(f"b{turn}{number}", b"new")
                assert not store.fatal
        async with opened(root) as store:
            assert len(await store.values()) == 10
            await store.put("a", b"newer")
        async with opened(root) as store:
            assert await store.read("a") == b"newer"

    asyncio.run(run())


def test_a_sparse_state_is_not_read_into_memory(data_dir: Layout) -> None:
    put(data_dir, 7, "a")
    put(data_dir, 9, "b", seq=2)
    os.truncate(data_dir.state(7), 40 << 30)
    found = reconcile.reconcile(data_dir)
    assert list(found.live) == ["b"]
    assert [blob_id for blob_id, _ in found.quarantined] == [7]


def test_a_sparse_terabyte_of_the_original_holds_up_no_start(base: Path) -> None:
    async def run() -> None:
        root = str(base / "data")
        data_dir = directory.open_directory(root, 16, owner=True)
        put(data_dir, 9, "b", b"good")
        copy_go(data_dir, 13342)
        copy_go(data_dir, 41740)
        os.truncate(data_dir.data(13342), 1 << 40)
        async with opened(root) as store:
            assert store.found.unadopted.keys() == {"foo"}
            assert await store.read("b") == b"good"
            assert await store.read("✓") is not None
            with pytest.raises(Unreadable, match="checksums"):
                await store.read("foo")
            await store.put("c", b"new")
        assert is_kept(data_dir, reconcile.reconcile(data_dir), 13342)
        os.truncate(data_dir.data(13342), 17)

    asyncio.run(run())


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        b'{"id":7,"location":"a","seq":%d,"reason":"","time":""}' % (1 << 100),
        b'{"id":7,"location":"a","seq":-1,"reason":"","time":""}',
        b'{"id":7,"location":"","seq":1,"reason":"","time":""}',
        b"[]",
    ],
)
def test_a_note_that_says_the_impossible_keeps_nobody_from_starting(data_dir: Layout, content: bytes) -> None:
    put(data_dir, 7, "a")
    quarantine.move_in(data_dir, 7, "a", 1, "damaged")
    note = Path(data_dir.ours(layout.QUARANTINE_NAME), "7-1", layout.NOTE_NAME)
    note.write_bytes(content)
    found = reconcile.reconcile(data_dir)
    assert list(found.damaged) == ["a"]  # its state has the location
    assert found.max_seq < MAX_PLAUSIBLE_SEQ


@pytest.mark.parametrize(
    "content", [DEEP, b'{"format":1,"id_bits":7}', b'{"format":1,"id_bits":%d}' % (1 << 100), b"[]", b"\xff"]
)
def test_a_format_file_that_says_the_impossible_is_made_out_from_the_folders(
    data_dir: Layout, content: bytes
) -> None:
    put(data_dir, 7, "a")
    Path(data_dir.ours(layout.FORMAT_NAME)).write_bytes(content)
    assert directory.existing(data_dir.root).id_bits == 16
    assert directory.open_directory(data_dir.root, 16, owner=True).id_bits == 16


# --- what becomes a header field ---


@pytest.mark.parametrize(
    "hostile", ["text/html\r\nSet-Cookie: a=b", "a\nb", "a\0b", "é", "\u2028", "x" * 256, "a\x7f"]
)
def test_a_type_that_could_not_stand_in_a_header_is_served_as_the_default(
    data_dir: Layout, hostile: str
) -> None:
    put(data_dir, 7, "a", b"body")
    document, chunks = our_document(data_dir, 7)
    document["blobkeep"] |= {
        "type": hostile,
        "encoding": hostile,
        "meta": {"cache-control": "no-store", "expires": "a\r\nb: c", "x\r\ny": "z"},
    }
    content = sealed(document, chunks)
    found = record.load(content)
    plain = parse(content, 7)
    assert plain == served(found)
    assert (found.type, found.encoding, found.metadata) == (
        *("application/octet-stream", ""),
        {"cache-control": "no-store"},
    )


def test_messages_add_no_line_to_a_state_file(data_dir: Layout) -> None:
    document = document_of()
    document["status"]["log"][0]["status"]["msg"] = "x\n\nchunks: 00000000\nBLOB_BASE64_dev:AAAA"
    found = record.load(original(document))
    assert all("\n" not in event.message for event in found.events)
    assert found.events[0].message.startswith("x")
    assert MSG_CREATED not in found.events[0].message


def test_nothing_but_the_documented_error_is_raised() -> None:
    for content in (b"", b"BLOB_BASE64_dev:\n", b"BLOB_BASE64_dev:AAAA\n", original(DEEP), original(b"{}")):
        with pytest.raises(CorruptRecord):
            record.load(content)
