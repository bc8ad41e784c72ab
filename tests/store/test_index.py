"""The index on disk shows what the folders have, in every state in which it can be found."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Damaged, Unreadable
from services.engines.local.disk import blob_folder, record
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.locks import StateLock
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.format import IndexDamaged
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.merging import merged
from services.engines.local.index.run import Run
from services.engines.local.index.run_writer import write_run
from services.engines.local.index.stretches import Nets, NetsOfChanges, NetsOfRuns
from services.engines.local.recovery import restart
from services.engines.local.serving import comparison
from services.engines.local.serving.index import Index
from services.engines.local.upkeep.verifier import Verifier
from tests.support.campaign import choose, chooser, tally
from tests.support.pages import page_of
from tests.support.stores import Opened, memory_folder, opened, quiet_ns, small_journal, until

__all__ = ["small_journal"]
pytestmark = pytest.mark.usefixtures("small_journal")

SALT = b"0123456789abcdef"


# --- it is a map ---


def blob(location: str, number: int) -> Blob:
    return Blob.make(
        location=location,
        id=number,
        seq=number,
        size=number,
        sha256=bytes(32),
        crcs=b"1234",
        type="",
        encoding="",
        modified_ns=0,
    )


LOCATIONS = st.text("ab/é0", min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), LOCATIONS),
        st.tuples(st.just("delete"), LOCATIONS),
        st.tuples(st.sampled_from(["freeze", "write", "merge", "forget"]), st.just("")),
    ),
    max_size=40,
)


class Both:
    """The same changes to a catalogue and to the index in memory."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.catalogue = Catalogue([], SALT, IdSet(), 0)
        self.stored = Index(self.catalogue, {})
        self.plain = Index({}, {})
        self.count = 0

    def do(self, step: str, location: str) -> None:
        catalogue = self.catalogue
        self.count += 1
        if step in ("put", "delete"):
            new = blob(location, self.count) if step == "put" else None
            self.stored.show(location, new)
            self.plain.show(location, new)
        elif step == "freeze":
            catalogue.freeze()
        elif step == "write":
            frozen = catalogue.freeze()
            catalogue.thaw(self.write(frozen.items(), NetsOfChanges(frozen.nets.items())))
        elif step == "merge" and len(catalogue.runs) > 1:
            runs = catalogue.runs[: self.count % len(catalogue.runs) + 1]
            are_all = len(runs) == len(catalogue.runs)
            nets = None if are_all else NetsOfRuns([run.nets() for run in runs])
            catalogue.replace(runs, self.write(list(merged(runs, are_all=are_all)), nets))
        elif step == "forget":  # as if many others had been looked up since
            catalogue.recent.clear()
            catalogue._old = {}

    def write(self, items: list[tuple[str, Blob | None]], nets: Nets | None) -> Run:
        path = f"{self.folder}/{self.count}.run"
        return Run(path, write_run(path, items, len(items), SALT, nets))

    def compare(self) -> None:
        plain, stored = self.plain.blobs, self.stored.blobs
        assert len(stored.ids) == len(plain.ids)
        assert stored.bytes == plain.bytes
        names = [blob.location for some in plain.spans("") for blob in some]
        assert [blob.location for some in stored.spans("") for blob in some] == names
        for name in [*names, "a", "zz", ""]:
            assert stored.get(name) == plain.get(name)
            assert (name in stored) == (name in plain)
            assert asyncio.run(self.stored.after(name, 3)) == asyncio.run(self.plain.after(name, 3))
        for number in range(1, self.count + 1):
            assert (number in stored.ids) == (number in plain.ids)
            assert stored.by_id(number) == plain.by_id(number)


@settings(deadline=None, max_examples=60)
@given(STEPS, st.text("ab/é0", max_size=2), st.text("ab/é0", max_size=3), st.integers(1, 4))
def test_a_catalogue_is_the_maps(steps: list[tuple[str, str]], prefix: str, after: str, limit: int) -> None:
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        both = Both(folder)
        for step in steps:
            both.do(*step)
            both.compare()
        for delimiter in ("", "/"):
            expected = page_of(both.plain, prefix, delimiter, after, limit)
            assert page_of(both.stored, prefix, delimiter, after, limit) == expected


# --- in every state ---

Values = dict[str, bytes | None]


