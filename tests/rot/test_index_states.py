"""Damage beside an index that is right, old, torn, missing, of another directory, or turned.

A wrong byte is never sent as good, nobody else is harmed, and the location can be written again, whatever the
index is. A right index knows what a state said, so then more is served than without one, never less.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from common.errors import Damaged
from services.engines.local.disk import layout
from services.engines.local.disk.layout import Layout
from services.engines.local.journal.format import NAMES
from services.engines.local.serving import comparison, names_comparison
from tests.rot import records, test_records
from tests.rot import test_places as places
from tests.rot.test_bytes import flip
from tests.support.campaign import choose, chooser, tally
from tests.support.index_states import SYNCS
from tests.support.stores import (
    Opened,
    leave_as_killed,
    opened,
    quiet_ns,
    small_journal,
    until,
)

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

BODY = os.urandom(9000)
OTHER = b"another blob"
Answer = bytes | str | None
Rot = Callable[[Layout, int], None]  # damages a directory, in which the blob `a` has this id


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparisons after a start do not pause."""
    monkeypatch.setattr(comparison, "_PAUSE_S", 0)
    monkeypatch.setattr(names_comparison, "_PAUSE_S", 0)


@pytest.fixture
def base(base: Path) -> Iterator[Path]:
    """An empty folder in memory, with something that is not ours."""
    places.write_mine(base / "elsewhere" / "mine")
    yield base
    assert places.files_under(base / "elsewhere") == {"mine"}


PathOf = Callable[[Layout, int], str]  # of a file, by the directory and the id of `a`


def turns(of: PathOf, name: str, most: int) -> Callable[[Layout, int], list[Rot]]:
    """One bit of each byte of a file, or of `most` bytes and its first ones if it is larger."""

    def turn(at: int, bit: int, data_dir: Layout, blob_id: int) -> None:
        flip(of(data_dir, blob_id), at, bit)

    def rots(data_dir: Layout, blob_id: int) -> list[Rot]:
        size = os.path.getsize(of(data_dir, blob_id))
        random = chooser(f"{name} beside an index")
        ats = range(size) if size <= most else [*range(48), *(random.randrange(size) for _ in range(most))]
        return [partial(turn, at, random.randrange(8)) for at in ats]

    return rots


def changes(of: PathOf) -> Callable[[Layout, int], list[Rot]]:
    """Something else in the place of a file."""

    def put(change: Callable[[Path], None], data_dir: Layout, blob_id: int) -> None:
        change(Path(of(data_dir, blob_id)))

    return lambda *_: [partial(put, change) for change in places.CHANGES]


def _state(data_dir: Layout, blob_id: int) -> str:
    return data_dir.state(blob_id)


def _data(data_dir: Layout, blob_id: int) -> str:
    return data_dir.data(blob_id)


def _journal(data_dir: Layout, blob_id: int) -> str:
    return max((data_dir.ours(name) for name in NAMES), key=os.path.getmtime)


def _format(data_dir: Layout, blob_id: int) -> str:
    return data_dir.ours(layout.FORMAT_NAME)


def _note(data_dir: Layout, blob_id: int) -> str:
    (note,) = Path(data_dir.ours(layout.QUARANTINE_NAME)).glob(f"*/{layout.NOTE_NAME}")
    return str(note)


def hostile(data_dir: Layout, blob_id: int) -> list[Rot]:
    """States that say the impossible, with a right checksum and without one."""

    def write(name: str, seal: bool, data_dir: Layout, blob_id: int) -> None:
        document, chunks = records.our_document(data_dir, blob_id)
        content = test_records.HOSTILE[name](document)
        records.overwrite(
            data_dir.state(blob_id), records.sealed(content, chunks) if seal else records.original(content)
        )

    return [partial(write, name, seal) for name in test_records.HOSTILE for seal in (False, True)]


def names_of_ours(data_dir: Layout, blob_id: int) -> list[Rot]:
    """Something else in the place of a name of ours."""

    def put(name: str, change: Callable[[Path], None], data_dir: Layout, blob_id: int) -> None:
        change(Path(data_dir.root, name))

    return [partial(put, name, change) for name in places.OURS for change in places.CHANGES[1:]]


