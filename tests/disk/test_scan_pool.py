"""Recovery with scan helpers gives the same result, whatever happens to the helpers."""

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

from common import process
from common.errors import SyncFailed
from common.states import MSG_DELETED
from services.engines.local.disk import blob_folder, directory
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.locks import StateLock
from services.engines.local.recovery import reconcile, scan_pool
from services.engines.local.recovery.reconciled import Reconciled
from services.engines.local.recovery.scan_pool import ScanPool, _ScanHelper, how_many
from services.engines.local.recovery.scan_slices import SliceScan
from tests.disk.test_reconcile import make_original, pending, put
from tests.support.processes import ROOT, wait_for

SLICE = 4


class Patient(ScanPool):
    """Reads nothing itself while the others may still answer."""

    helped_in_all = 0
    given_up = 0

    def waits_for(self, one: _ScanHelper) -> bool:
        return not one.is_there or bool(one.asked)

    def _listen(self) -> None:
        super()._listen()
        while self._given not in self._ready and (awaited := list(filter(self.waits_for, self._readers))):
            assert select.select([reader._from for reader in awaited], [], [], 30)[0]
            super()._listen()
        Patient.helped_in_all, Patient.given_up = self.helped, 2 - len(self._readers)


@pytest.fixture(autouse=True)
def many_cores_and_small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_pool, "SLICE_BLOBS", SLICE)
    monkeypatch.setattr(scan_pool, "WORTH_FROM_BLOBS", 1)
    monkeypatch.setattr(scan_pool, "usable_cpus", lambda: 3)
    monkeypatch.setattr(reconcile, "ScanPool", Patient)
    monkeypatch.setattr(Patient, "helped_in_all", 0)
    monkeypatch.setattr(Patient, "given_up", 0)


@pytest.fixture
def id_bits() -> int:
    return 16


@pytest.fixture
def data_dir(id_bits: int, tmp_path: Path) -> Layout:
    made = directory.open_directory(str(tmp_path / "data"), id_bits, owner=True)
    fill(made)
    return made


def fill(data_dir: Layout) -> None:
    """Every case that recovery knows, with plain blobs around each."""
    for blob_id in range(20):
        put(data_dir, blob_id, f"plain-{blob_id % 17}", b"x" * blob_id, seq=100 + blob_id)
    for blob_id in range(30, 50):
        put(data_dir, blob_id, f"odd-{blob_id}", b"body", seq=blob_id)
    Path(data_dir.state(30)).write_bytes(b"")
    os.unlink(data_dir.state(31))
    os.unlink(data_dir.data(32))
    os.truncate(data_dir.data(33), 1)
    os.truncate(data_dir.data(34), 100)
    os.unlink(data_dir.data(35))
    os.symlink("/etc/hostname", data_dir.data(35))
    os.unlink(data_dir.state(36))
    os.mkfifo(data_dir.state(36))
    os.rename(data_dir.folder(37), data_dir.folder(300))
    blob_folder.fail(data_dir, blob_folder.read_record(data_dir, 38), MSG_DELETED, time.time_ns())
    for blob_id in (39, 40):
        make_original(data_dir, blob_folder.read_record(data_dir, blob_id))
    os.rename(data_dir.data(41), data_dir.data(41) + ".tmp")
    blob_folder.take(data_dir, 50)
    blob_folder.take(data_dir, 51)
    os.close(blob_folder.stage(data_dir, pending(51, "interrupted", 51)))
    for blob_id in (52, 53, 54):
        make_original(data_dir, put(data_dir, blob_id, "original"))
    for blob_id in (55, 56):
        put(data_dir, blob_id, "a long name " * 80, seq=blob_id)
    put(data_dir, 57, "many chunks", bytes(3 << 20))
    Path(data_dir.root, "foreign").mkdir()


def copy_of(data_dir: Layout) -> Layout:
    """A copy with pipes, links and times."""
    subprocess.run(["cp", "-a", data_dir.root, f"{data_dir.root}-copy"], check=True)
    return Layout(f"{data_dir.root}-copy", data_dir.id_bits)


def outcome(data_dir: Layout, found: Reconciled) -> dict[str, object]:
    """What was found, what was done, and what is on disk now, independent of the order of the directory."""
    states = {}
    for blob_id in directory.ids_in(data_dir):
        with_history = blob_folder.read_record(data_dir, blob_id)
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
        "paths": sorted(str(path.relative_to(data_dir.root)) for path in Path(data_dir.root).rglob("*")),
    }


