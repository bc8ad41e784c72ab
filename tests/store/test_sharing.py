"""The table that a server shares with its readers, from which a reader never gets anything old."""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import checksum
from common.config import Config
from services.access.decisions import Action
from services.engines.local.disk import readers_epoch
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.locks import StateLock
from services.engines.local.serving.expiry import Expiry
from services.engines.local.serving.index import Index
from services.engines.local.serving.limits import PrefixLimits
from services.engines.local.serving.shared_table import ENTRY_BYTES, SharedTable, TableView
from services.engines.local.serving.sharing import LocalShared, LocalSharing
from services.readers.messages import KnownClient
from services.readers.rights import ToldAccess


def blob(location: str, number: int, body: bytes = b"body", kind: str = "text/plain") -> Blob:
    return Blob.make(
        location=location,
        id=number,
        seq=number,
        size=len(body),
        sha256=bytes(32),
        crcs=checksum.pack_crcs([checksum.crc(body)]),
        type=kind,
        encoding="",
        modified_ns=1,
    )


class Both:
    """A server's index, what it shares, and a reader. Blobs are only written to disk as files."""

    def __init__(self, root: Path) -> None:
        self.data_dir = Layout(str(root), 16)
        self.index = Index({}, {})
        self.sharing = LocalSharing(self.data_dir, self.index, PrefixLimits(self.data_dir, ()), Expiry(()))
        self.reader = LocalShared(self.data_dir, Config(), self.sharing.epoch, self.sharing.descriptors())

    def show(self, location: str) -> None:
        """What happens when a reader asks."""
        asyncio.run(self.sharing.show(location))

    def put(self, location: str, number: int, body: bytes = b"body") -> Blob:
        folder = Path(self.data_dir.folder(number))
        folder.mkdir()
        (folder / "data.raw").write_bytes(body)
        made = blob(location, number, body)
        self.index.show(location, made)
        return made


@pytest.fixture
def both(tmp_path: Path) -> Both:
    return Both(tmp_path)


@pytest.fixture
def table() -> Iterator[tuple[SharedTable, TableView, mmap.mmap]]:
    made = SharedTable(buckets=2)
    fd = made.for_readers()
    yield made, TableView(fd), made._memory
    os.close(fd)


def test_a_reader_finds_what_is_shown_and_nothing_that_is_hidden(
    table: tuple[SharedTable, TableView, mmap.mmap],
) -> None:
    shared, view, _ = table
    for number in range(100):  # only 16 fit, so others are replaced
        one = blob(f"a/{number}", number)
        assert shared.show(one)
        entry = view.find(one.location)
        assert entry is not None
        assert entry[2] == one
        assert view.words[entry[0]] == entry[1]
        shared.hide(one.location)
        assert view.words[entry[0]] != entry[1]
        assert view.find(one.location) is None
        shared.show(one)
    there = [found[2].location for number in range(100) if (found := view.find(f"a/{number}"))]
    assert len(there) == 16
    assert not shared.show(blob("x" * ENTRY_BYTES, 1))
    assert not shared.show(blob("y", 1, kind="k" * ENTRY_BYTES))


def test_a_reader_cannot_write(table: tuple[SharedTable, TableView, mmap.mmap]) -> None:
    shared, view, _ = table
    with pytest.raises(TypeError):
        view.words[0] = 1
    fd = shared.for_readers()
    with pytest.raises(OSError, match="Permission denied"):
        mmap.mmap(fd, 4096)
    os.close(fd)


def test_whatever_is_seen_of_an_entry_being_written_is_none(
    table: tuple[SharedTable, TableView, mmap.mmap],
) -> None:
    """Any number of bytes of the new slot over the old one, from its beginning or from its end, since its
    words may become visible in any order.
    """
    shared, view, memory = table
    old, new = blob("a", 1), blob("a", 2, b"other")
    shared.show(old)
    entry = view.find("a")
    assert entry is not None
    at, end = entry[0] * 8, entry[0] * 8 + 512
    before = memory[at:end]
    shared.hide("a")
    shared.show(new)
    found = view.find("a")
    assert found is not None
    at_new = found[0] * 8
    after = memory[at_new : at_new + 512]
    memory[at_new : at_new + 8] = bytes(8)
    seen = set()
    for count in range(513):
        for mixed in (after[:count] + before[count:], before[: 512 - count] + after[512 - count :]):
            memory[at:end] = mixed
            got = view.find("a")
            seen.add(None if got is None else got[2].id)
            assert got is None or mixed[:48] in (before[:48], after[:48])
            word = int.from_bytes(mixed[:8], "little")
            assert (word == entry[1]) == (mixed[:8] == before[:8])
    assert seen == {None, 1, 2}


