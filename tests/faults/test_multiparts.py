"""The fault ladder of an upload in parts: its first disk call fails, then the second, ... until none fails.

The parts come at the same time, into memory that they lend, or one after the other. After each step what was
answered holds: the location has its old value or the whole new one, and the parts that were acknowledged are
there, and no others. Then the client goes on, on a disk that works again, or after a restart.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.errors import BlobkeepError, SyncFailed
from services.engines.local.serving import part_upload
from services.engines.local.serving.lent_pieces import PIECE_BYTES
from services.store import Content, Multipart, Part
from tests.engines.makers import anything
from tests.store.test_lent_parts import fill
from tests.support import rules
from tests.support.campaign import choose, tally
from tests.support.disk_calls import Fault, standing_between
from tests.support.stores import Opened, open_descriptors, opened, small_journal

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

OLD = b"the old value"
FIRST, LAST, OTHER = (os.urandom(n) for n in (2 * PIECE_BYTES, PIECE_BYTES + 5, PIECE_BYTES + 9))
# Parts of one size, except the last, are linked. Parts of several sizes are copied. A part that is sent again
# replaces the first one.
SHAPES: dict[str, list[tuple[int, bytes]]] = {
    "equal": [(1, FIRST), (2, LAST)],
    "unequal": [(1, LAST), (2, FIRST)],
    "again": [(1, FIRST), (2, OTHER), (2, LAST)],
}
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EMFILE": errno.EMFILE, "short": 0}
Rung = tuple[str, str, bool, str, bool]

RUNGS: list[Rung] = choose(
    "multiparts",
    [
        (shape, error, lasting, sync, together)
        for shape in SHAPES
        for error in ERRORS
        for lasting in (False, True)
        for sync in ("journal", "folder")
        for together in (False, True)
        if not (together and shape == "again")  # which of the two comes last would be unknown
    ],
    2,
)


@dataclass(repr=False)  # with the bodies it would be long
class Told:
    """What the client was told: the upload, its parts by number, and what the location then has."""

    upload: Multipart | None = None
    parts: dict[int, Part] = field(default_factory=dict)
    error: BaseException | None = None  # the first
    values: tuple[bytes, ...] = (OLD,)


def name_of(rung: Rung) -> str:
    shape, error, lasting, sync, together = rung
    return (
        f"{shape}-{error}-{'lasting' if lasting else 'once'}-{sync}-{'together' if together else 'in turn'}"
    )


@pytest.mark.parametrize("rung", RUNGS, ids=name_of)
def test_each_disk_call_of_an_upload_in_parts_fails_in_turn(
    rung: Rung, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, error, lasting, sync, together = rung
    monkeypatch.setattr(part_upload, "PAST_CACHE_BYTES", 2 * PIECE_BYTES)
    for at in range(1, 400):
        root = str(base / f"{at}")
        fault = Fault(at, ERRORS[error], lasting=lasting)
        told = asyncio.run(_one_rung(root, fault, shape, sync, together=together))
        asyncio.run(_after_the_restart(root, shape, sync, told))
        broken = rules.broken_rules(root)
        assert not broken, (broken, at, fault.hit)
        shutil.rmtree(root)
        tally("faults of uploads in parts", bool(fault.hit))
        if not fault.hit:
            return
    raise AssertionError("the ladder has no end")


async def _one_rung(root: str, fault: Fault, shape: str, sync: str, *, together: bool) -> Told:
    sent, told = SHAPES[shape], Told()
    async with opened(root, sync) as store:
        await store.put("a", OLD)
        before = open_descriptors()
        with standing_between(fault):
            await _ask(store, sent, told, together=together)
            fault.armed = False
        whole = _whole(sent)
        if not fault.hit or fault.error == 0:
            assert told.error is None, (fault.hit, told.error)
            assert told.values == (whole,)
        if store.fatal:
            assert isinstance(store.fatal[0], SyncFailed)
            told.values = (OLD, whole) if told.values == (OLD,) else told.values
            return told
        parts = store.store.multiparts
        assert await store.read("a") in told.values, (fault.at, fault.hit, told.error)
        assert parts.writing() == 0
        assert store.store.piece_memory._left == 4, (fault.at, fault.hit)
        assert open_descriptors() <= before + 1, (fault.at, fault.hit)
        if told.values == (OLD,) and fault.at % 2:  # otherwise after the restart
            await _go_on(store, sent, told, exactly=True)
            told.values = (whole,)
        return told


async def _ask(store: Opened, sent: list[tuple[int, bytes]], told: Told, *, together: bool) -> None:
    """What a client asks, to the first error. Parts at the same time are all sent."""
    parts = store.store.multiparts

    async def send(number: int, body: bytes) -> None:
        assert told.upload is not None
        one = await parts.begin_part("a", told.upload.id, number, len(body))
        try:
            await fill(one, body)
            told.parts[number] = await one.commit()
        except BaseException as err:
            await one.abort(str(err))
            raise

    try:
        told.upload = await parts.create_multipart("a", Content())
        if together:
            results = await asyncio.gather(*(send(*one) for one in sent), return_exceptions=True)
            for err in results:
                if err is not None:
                    raise err
        else:
            for one in sent:
                await send(*one)
        named = [told.parts[number] for number in sorted(told.parts)]
        await parts.complete_multipart("a", told.upload.id, named, anything)
        told.values = (_whole(sent),)
    except BlobkeepError as err:
        told.error = err


async def _go_on(store: Opened, sent: list[tuple[int, bytes]], told: Told, *, exactly: bool) -> None:
    """The client sends what was not acknowledged, and completes the upload. `exactly`: no other part is there
    than those that were acknowledged."""
    parts = store.store.multiparts
    uploads = await parts.list_multiparts("", ("", ""), 10)
    assert told.upload is None or told.upload in uploads
    upload = told.upload or await parts.create_multipart("a", Content())
    there = {part.number: part for part in await parts.list_parts("a", upload.id)}
    for number, part in told.parts.items():
        known = there.get(number)
        assert known is not None
        assert known.id == part.id or not exactly
    assert len(there) == len(told.parts) or not exactly
    for number, body in dict(sent).items():
        if number in there and there[number].sha256 == hashlib.sha256(body).digest():
            continue
        one = await parts.begin_part("a", upload.id, number, len(body))
        await fill(one, body)
        there[number] = await one.commit()
    named = [there[number] for number in sorted(there)]
    await parts.complete_multipart("a", upload.id, named, anything)
    assert await store.read("a") == _whole(sent)


async def _after_the_restart(root: str, shape: str, sync: str, told: Told) -> None:
    sent = SHAPES[shape]
    async with opened(root, sync) as store:
        value = await store.read("a")
        assert value in told.values
        assert not store.found.quarantined
        if value == OLD:
            await _go_on(store, sent, told, exactly=False)
    async with opened(root, sync) as store:
        assert await store.read("a") == _whole(sent)


def _whole(sent: list[tuple[int, bytes]]) -> bytes:
    return b"".join(body for _, body in sorted(dict(sent).items()))
