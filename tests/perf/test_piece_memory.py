"""The memory that uploads lend: how often it is asked of the system, which has to fill it with zeros, and how
many reads fill it."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import weakref
from types import SimpleNamespace

import pytest

from services.engines.local.serving import lent_pieces
from services.engines.local.serving.lent_pieces import PIECE_BYTES, PieceMemory
from services.frontends.s3.aws_chunked import Decoder
from services.store import Content
from tests.support.rules import DataDirectory
from tests.support.stores import opened, until


class _Mapped:
    """What was mapped in a test, and is not given back to the system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._refs: list[weakref.ref[mmap.mmap]] = []
        monkeypatch.setattr(lent_pieces, "mmap", SimpleNamespace(mmap=self._map))

    def _map(self, fileno: int, length: int) -> mmap.mmap:
        made = mmap.mmap(fileno, length)
        self._refs.append(weakref.ref(made))
        return made

    def ever(self) -> int:
        return len(self._refs)

    def now(self) -> int:
        return sum(ref() is not None for ref in self._refs)


def _use_four(memory: PieceMemory) -> None:
    lent = [memory.lend() for _ in range(4)]
    for pair in lent:
        assert pair is not None
        memory.give_back(pair)


def test_four_uploads_after_four_others_ask_for_no_new_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        mapped, memory = _Mapped(monkeypatch), PieceMemory()
        for _ in range(5):
            _use_four(memory)
        assert mapped.ever() == mapped.now() == 8

    asyncio.run(main())


def test_framing_takes_no_reads_of_its_own(data: DataDirectory) -> None:
    """As many as there are pieces. Each wanted another one, of as many bytes as framing was removed."""
    part_bytes = 8 * PIECE_BYTES
    sent = (b"%x\r\n%b\r\n" % (PIECE_BYTES, b"x" * PIECE_BYTES)) * 8 + b"0\r\na:b\r\n\r\n"

    async def main() -> None:
        async with opened(data.root) as made:
            parts = made.store.multiparts
            upload = await parts.create_multipart("a", Content())
            part = await parts.begin_part("a", upload.id, 1, part_bytes)
            lent, decoder, reads, at = part.lend(), Decoder(part_bytes, None, has_trailer=True), 0, 0
            assert lent is not None
            while at < len(sent):
                room = lent.room()
                assert room is not None
                came = sent[at : at + len(room)]
                room[: len(came)] = came
                at += len(came)
                reads += 1
                if not lent.filled(decoder.remove_framing(room[: len(came)])):
                    await lent.more()
            assert reads == 8
            assert await part.sha256() == hashlib.sha256(b"x" * part_bytes).digest()
            assert (await part.commit()).size == part_bytes

    asyncio.run(main())


def test_an_idle_server_keeps_the_memory_of_one_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lent_pieces, "_KEPT_S", 0.01)

    async def main() -> None:
        mapped, memory = _Mapped(monkeypatch), PieceMemory()
        for _ in range(2):
            _use_four(memory)
            await until(lambda: mapped.now() == 2, "all but one pair is given back")
        assert mapped.ever() == 8 + 6

    asyncio.run(main())