def test_an_index_hides_a_location_before_it_changes(both: Both) -> None:
    old = both.put("a", 1)
    told: list[tuple[str, Blob | None]] = []
    hide = both.index.on_show
    assert hide is not None

    def hear(location: str) -> None:
        told.append((location, both.index.get(location)))
        hide(location)

    both.index.on_show = hear
    both.put("a", 2)
    assert told == [("a", old)]


def test_a_reader_answers_what_was_shown_until_it_changes(both: Both) -> None:
    assert both.reader.peek("a") is None
    old = both.put("a", 1, b"old")
    assert both.reader.peek("a") is None
    both.show("a")
    assert both.reader.peek("a") == (old, b"old")
    new = both.put("a", 2, b"new")
    assert both.reader.peek("a") is None
    both.show("a")
    assert both.reader.peek("a") == (new, b"new")
    assert both.reader.peek("a", body=False) == (new, b"")
    both.index.show("a", None)
    assert both.reader.peek("a", body=False) is None
    both.show("a")
    assert both.reader.peek("a") is None


def test_a_blob_that_changes_while_it_is_read_is_not_answered(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes were read. Then, before the answer, a write of its location was acknowledged."""
    both.put("a", 1, b"old")
    both.show("a")
    bytes_of = both.reader._cache.bytes_of

    def slowly(one: Blob) -> bytes | memoryview | None:
        data = bytes_of(one)
        both.index.show("a", None)
        return data

    monkeypatch.setattr(both.reader._cache, "bytes_of", slowly)
    assert both.reader.peek("a") is None


def test_other_bytes_under_its_id_are_not_answered(both: Both) -> None:
    """Ids are used again. A reader also gives no corrupt bytes: the server has to answer."""
    both.put("a", 1, b"old")
    both.show("a")
    Path(both.data_dir.data(1)).write_bytes(b"odd")
    assert both.reader.peek("a") is None
    Path(both.data_dir.data(1)).unlink()
    asyncio.run(both.reader.load("a"))
    assert both.reader.peek("a") is None


def test_who_takes_the_state_lock_ends_what_readers_believe(both: Both) -> None:
    old = both.put("a", 1, b"old")
    both.show("a")
    assert both.reader.peek("a") == (old, b"old")
    with StateLock(both.data_dir.root, "test") as lock:
        lock.acquire(0)
        assert both.reader.peek("a") is None
        fd = readers_epoch.begin(both.data_dir.root)[1]  # the next server's
        assert both.reader.peek("a") is None
        os.close(fd)


def test_a_file_of_the_epoch_that_was_replaced_is_believed_by_nobody(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    """The next holder of the lock sets the file to 0, so a reader without a server looks at the file. A
    server that lives ends its own epoch.
    """
    old = both.put("a", 1, b"old")
    both.show("a")
    assert both.reader.peek_alone("a") == (old, b"old")
    path = Path(both.data_dir.root) / ".readers"
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)
    with StateLock(both.data_dir.root, "test") as lock:
        lock.acquire(0)
        assert both.reader.peek("a") == (old, b"old")  # what it would answer if it did not look
        assert both.reader.peek_alone("a") is None
    asyncio.run(both.sharing.watch())
    assert both.reader.peek("a") is None
    assert "was removed or replaced" in caplog.text


def test_what_is_held_to_a_size_is_not_shown(tmp_path: Path) -> None:
    """The server has to know of each read under such a prefix."""
    both = Both(tmp_path)
    both.sharing._limits = PrefixLimits(both.data_dir, [("cache/", 1e9)])
    both.put("cache/a", 1)
    both.show("cache/a")
    assert both.reader.peek("cache/a") is None


def test_what_has_expired_is_not_answered(both: Both) -> None:
    """The reader uses its own clock, since nobody tells it. Here the blob is from 1970."""
    both.put("a", 1)
    both.show("a")
    descriptors = both.sharing.descriptors()
    reader = LocalShared(both.data_dir, Config(expire_s=(("a", 60.0),)), both.sharing.epoch, descriptors)
    assert both.reader.peek("a") is not None
    assert reader.peek("a") is None
    assert reader.peek("a", body=False) is None


def test_rights_are_forgotten_when_they_change(both: Both) -> None:
    """Verdicts from before that are not remembered any more, either."""
    access = ToldAccess(["public/"])
    access.begin(both.reader, is_open=False)
    client = KnownClient("ann", "read-only", "a/")
    earlier = both.sharing.rights
    access.learn("Bearer x", client, earlier)
    assert access.permits(Action.READ, "a/1", "Bearer x")
    assert not access.permits(Action.READ, "b/1", "Bearer x")
    assert not access.permits(Action.READ, "a/1", None)
    assert access.permits(Action.READ, "public/1", None)
    both.sharing.new_rights()
    assert not access.permits(Action.READ, "a/1", "Bearer x")
    access.learn("Bearer x", client, earlier)
    assert not access.permits(Action.READ, "a/1", "Bearer x")
    access.learn("Bearer x", client, both.sharing.rights)
    assert access.permits(Action.READ, "a/1", "Bearer x")
