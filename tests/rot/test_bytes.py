"""Corruption: every byte on disk is changed, one at a time. A wrong byte is never sent as good."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from common.errors import CorruptRecord, Damaged
from services.engines.local.disk import blob_folder, record
from services.engines.local.disk.layout import Layout
from services.engines.local.journal.format import NAMES, scan
from services.engines.local.upkeep import scrubber
from tests.support.campaign import choose, chooser, tally
from tests.support.stores import Opened, opened, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

BODY = os.urandom(2_500_000)  # three chunks, of which the last is short
OTHER = b"another blob"


def flip(path: str, at: int, bit: int) -> None:
    tally("bytes turned", 1)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << bit)]))


async def made(root: str, body: bytes) -> tuple[Layout, int]:
    """A directory with the blob `a` and another one. Gives (its layout, the id of `a`)."""
    async with opened(root, "folder") as store:
        blob = await store.put("a", body)
        await store.put("other", OTHER)
        return store.data_dir, blob.id


async def what_is_sent(store: Opened, location: str) -> bytes | str | None:
    try:
        return await store.read(location)
    except Damaged:
        return "damaged"


def make_original(data_dir: Layout, blob_id: int) -> None:
    """Its state as the original server writes it: no number, no checksum, no size."""
    content = Path(data_dir.state(blob_id)).read_bytes()
    document = msgspec.json.decode(base64.b64decode(content.splitlines()[0].split(b":")[1]))
    del document["blobkeep"]
    first = b"BLOB_BASE64_dev:" + base64.b64encode(msgspec.json.encode(document))
    Path(data_dir.state(blob_id)).write_bytes(
        first + b"\n\n2026-11-22T07:45:48Z - OK - Blob Data WR Complete!\n"
    )


def test_no_byte_of_a_state_turns_unseen(base: Path) -> None:
    data_dir, blob_id = asyncio.run(made(str(base / "data"), b"the body"))
    whole = Path(data_dir.state(blob_id)).read_bytes()
    random = chooser("state")
    for at in choose("state", range(len(whole)), 60):
        flip(data_dir.state(blob_id), at, random.randrange(8))
        root = str(base / "copy")
        shutil.copytree(data_dir.root, root)

        async def start_on_it(root: str = root, at: int = at) -> None:
            async with opened(root, "folder") as store:
                assert await what_is_sent(store, "a") is None, at  # its location is not known any more
                assert await store.read("other") == OTHER
                assert [found for found, _ in store.found.quarantined] == [blob_id], at
                await store.put("a", b"anew")
                assert await store.read("a") == b"anew"

        asyncio.run(start_on_it())
        shutil.rmtree(root)
        Path(data_dir.state(blob_id)).write_bytes(whole)


def test_a_state_cut_at_any_length_is_quarantined(base: Path) -> None:
    data_dir, blob_id = asyncio.run(made(str(base / "data"), b"the body"))
    whole = Path(data_dir.state(blob_id)).read_bytes()
    for length in choose("cut state", range(len(whole)), 40):
        with pytest.raises(CorruptRecord):
            record.load(whole[:length])


def test_a_state_of_the_original_never_gives_its_data_to_another_blob(base: Path) -> None:
    data_dir, blob_id = asyncio.run(made(str(base / "data"), b"the body"))
    make_original(data_dir, blob_id)
    whole = Path(data_dir.state(blob_id)).read_bytes()
    random = chooser("original")
    for at in choose("original", range(len(whole)), 60):
        flip(data_dir.state(blob_id), at, random.randrange(8))
        root = str(base / "copy")
        shutil.copytree(data_dir.root, root)

        async def start_on_it(root: str = root, at: int = at) -> None:
            async with opened(root, "folder") as store:
                found = await store.values()
                assert found.pop("other") == OTHER, at
                assert set(found.values()) <= {b"the body"}, at

        asyncio.run(start_on_it())
        shutil.rmtree(root)
        Path(data_dir.state(blob_id)).write_bytes(whole)


def test_no_byte_of_the_data_turns_unseen(base: Path) -> None:
    data_dir, blob_id = asyncio.run(made(str(base / "data"), BODY))
    random = chooser("data")
    edges = [0, (1 << 20) - 1, 1 << 20, (2 << 20) - 1, 2 << 20, len(BODY) - 1]
    for at in [*edges, *(random.randrange(len(BODY)) for _ in range(6))]:
        bit = random.randrange(8)
        flip(data_dir.data(blob_id), at, bit)
        tally = scrubber.ScrubTally()
        found = scrubber.check_blob(data_dir, blob_id, tally, lambda read_bytes: None)
        assert found is not None, at
        assert found.location == "a"
        root = str(base / "copy")
        shutil.copytree(data_dir.root, root)
        asyncio.run(read_it(root, at))
        shutil.rmtree(root)
        flip(data_dir.data(blob_id), at, bit)


async def take(store: Opened, sent: bytearray) -> None:
    reading = await store.store.open("a")
    try:
        async for piece in reading.chunks(0, len(BODY) - 1):
            sent += piece
    finally:
        reading.close()


async def read_it(root: str, at: int) -> None:
    """Ranges outside the damaged chunk are right, and those inside it are not sent."""
    async with opened(root, "folder") as store:
        sent = bytearray()
        with pytest.raises(Damaged):
            await take(store, sent)
        assert bytes(sent) == BODY[: at >> 20 << 20]
        assert await what_is_sent(store, "a") == "damaged"
        assert await store.read("other") == OTHER
        assert (await store.store.usage()).damaged == 1
        await store.put("a", b"anew")
        assert await store.read("a") == b"anew"


@pytest.mark.parametrize("name", NAMES)
def test_a_journal_that_rots_takes_nothing_that_stands_in_place(base: Path, name: str) -> None:
    async def write(root: str) -> None:
        async with opened(root) as store:
            for number in range(20):
                await store.put(f"x{number % 5}", b"%d" % number * 500)
            journaling = store.store.committer._journaling
            assert journaling is not None
            journaling.empty = lambda: None  # type: ignore[method-assign]

    async def start_on_it(root: str, at: int) -> None:
        async with opened(root) as store:
            values = await store.values()
            assert values == {f"x{n % 5}": b"%d" % n * 500 for n in range(15, 20)}, at
            await store.put("x0", b"goes on")

    before = base / "data"
    asyncio.run(write(str(before)))
    size = (before / name).stat().st_size
    random = chooser(name)
    places = [*range(48), *(random.randrange(size) for _ in range(40))]
    for at in choose(name, places, 12):
        root = str(base / "copy")
        shutil.copytree(before, root)
        flip(f"{root}/{name}", at, random.randrange(8))
        scan(f"{root}/{name}")
        asyncio.run(start_on_it(root, at))
        shutil.rmtree(root)


def test_a_note_in_quarantine_that_rots_keeps_nobody_from_starting(base: Path) -> None:
    async def damage(root: str) -> str:
        async with opened(root, "folder") as store:
            blob = await store.put("a", b"the body")
            await store.put("other", OTHER)
            os.truncate(store.data_dir.data(blob.id), 3)
        async with opened(root, "folder") as store:
            assert await what_is_sent(store, "a") == "damaged"
            return f".quarantine/{store.found.damaged['a'][0]}/quarantine.json"

    async def start_on_it(root: str, at: int) -> None:
        async with opened(root, "folder") as store:
            assert await what_is_sent(store, "a") in ("damaged", None), at
            assert await store.read("other") == OTHER
            await store.put("a", b"anew")
        async with opened(root, "folder") as store:
            assert await store.read("a") == b"anew"

    note = asyncio.run(damage(str(base / "data")))
    random = chooser("note")
    for at in choose("note", range((base / "data" / note).stat().st_size), 10):
        root = str(base / "copy")
        shutil.copytree(base / "data", root)
        flip(f"{root}/{note}", at, random.randrange(8))
        asyncio.run(start_on_it(root, at))
        shutil.rmtree(root)
    os.unlink(base / "data" / note)

    async def without_note() -> None:
        async with opened(str(base / "data"), "folder") as store:
            assert await what_is_sent(store, "a") == "damaged"  # its state still has the location

    asyncio.run(without_note())


@pytest.mark.parametrize("id_bits", [16, 32])
def test_the_format_file_that_rots_is_made_out_from_the_folders(base: Path, id_bits: int) -> None:
    async def make(root: str) -> None:
        async with opened(root, "folder", id_bits) as store:
            await store.put("a", b"the body")

    async def start_on_it(root: str, at: int) -> None:
        async with opened(root, "folder", id_bits) as store:
            assert await store.read("a") == b"the body", at

    asyncio.run(make(str(base / "data")))
    for at in range((base / "data" / ".blobkeep.json").stat().st_size):
        root = str(base / "copy")
        shutil.copytree(base / "data", root)
        for bit in range(8):
            shutil.copy(base / "data" / ".blobkeep.json", root)
            flip(f"{root}/.blobkeep.json", at, bit)
            asyncio.run(start_on_it(root, at))
        shutil.rmtree(root)
    assert blob_folder.read_file(str(base / "data" / ".blobkeep.json")).startswith(b'{"format":1')