def settled_alone(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    with monkeypatch.context() as patched:
        patched.setattr(scan_pool, "usable_cpus", lambda: 1)
        return outcome(data_dir, reconcile.reconcile(data_dir))


@pytest.mark.parametrize("id_bits", [16, 32])
def test_every_find_is_settled_as_without_them(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = settled_alone(copy_of(data_dir), monkeypatch)
    assert outcome(data_dir, reconcile.reconcile(data_dir)) == alone
    assert Patient.helped_in_all >= 10
    assert Patient.given_up == 0
    assert not reconcile.reconcile(data_dir).changed


def test_a_dry_run_finds_the_same_and_changes_nothing(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(os.walk(data_dir.root))
    found = reconcile.reconcile(data_dir, dry_run=True)
    assert Patient.helped_in_all >= 10
    assert sorted(os.walk(data_dir.root)) == before
    monkeypatch.setattr(scan_pool, "usable_cpus", lambda: 1)
    alone = reconcile.reconcile(data_dir, dry_run=True)
    assert found.live == alone.live
    assert (found.quarantined, found.failures) == (alone.quarantined, alone.failures)


@pytest.mark.parametrize("id_bits", [16, 32])
def test_slices_come_in_the_order_of_the_ids(data_dir: Layout) -> None:
    ids = directory.ids_in(data_dir)
    with SliceScan(data_dir) as own, Patient(data_dir, ids, 2) as shared:
        given = list(shared.slices())
        assert shared.helped >= 10
        assert given == [
            (ids[at : at + SLICE], own.read(ids[at : at + SLICE])) for at in range(0, len(ids), SLICE)
        ]


def test_types_are_held_once_whoever_read_them(data_dir: Layout) -> None:
    types = [blob.type for blob in reconcile.reconcile(data_dir).live.values()]
    assert len({id(one) for one in types}) == len(set(types)) == 2


def test_one_that_is_killed_is_not_missed(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = settled_alone(copy_of(data_dir), monkeypatch)
    real = scan_pool._ScanHelper.ask

    def ask_and_kill(self: _ScanHelper, number: int, ids: list[int]) -> None:
        real(self, number, ids)
        if number >= 3:
            self.process.kill()
            self.process.wait()

    monkeypatch.setattr(scan_pool._ScanHelper, "ask", ask_and_kill)
    assert outcome(data_dir, reconcile.reconcile(data_dir)) == alone
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
    """From now on helpers run this code. `asked` and `out` are their ends of the pipes."""
    head = "import struct, sys; asked, out = sys.stdin.buffer, sys.stdout.buffer\n"
    command = [sys.executable, "-S", "-c", head + script]
    monkeypatch.setattr(scan_pool, "python_program", lambda *_: (command, {**os.environ}))


@pytest.mark.parametrize("script", WRONG.values(), ids=WRONG.keys())
def test_one_that_answers_wrongly_is_given_up(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    alone = settled_alone(copy_of(data_dir), monkeypatch)
    be_readers(monkeypatch, script)
    assert outcome(data_dir, reconcile.reconcile(data_dir)) == alone
    assert Patient.given_up == 2


@pytest.mark.parametrize("script", LATE.values(), ids=LATE.keys())
def test_one_that_hangs_is_not_waited_for(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    alone = settled_alone(copy_of(data_dir), monkeypatch)
    be_readers(monkeypatch, script)
    monkeypatch.setattr(Patient, "waits_for", lambda self, one: script != HANG and not one.is_there)
    monkeypatch.setattr(scan_pool, "_AHEAD", 3)
    assert outcome(data_dir, reconcile.reconcile(data_dir)) == alone
    assert (Patient.helped_in_all, Patient.given_up) == (0, 0)


def test_where_no_process_can_be_started_it_goes_on_alone(
    data_dir: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = settled_alone(copy_of(data_dir), monkeypatch)
    monkeypatch.setattr(scan_pool, "python_program", lambda *_: (["/nonexistent"], {}))
    assert outcome(data_dir, reconcile.reconcile(data_dir)) == alone


def test_they_end_when_settling_fails(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SyncFailed("no")

    before = psutil.Process().children()
    monkeypatch.setattr(blob_folder, "fail", fail)
    with pytest.raises(SyncFailed):
        reconcile.reconcile(data_dir)
    assert Patient.helped_in_all >= 1
    assert psutil.Process().children() == before


@pytest.mark.parametrize("stopped", [False, True])
def test_they_end_with_a_parent_that_is_killed_and_keep_no_lock(tmp_path: Path, stopped: bool) -> None:
    """A helper that is suspended outlives its parent, but must not keep the lock."""
    data_dir = directory.open_directory(str(tmp_path / "data"), 16, owner=True)
    for blob_id in range(50):
        put(data_dir, blob_id, f"{blob_id}")
    script = f"""
        import signal, sys
        from services.engines.local.disk import directory
        from services.engines.local.recovery import reconcile, scan_pool
        from services.engines.local.disk.locks import StateLock
        scan_pool.WORTH_FROM_BLOBS, scan_pool.SLICE_BLOBS, scan_pool.usable_cpus = 1, 4, lambda: 3

        def progress(done, total):
            if done:
                print("settling", flush=True)
                signal.pause()

        held = StateLock({data_dir.root!r}, "test")
        assert held.try_acquire()
        reconcile.reconcile(directory.open_directory({data_dir.root!r}, 16, owner=True), progress=progress)
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
    with StateLock(data_dir.root, "test") as lock:
        assert lock.try_acquire()
    if stopped:
        for child in children:
            assert not has_ended(child)
            child.send_signal(signal.SIGCONT)
    wait_for(lambda: all(map(has_ended, children)), what="their end")


def has_ended(one: psutil.Process) -> bool:
    try:
        return bool(one.status() == psutil.STATUS_ZOMBIE)  # its new parent may take its time to reap it
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(
    ("blobs", "cpus", "count"), [(99, 8, 0), (100, 1, 0), (100, 2, 1), (100, 3, 2), (100, 64, 3)]
)
def test_how_many_help(monkeypatch: pytest.MonkeyPatch, blobs: int, cpus: int, count: int) -> None:
    monkeypatch.setattr(scan_pool, "WORTH_FROM_BLOBS", 100)
    monkeypatch.setattr(scan_pool, "usable_cpus", lambda: cpus)
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


def test_on_one_processor_nobody_is_started(data_dir: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_pool, "usable_cpus", lambda: 1)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert reconcile.reconcile(data_dir).seen == 48
