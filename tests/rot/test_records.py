"""State files with any content: one blob never prevents a start, and what cannot be judged is served or
quarantined, never thrown away.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import CorruptRecord, Unreadable
from common.states import MSG_CREATED
from services.engines.local.disk import directory, layout, quarantine, record
from services.engines.local.disk.blob import served
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record_json import MAX_PLAUSIBLE_SEQ
from services.engines.local.recovery import reconcile
from services.engines.local.recovery.scan import parse
from services.engines.local.upkeep.check import check
from services.engines.local.upkeep.verifier import Verifier
from tests.disk.test_reconcile import put
from tests.rot.records import (
    Json,
    copy_go,
    data_dir,
    document_of,
    is_kept,
    original,
    our_document,
    overwrite,
    sealed,
)
from tests.support.stores import opened, small_journal

__all__ = ["data_dir", "small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")


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