async def write_some(store: Opened, seed: int, want: Values, count: int = 40) -> None:
    rng = random.Random(seed)
    for _ in range(count):
        number = rng.randrange(12)
        at = f"{number % 4}/{number}"  # three in a folder, so that now and then the last one is deleted
        if want.get(at) is not None and rng.random() < 0.4:
            await store.delete(at)
            del want[at]
        else:
            want[at] = rng.randbytes(rng.randrange(1, 600))
            await store.put(at, want[at] or b"")


async def copied(folder: str, to: str) -> None:
    """Copy a directory, or its index, of a store that runs. Runs are merged behind it, and a kill would leave
    the files of one moment: so it is copied again until none came or went meanwhile."""

    def names() -> list[str]:
        index = folder if folder.endswith(".index") else f"{folder}/.index"
        return sorted(os.listdir(index))

    while True:
        before = names()
        try:
            shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.sock"))
        except shutil.Error:
            if names() == before:
                raise
        if names() == before:
            return
        shutil.rmtree(to)
        await asyncio.sleep(0.01)


async def killed(root: str, copy: str, old: str, *, clean: bool) -> Values:
    """`copy` gets what a killed or stopped server leaves, and `old` an earlier index."""
    want: Values = {}
    async with opened(root, "index") as store:
        await write_some(store, 1, want)
        if clean:
            shutil.copytree(f"{root}/.index", old)
        else:
            await write_some(store, 2, want)
            await copied(f"{root}/.index", old)
            await write_some(store, 3, want, 200)
            await copied(root, copy)
    if clean:
        shutil.copytree(root, copy)
    return want


async def start_on(root: str, want: Values, what: object, believed: bool | None = None) -> None:
    """A start finds everything, and so does the next. `believed`: whether they use the index."""
    for again in (False, True):
        async with opened(root, "index") as store:
            assert await store.values() == want, what
            if again or believed is not None:
                assert store.found.by_index == (again or believed), what
            assert not store.found.quarantined, what


