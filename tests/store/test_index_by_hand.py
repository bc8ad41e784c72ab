"""What was changed by hand under an index is noticed: by the start, a read, or the comparison behind it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import Damaged, Unreadable
from services.engines.local.disk import blob_folder, record
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.serving import comparison
from tests.support.stores import Opened, opened, quiet_ns, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

Values = dict[str, bytes | None]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison after a start does not pause."""
    monkeypatch.setattr(comparison, "_PAUSE_S", 0)


async def three(root: str, id_bits: int) -> dict[str, Blob]:
    async with opened(root, "index", id_bits) as store:
        blobs = {at: await store.put(at, at.encode() * 100) for at in ("a", "b", "c")}
        await asyncio.sleep(quiet_ns() / 1e9)
        return blobs


Hand = Callable[[Layout, dict[str, Blob]], None]


def its_folder_goes(data_dir: Layout, blobs: dict[str, Blob]) -> None:
    shutil.rmtree(data_dir.folder(blobs["a"].id))


def its_data_goes(data_dir: Layout, blobs: dict[str, Blob]) -> None:
    os.unlink(data_dir.data(blobs["a"].id))


def its_data_is_cut(data_dir: Layout, blobs: dict[str, Blob]) -> None:
    os.truncate(data_dir.data(blobs["a"].id), 10)


def its_state_goes(data_dir: Layout, blobs: dict[str, Blob]) -> None:
    os.unlink(data_dir.state(blobs["a"].id))


def its_state_rots(data_dir: Layout, blobs: dict[str, Blob]) -> None:
    with open(data_dir.state(blobs["a"].id), "r+b") as file:
        file.seek(100)
        file.write(b"\0\0")


def it_is_failed(data_dir: Layout, blobs: dict[str, Blob]) -> None:
    found = blob_folder.read_record(data_dir, blobs["a"].id)
    blob_folder.fail(data_dir, found, "by hand", 1)


def it_is_another_of_the_same_name(data_dir: Layout, blobs: dict[str, Blob]) -> None:
    """As after restoring a folder from a backup: an earlier state, and its data."""
    shutil.copy(data_dir.data(blobs["b"].id), data_dir.data(blobs["a"].id))
    found = blob_folder.read_record(data_dir, blobs["b"].id)
    _write(data_dir, found, blobs["a"].id, "a", blobs["a"].seq - 1)


def it_is_of_another_name(data_dir: Layout, blobs: dict[str, Blob]) -> None:
    found = blob_folder.read_record(data_dir, blobs["a"].id)
    _write(data_dir, found, blobs["a"].id, "d", found.seq)


def one_is_put_there(data_dir: Layout, blobs: dict[str, Blob]) -> None:
    number = next(n for n in range(9) if n not in {blob.id for blob in blobs.values()})
    shutil.copytree(data_dir.folder(blobs["a"].id), data_dir.folder(number))
    found = blob_folder.read_record_in(data_dir.folder(number), None)
    _write(data_dir, found, number, "d", found.seq + 1000)


def _write(data_dir: Layout, found: record.BlobRecord, number: int, location: str, seq: int) -> None:
    import msgspec

    new = msgspec.structs.replace(found, id=number, location=location, seq=seq)
    Path(data_dir.state(number)).write_bytes(record.dump(new))


A, B, C = b"a" * 100, b"b" * 100, b"c" * 100
DAMAGED = b"damaged"
BY_HAND: list[tuple[Hand, Values, bool]] = [  # what is served then, and whether the start itself notices it
    (its_folder_goes, {"b": B, "c": C}, True),
    (its_data_goes, {"a": DAMAGED, "b": B, "c": C}, False),
    (its_data_is_cut, {"a": DAMAGED, "b": B, "c": C}, False),
    (its_state_goes, {"a": A, "b": B, "c": C}, False),
    (its_state_rots, {"a": A, "b": B, "c": C}, False),
    (it_is_failed, {"b": B, "c": C}, False),
    (it_is_another_of_the_same_name, {"a": B, "b": B, "c": C}, False),
    (it_is_of_another_name, {"d": A, "b": B, "c": C}, False),
    (one_is_put_there, {"a": A, "b": B, "c": C, "d": A}, True),
]


@pytest.mark.parametrize(
    ("id_bits", "read_first"), [(16, False), (16, True), (32, False)], ids=["compared", "read", "rows"]
)
@pytest.mark.parametrize(
    ("hand", "expected", "at_once"), BY_HAND, ids=lambda one: getattr(one, "__name__", "")
)
@pytest.mark.usefixtures("quick")
def test_what_was_changed_by_hand_is_noticed(
    base: Path, hand: Hand, expected: Values, at_once: bool, id_bits: int, read_first: bool
) -> None:
    root = str(base / "data")
    blobs = asyncio.run(three(root, id_bits))
    hand(Layout(root, id_bits), blobs)

    async def value(store: Opened, location: str) -> bytes | None:
        try:
            return await store.read(location)
        except Damaged:
            return DAMAGED
        except Unreadable:
            return None  # not judged yet

    async def serve() -> None:
        async with opened(root, "index", id_bits) as store:
            assert store.found.by_index
            assert store.found.unlisted == ([] if at_once or id_bits == 16 else [0])
            if read_first:
                for location in ("a", "b", "c", "d"):
                    seen = await value(store, location)
                    assert seen in (expected.get(location), A if location == "a" else None, DAMAGED)
            if not at_once:
                await store.store.comparison.run()
                await until(lambda: not store.store.index.unreadable, "the judgement")
                await until(lambda: not store.store.damage.tasks, "the quarantine")
            found = {at: await value(store, at) for at in ("a", "b", "c", "d")}
            assert found == {"a": None, "d": None} | expected
        async with opened(root, "index", id_bits) as store:
            assert store.found.by_index  # what was settled is in the index
            assert {at: await value(store, at) for at in found} == found
        async with opened(root, "journal", id_bits) as store:  # so does a full start
            assert {at: await value(store, at) for at in found} == found

    asyncio.run(serve())
