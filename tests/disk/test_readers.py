"""Settling with the help of processes that read: the same result, whatever becomes of them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from common import blobdir, directory, process, readers, settle
from common.errors import SyncFailed
from common.layout import Layout
from common.lock import StateLock
from common.readers import Readers, _Reader, how_many
from common.settle import Settlement
from common.slices import Slices
from common.states import MSG_DELETED
from tests.disk.test_settle import make_original, pending, put
from tests.support.processes import ROOT, wait_for

SLICE = 4


class Patient(Readers):
    """Reads nothing itself as long as it is worth waiting for the others."""

    helped_in_all = 0
    given_up = 0

    def waits_for(self, one: _Reader) -> bool:
        return not one.is_there or bool(one.asked)

    def _listen(self) -> None:
        super()._listen()
        while self._given not in self._ready and (awaited := list(filter(self.waits_for, self._readers))):
            assert select.select([reader._from for reader in awaited], [], [], 30)[0]
            super()._listen()
        Patient.helped_in_all, Patient.given_up = self.helped, 2 - len(self._readers)


@pytest.fixture(autouse=True)
def many_cores_and_small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "SLICE_BLOBS", SLICE)
    monkeypatch.setattr(readers, "WORTH_FROM_BLOBS", 1)
    monkeypatch.setattr(readers, "usable_cpus", lambda: 3)
    monkeypatch.setattr(settle, "Readers", Patient)
    monkeypatch.setattr(Patient, "helped_in_all", 0)
    monkeypatch.setattr(Patient, "given_up", 0)


@pytest.fixture(params=[16, 32])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    made = directory.open_directory(str(tmp_path / "data"), request.param, owner=True)
    fill(made)
    return made


def fill(where: Layout) -> None:
    """Every kind of find, and plain blobs around them."""
    for blob_id in range(20):
        put(where, blob_id, f"plain-{blob_id % 17}", b"x" * blob_id, seq=100 + blob_id)
    for blob_id in range(30, 50):
        put(where, blob_id, f"odd-{blob_id}", b"body", seq=blob_id)
    Path(where.state(30)).write_bytes(b"")
    os.unlink(where.state(31))
    os.unlink(where.data(32))
    os.truncate(where.data(33), 1)
    os.truncate(where.data(34), 100)
    os.unlink(where.data(35))
    os.symlink("/etc/hostname", where.data(35))
    os.unlink(where.state(36))
    os.mkfifo(where.state(36))
    os.rename(where.folder(37), where.folder(300))
    blobdir.fail(where, blobdir.read_record(where, 38), MSG_DELETED, time.time_ns())
    for blob_id in (39, 40):
        make_original(where, blobdir.read_record(where, blob_id))
    os.rename(where.data(41), where.data(41) + ".tmp")
    blobdir.take(where, 50)
    blobdir.take(where, 51)
    os.close(blobdir.stage(where, pending(51, "interrupted", 51)))
    for blob_id in (52, 53, 54):
        make_original(where, put(where, blob_id, "original"))
    for blob_id in (55, 56):
        put(where, blob_id, "a long name " * 80, seq=blob_id)
    put(where, 57, "many chunks", bytes(3 << 20))
    Path(where.root, "foreign").mkdir()


def copy_of(where: Layout) -> Layout:
    """The same once more: pipes, links and times, too."""
    subprocess.run(["cp", "-a", where.root, f"{where.root}-copy"], check=True)
    return Layout(f"{where.root}-copy", where.id_bits)


def outcome(where: Layout, found: Settlement) -> dict[str, object]:
    """What was found, what became of it, and what stands on disk now; in an order that is not the disk's."""
    states = {}
    for blob_id in directory.ids_in(where):
        with_history = blobdir.read_record(where, blob_id)
        states[blob_id] = (with_history.state, [event.message for event in with_history.events])
    return {
        "live": found.live,
        "failures": sorted(found.failures),
        "quarantined": sorted(found.quarantined),
        "damaged": {at: (name, note.seq, note.reason) for at, (name, note) in found.damaged.items()},
        "counts": (found.seen, found.interrupted, found.superseded, found.adopted, found.removed),
        "max_seq": found.max_seq,
        "others": (found.unsettled, found.foreign),
        "states": states,
        "paths": sorted(str(path.relative_to(where.root)) for path in Path(where.root).rglob("*")),
    }


