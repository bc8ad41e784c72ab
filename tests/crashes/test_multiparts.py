"""The crash ladder of an upload in parts: a server dies at its first disk call, at its second, ... What was
acknowledged is there after the next start: the upload, each part, or the blob made of them. The client can go
on: it repeats what got no answer, and gets the blob.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from common.errors import UnknownUpload
from services.store import UPLOAD_ID, Content, Multipart
from tests.crashes.ladder import steps
from tests.crashes.test_ladder import dies, small_journal
from tests.engines.makers import anything
from tests.engines.test_multiparts import send
from tests.store.test_multiparts import number
from tests.support.campaign import choose
from tests.support.disk_calls import CHANGES, Death, standing_between
from tests.support.index_states import SYNCS
from tests.support.stores import Opened, opened

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

MIB = 1 << 20
OLD = b"the old value"
# Parts of one size, except the last, are linked. Parts of several sizes are copied. The second part is sent
# twice, so its first version is superseded.
SHAPES: dict[str, list[tuple[int, bytes]]] = {
    "equal": [(1, b"a" * MIB), (2, b"b" * MIB), (3, b"c" * 1000)],
    "unequal": [(1, b"a" * MIB), (2, b"b" * 1000), (3, b"c" * 1000)],
    "again": [(1, b"a" * MIB), (2, b"b" * MIB), (2, b"B" * MIB)],
}
Rung = tuple[str, str, bool]


def rungs_of(syncs: Iterable[str]) -> list[Rung]:
    return [(shape, sync, late) for shape in SHAPES for sync in syncs for late in (False, True)]


RUNGS = [
    *choose("multiparts", rungs_of(("journal", "index", "folder")), 1),
    *choose("multiparts beside indexes", rungs_of(SYNCS[1:]), 1),
]


@pytest.mark.parametrize("rung", RUNGS, ids=lambda r: f"{r[0]}-{r[1]}-{r[2]}")
def test_a_server_that_dies_in_an_upload_in_parts_loses_nothing(rung: Rung, base: Path) -> None:
    shape, sync, late = rung
    sent = SHAPES[shape]
    whole = b"".join(dict(sent).values())
    for step in steps(base):
        at, root = step.at, step.root
        asyncio.run(_old_value(root, sync))
        step.died, told = _upload(root, sync, sent, Death(at, late=late))
        asyncio.run(_judge(root, sync, sent, whole, told))
        assert step.died or told[-1] == "complete"


async def _old_value(root: str, sync: str) -> None:
    async with opened(root, sync) as store:
        await store.put("a", OLD)


def _upload(root: str, sync: str, sent: list[tuple[int, bytes]], death: Death) -> tuple[bool, list[str]]:
    """(Whether it died, what it had answered: the upload's id, that of each part, "complete")."""
    ear, mouth = os.pipe()

    async def work() -> None:
        store = Opened(root, sync)
        parts = store.store.multiparts
        with standing_between(death, CHANGES):
            upload = await parts.create_multipart("a", Content())
            os.write(mouth, f"{upload.id}\n".encode())
            for n, body in sent:
                part = await send(parts, upload, n, body)
                os.write(mouth, f"{part.id}\n".encode())
            listed = await parts.list_parts("a", upload.id)
            await parts.complete_multipart("a", upload.id, listed, anything)
            os.write(mouth, b"complete\n")
            await store.store.close()

    died = dies(lambda: asyncio.run(work()))
    os.close(mouth)
    with os.fdopen(ear) as file:
        return died, file.read().split()


async def _judge(root: str, sync: str, sent: list[tuple[int, bytes]], whole: bytes, told: list[str]) -> None:
    async with opened(root, sync) as store:
        parts = store.store.multiparts
        assert not store.found.quarantined
        value = await store.read("a")
        assert value in (OLD, whole)
        if "complete" in told:
            assert value == whole
        open_ones = await parts.list_multiparts("", ("", ""), 10)
        if value == whole:
            blob = await store.store.stat("a")
            assert blob is not None
            assert open_ones == []
            # so that a repeated completion gets the same answer
            assert not told or blob.metadata[UPLOAD_ID] == told[0]
            return
        if told:
            assert [one.id for one in open_ones] == told[:1]
        for upload in open_ones:
            await _go_on(store, upload, sent, told[1:])
        if open_ones:
            assert await store.read("a") == whole
    async with opened(root, sync) as store:  # and nothing of it is left
        assert await store.read("a") == (whole if open_ones else OLD)
        for upload in open_ones:
            with pytest.raises(UnknownUpload):
                await store.store.multiparts.find_multipart("a", upload.id)


async def _go_on(store: Opened, upload: Multipart, sent: list[tuple[int, bytes]], told: list[str]) -> None:
    """The client got answers for some parts, which must be there. It sends the others, and completes."""
    parts = store.store.multiparts
    there = {part.number: part for part in await parts.list_parts("a", upload.id)}
    newest = {n: part_id for (n, _), part_id in zip(sent, told, strict=False)}
    for n, part_id in newest.items():
        unanswered = [m for m, _ in sent[len(told) :]]
        assert n in there
        assert there[n].id == part_id or n in unanswered
    for n, body in sent[len(told) :]:
        await send(parts, upload, n, body)
    done = sorted(await parts.list_parts("a", upload.id), key=number)
    await parts.complete_multipart("a", upload.id, done, anything)