@pytest.mark.parametrize("clean", [False, True], ids=["killed", "stopped"])
def test_in_every_state_of_the_index_a_start_finds_the_same(base: Path, clean: bool) -> None:
    copy, old = str(base / "copy"), str(base / "old")
    want = asyncio.run(killed(str(base / "data"), copy, old, clean=clean))

    def right(index: Path) -> None: ...

    def missing(index: Path) -> None:
        shutil.rmtree(index)

    def without_manifest(index: Path) -> None:
        (index / "manifest").unlink()

    def without_runs(index: Path) -> None:
        for run in index.glob("*.run"):
            run.unlink()

    def from_before(index: Path) -> None:
        shutil.rmtree(index)
        shutil.copytree(old, index)

    def of_zeros(index: Path) -> None:
        for path in index.iterdir():
            path.write_bytes(bytes(path.stat().st_size))

    def cut(index: Path) -> None:
        for path in index.iterdir():
            os.truncate(path, path.stat().st_size // 2)

    def a_file(index: Path) -> None:
        shutil.rmtree(index)
        index.touch()

    def litter(index: Path) -> None:
        (index / "0123456789abcdef.run").write_bytes(b"x" * 100)
        (index / "manifest.tmp").write_bytes(b"x" * 100)

    states: list[tuple[Callable[[Path], None], bool | None]] = [
        (right, True),
        (missing, False),
        (without_manifest, False),
        (without_runs, False),
        (from_before, None),
        (of_zeros, False),
        (cut, False),
        (litter, True),
    ]
    for make, believed in states:
        root = str(base / make.__name__)
        shutil.copytree(copy, root)
        make(Path(root) / ".index")
        asyncio.run(start_on(root, want, make.__name__, believed))
        shutil.rmtree(root)
    root = str(base / "a file")
    shutil.copytree(copy, root)
    a_file(Path(root) / ".index")

    async def without() -> None:
        async with opened(root, "index") as store:
            assert await store.values() == want
            await write_some(store, 5, dict(want))

    asyncio.run(without())
    assert (Path(root) / ".index").is_file()


def test_no_byte_of_the_index_turns_unseen(base: Path) -> None:
    """Each byte is changed in turn: a start and all reads give what is there, or the server stops."""
    copy = str(base / "copy")
    want = asyncio.run(killed(str(base / "data"), copy, str(base / "old"), clean=False))
    names = sorted(os.listdir(f"{copy}/.index"))
    places = [(name, at) for name in names for at in range(os.path.getsize(f"{copy}/.index/{name}"))]
    rng = chooser("index on disk")
    root = str(base / "turned")
    for name, at in choose("index on disk", places, 24):
        shutil.copytree(copy, root)
        with open(f"{root}/.index/{name}", "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ (1 << rng.randrange(8))]))
        tally("bytes turned", 1)

        async def serve(what: object = (name, at)) -> None:
            for _ in range(2):
                async with opened(root, "index") as store:
                    try:
                        for location in [*want, "nothing there"]:
                            assert await store.read(location) == want.get(location), what
                        assert await store.values() == want, what
                        assert not store.fatal, what
                        return
                    except IndexDamaged:
                        assert store.fatal, what
            raise AssertionError(f"{what}: a second start did not help")

        asyncio.run(serve())
        shutil.rmtree(root)


# --- whose it is ---


def believed_by(root: str) -> bool:
    """True if a start on `root` uses the index, by its stamp, as a server does."""
    lock = StateLock(root, "test")
    lock.acquire(0.0)
    try:
        found, _ = restart.restart(Layout(root, 16), lock)
        return found.by_index
    finally:
        lock.release()


def test_an_index_is_of_one_directory_and_one_holder_of_the_lock(base: Path) -> None:
    root = str(base / "data")

    async def make() -> None:
        async with opened(root, "index") as store:
            await store.put("a", b"a")

    asyncio.run(make())
    assert not believed_by(root)  # its stamp is that of the tests
    assert believed_by(root)
    assert believed_by(root)
    with StateLock(root, "somebody else") as lock:
        lock.acquire(0.0)
    assert not believed_by(root)
    assert believed_by(root)
    shutil.copytree(root, base / "copy")
    assert not believed_by(str(base / "copy"))
    (base / "data").rename(base / "moved")
    root = str(base / "moved")
    assert believed_by(root)  # the same directory under another name
    shutil.rmtree(base / "moved" / ".index")
    shutil.copytree(base / "copy" / ".index", base / "moved" / ".index")
    assert not believed_by(root)
    assert believed_by(root)
    (base / "moved" / ".lock").unlink()
    assert not believed_by(root)
    assert believed_by(root)
    os.truncate(base / "moved" / ".journal.0", 0)
    (base / "moved" / ".journal.1").unlink()
    assert not believed_by(root)
    restart.without_index(Layout(root, 16))
    assert not believed_by(root)


def test_the_recovery_worker_leaves_a_server_with_an_index_the_time_to_come_back(base: Path) -> None:
    root = str(base / "data")

    async def make() -> None:
        async with opened(root, "index") as store:
            await store.put("a", b"a")

    asyncio.run(make())
    assert not believed_by(root)
    patient = Verifier(Layout(root, 16), 5.0, 1e9, patience_s=3600.0)
    assert patient.reconcile_if_free() is None
    assert patient.reconcile_if_free() is None
    assert believed_by(root)  # that process only checked whether the lock is free
    hasty = Verifier(Layout(root, 16), 5.0, 1e9)
    found = hasty.reconcile_if_free()
    assert found is not None
    assert len(found.live) == 1
    assert not believed_by(root)
    keeper = Verifier(Layout(root, 16), 5.0, 1e9, keeps_index=True)
    found = keeper.reconcile_if_free()
    assert found is not None
    assert found.by_index
    assert believed_by(root)


def has_index(root: str) -> bool:
    return os.path.exists(f"{root}/.index/manifest")


def test_what_is_written_past_the_journal_gives_the_index_up(base: Path) -> None:
    root = str(base / "data")

    async def run() -> None:
        async with opened(root, "index") as store:
            for n in range(30):
                await store.put(f"{n}", b"x" * 500)
            await store.store.committer.call(lambda: None)
            assert has_index(root)
            journaling = store.store.committer._journaling
            with mock.patch.object(journaling, "fits", return_value=False):
                await store.delete("3")
            assert not has_index(root)
            await store.put("new", b"new")
        assert has_index(root)
        async with opened(root, "index") as store:
            assert store.found.by_index
            values = await store.values()
            assert "3" not in values
            assert len(values) == 30

    asyncio.run(run())


# --- what was changed by hand ---


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