ROTS: dict[str, Callable[[Layout, int], list[Rot]]] = {
    "a state's bytes": turns(_state, "state", 4000),
    "a state": changes(_state),
    "a state that says the impossible": hostile,
    "data's bytes": turns(_data, "data", 20),
    "data": changes(_data),
    "the journal's bytes": turns(_journal, "journal", 40),
    "the format's bytes": turns(_format, "format", 1000),
    "a note's bytes": turns(_note, "note", 1000),
    "a name of ours": names_of_ours,
}
RUNGS = [(rot, sync, id_bits) for rot in ROTS for sync in SYNCS for id_bits in (16, 32)]


async def made(root: str, sync: str, id_bits: int, *, killed: bool) -> int:
    """Blobs `a` and `other`, `deleted`, and `damaged` in quarantine. Gives the id of `a`."""
    async with opened(root, sync, id_bits) as store:
        blob = await store.put("a", BODY)
        rotten = await store.put("damaged", b"it will rot")
        records.overwrite(store.data_dir.data(rotten.id), b"it has rot!")
        assert await sent(store, "damaged") == "damaged"
        await until(lambda: store.store.index.damaged["damaged"].name, "its quarantine")
    async with opened(root, sync, id_bits) as store:
        await store.put("other", OTHER)
        await store.put("deleted", b"deleted")
        await store.delete("deleted")
        await asyncio.sleep(quiet_ns() / 1e9)
        if killed:
            leave_as_killed(store)
    return blob.id


async def sent(store: Opened, location: str) -> Answer:
    try:
        return await store.read(location)
    except Damaged:
        return "damaged"


def allowed(rot: str, by_index: bool, compared: bool) -> dict[str, set[Answer]]:
    """What each location may answer."""
    values: dict[str, set[Answer]] = {
        "a": {BODY},
        "other": {OTHER},
        "deleted": {None},
        "damaged": {"damaged"},
    }
    if rot.startswith("a state"):
        values["a"] = {None, "damaged"} if not by_index else {BODY, "damaged"} if compared else {BODY}
    if rot == "a state that says the impossible":
        values["a"] |= {None, "damaged", BODY}
    if rot.startswith("data"):
        values["a"] = {"damaged"}
    if rot in ("a note's bytes", "a name of ours"):
        values["damaged"].add(None)
    return values


def name_of(rung: tuple[str, str, int]) -> str:
    return "-".join(map(str, rung))


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("rung", choose("rot beside indexes", RUNGS, 5), ids=name_of)
def test_damage_beside_an_index_in_any_state_harms_nobody_else(
    base: Path, rung: tuple[str, str, int]
) -> None:
    rot, sync, id_bits = rung
    killed = rot == "the journal's bytes"
    before = str(base / "before")
    blob_id = asyncio.run(made(before, sync, id_bits, killed=killed))
    root = str(base / "data")

    async def start_on_it(what: object) -> None:
        async with opened(root, sync, id_bits) as store:
            by_index = store.found.by_index
            tally("starts that used the index beside damage", by_index)
            if sync not in ("index", "index old"):
                assert not by_index
            for at, values in allowed(rot, by_index, False).items():
                assert await sent(store, at) in values, (at, what, by_index)
            if by_index:
                await store.store.comparison.run()
                await store.store.names.run()
                await until(lambda: not store.store.index.unreadable, "the judgement")
                await until(lambda: not store.store.damage.tasks, "the quarantine")
            for at, values in allowed(rot, by_index, True).items():
                assert await sent(store, at) in values, (at, what, by_index)
            await store.put("a", b"anew")
        async with opened(root, sync, id_bits) as store:
            found = await store.values()
            assert found == {"a": b"anew", "other": OTHER}, what

    every = ROTS[rot](Layout(before, id_bits), blob_id)
    for number in choose(name_of(rung), range(len(every)), 4):
        shutil.copytree(before, root, symlinks=True)
        every[number](Layout(root, id_bits), blob_id)
        asyncio.run(start_on_it(number))
        shutil.rmtree(root)