def settled_alone(where: Layout, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    with monkeypatch.context() as patched:
        patched.setattr(readers, "usable_cpus", lambda: 1)
        return outcome(where, settle.settle(where))


def test_every_find_is_settled_as_without_them(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = settled_alone(copy_of(where), monkeypatch)
    assert outcome(where, settle.settle(where)) == alone
    assert Patient.helped_in_all >= 10
    assert Patient.given_up == 0
    assert not settle.settle(where).changed


def test_a_dry_run_finds_the_same_and_changes_nothing(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(os.walk(where.root))
    found = settle.settle(where, dry_run=True)
    assert Patient.helped_in_all >= 10
    assert sorted(os.walk(where.root)) == before
    monkeypatch.setattr(readers, "usable_cpus", lambda: 1)
    alone = settle.settle(where, dry_run=True)
    assert found.live == alone.live
    assert (found.quarantined, found.failures) == (alone.quarantined, alone.failures)


def test_slices_come_in_the_order_of_the_ids(where: Layout) -> None:
    ids = directory.ids_in(where)
    with Slices(where) as own, Patient(where, ids, 2) as shared:
        given = list(shared.slices())
        assert shared.helped >= 10
        assert given == [
            (ids[at : at + SLICE], own.read(ids[at : at + SLICE])) for at in range(0, len(ids), SLICE)
        ]


def test_types_are_held_once_whoever_read_them(where: Layout) -> None:
    types = [blob.type for blob in settle.settle(where).live.values()]
    assert len({id(one) for one in types}) == len(set(types)) == 2


def test_one_that_is_killed_is_not_missed(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = settled_alone(copy_of(where), monkeypatch)
    real = readers._Reader.ask

    def ask_and_kill(self: _Reader, number: int, ids: list[int]) -> None:
        real(self, number, ids)
        if number >= 3:
            self.process.kill()
            self.process.wait()

    monkeypatch.setattr(readers._Reader, "ask", ask_and_kill)
    assert outcome(where, settle.settle(where)) == alone
    assert Patient.given_up == 2
    assert Patient.helped_in_all >= 1


HELLO = "out.write(struct.pack('<I', 1) + b'\\x90'); out.flush()"
READ = "count = struct.unpack('<I', asked.read(4))[0] // 4; asked.read(count * 4)"
ANSWER = "out.write(struct.pack('<I', len(answer)) + answer); out.flush()"
HANG = "asked.read()"
NO_BLOB = "b'\\x96\\xa1a\\xcd\\xff\\xff\\x01\\xa0\\xa0\\xc4\\x30' + bytes(48)"  # of id 65535
WRONG = {
    "nothing": "",
    "an error": "raise SystemExit(3)",
    "noise": "out.write(b'noise' * 100_000); out.flush()",
    "noise without end": "while True: out.write(b'noise' * 10_000)",
    "too long an answer": f"{HELLO}; out.write(b'\\xff' * 8); out.flush(); {HANG}",
    "no msgpack": f"{HELLO}; {READ}; answer = b'\\xc1' * 50; {ANSWER}; {HANG}",
    "too few": f"{HELLO}; {READ}; answer = b'\\x91\\xc0'; {ANSWER}; {HANG}",
    "other blobs": f"{HELLO}; {READ}; answer = bytes([0x90 + count]) + ({NO_BLOB}) * count; {ANSWER}; {HANG}",
    "half an answer": f"{HELLO}; {READ}; out.write(b'\\x50\\0\\0\\0half'); out.flush()",
    "what nobody asked": f"answer = b'\\x90'; {ANSWER}; {ANSWER}; {HANG}",
}
LATE = {
    "before it is there": HANG,
    "before it answers": f"{HELLO}; {HANG}",
    "in its answer": f"{HELLO}; {READ}; out.write(b'\\x50\\0\\0\\0half'); out.flush(); {HANG}",
}


def be_readers(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """From now on readers run this; `asked` and `out` are their ends of the pipes."""
    head = "import struct, sys; asked, out = sys.stdin.buffer, sys.stdout.buffer\n"
    monkeypatch.setattr(readers, "_command", lambda where: [sys.executable, "-S", "-c", head + script])


@pytest.mark.parametrize("script", WRONG.values(), ids=WRONG.keys())
def test_one_that_answers_wrongly_is_given_up(
    where: Layout, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    alone = settled_alone(copy_of(where), monkeypatch)
    be_readers(monkeypatch, script)
    assert outcome(where, settle.settle(where)) == alone
    assert Patient.given_up == 2


@pytest.mark.parametrize("script", LATE.values(), ids=LATE.keys())
def test_one_that_hangs_is_not_waited_for(
    where: Layout, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    alone = settled_alone(copy_of(where), monkeypatch)
    be_readers(monkeypatch, script)
    monkeypatch.setattr(Patient, "waits_for", lambda self, one: script != HANG and not one.is_there)
    monkeypatch.setattr(readers, "_AHEAD", 3)
    assert outcome(where, settle.settle(where)) == alone
    assert (Patient.helped_in_all, Patient.given_up) == (0, 0)


def test_where_no_process_can_be_started_it_goes_on_alone(
    where: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = settled_alone(copy_of(where), monkeypatch)
    monkeypatch.setattr(readers, "_command", lambda where: ["/nonexistent"])
    assert outcome(where, settle.settle(where)) == alone


def test_they_end_when_settling_fails(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SyncFailed("no")

    monkeypatch.setattr(blobdir, "fail", fail)
    with pytest.raises(SyncFailed):
        settle.settle(where)
    assert Patient.helped_in_all >= 1
    assert psutil.Process().children() == []


@pytest.mark.parametrize("stopped", [False, True])
def test_they_end_with_a_parent_that_is_killed_and_keep_no_lock(tmp_path: Path, stopped: bool) -> None:
    """Even one that is suspended, and so outlives the parent, has nothing of the lock."""
    where = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    for blob_id in range(50):
        put(where, blob_id, f"{blob_id}")
    script = f"""
        import signal, sys
        from common import directory, readers, settle
        from common.lock import StateLock
        readers.WORTH_FROM_BLOBS, readers.SLICE_BLOBS, readers.usable_cpus = 1, 4, lambda: 3

        def progress(done, total):
            if done:
                print("settling", flush=True)
                signal.pause()

        held = StateLock({where.root!r}, "test")
        assert held.try_acquire()
        settle.settle(directory.open_directory({where.root!r}, 16, owner=True), progress=progress)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "settling\n"
        children = psutil.Process(parent.pid).children()
        assert len(children) == 2
        assert {os.getpgid(child.pid) for child in children} == {os.getpgid(parent.pid)}
        if stopped:
            for child in children:
                child.send_signal(signal.SIGSTOP)
        parent.kill()
    with StateLock(where.root, "test") as lock:
        assert lock.try_acquire()
    if stopped:
        for child in children:
            assert not has_ended(child)
            child.send_signal(signal.SIGCONT)
    wait_for(lambda: all(map(has_ended, children)), what="their end")


def has_ended(one: psutil.Process) -> bool:
    try:
        return bool(one.status() == psutil.STATUS_ZOMBIE)  # its new parent may be in no hurry
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("blobs", "cpus", "count"), [(99, 8, 0), (100, 1, 0), (100, 2, 1), (100, 3, 2), (100, 64, 3)]
)
def test_how_many_help(monkeypatch: pytest.MonkeyPatch, blobs: int, cpus: int, count: int) -> None:
    monkeypatch.setattr(readers, "WORTH_FROM_BLOBS", 100)
    monkeypatch.setattr(readers, "usable_cpus", lambda: cpus)
    assert how_many(blobs) == count


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [("max 100000", 4), ("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("?", 4)],
)
def test_how_many_processors_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(process, "_CPU_LIMIT", str(tmp_path / "cpu.max"))
    assert process.usable_cpus() == 4
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert process.usable_cpus() == cpus


def test_on_one_processor_nobody_is_started(where: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "usable_cpus", lambda: 1)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert settle.settle(where).seen == 48
