"""The lock on a data directory has one holder, which is named. It is free after the holder's death,
however that dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common import durable
from common.errors import LockHeld
from services.engines.local.disk import layout
from services.engines.local.disk.locks import FileLock, StateLock

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import subprocess, sys
from services.engines.local.disk.locks import StateLock
lock = StateLock(sys.argv[1], "server")
lock.acquire(0)
if sys.argv[2:] == ["child"]:
    subprocess.Popen([sys.executable, "-c", "import sys; print('held', flush=True); sys.stdin.read()"])
else:
    print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(root: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the state lock of `root`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), *more],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_free_lock_is_taken_and_says_by_whom(tmp_path: Path) -> None:
    lock = StateLock(str(tmp_path), "recovery")
    assert lock.try_acquire()
    assert (tmp_path / layout.LOCK_NAME).read_text() == f"{os.getpid()} recovery\n"
    assert lock.holder() == f"{os.getpid()} recovery"


def test_the_lock_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    StateLock(str(tmp_path), "server").acquire(0)
    assert (tmp_path / layout.LOCK_NAME).stat().st_mode & 0o777 == 0o600


def test_a_shorter_name_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / layout.LOCK_NAME).write_text("4194304 a-very-long-name-of-a-process\nmore\n")
    StateLock(str(tmp_path), "gc").acquire(0)
    assert (tmp_path / layout.LOCK_NAME).read_text() == f"{os.getpid()} gc\n"


def test_two_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    first, second = StateLock(str(tmp_path), "a"), StateLock(str(tmp_path), "b")
    assert first.try_acquire()
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    first.release()
    assert second.try_acquire()


def test_one_that_is_held_is_refused_with_the_pid_and_name_of_the_holder(tmp_path: Path) -> None:
    with holder(tmp_path) as process, pytest.raises(LockHeld) as caught:
        StateLock(str(tmp_path), "server").acquire(0)
    assert f"{tmp_path} is in use by process {process.pid} server:" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_that_is_not_ours_is_still_one_short_line(tmp_path: Path) -> None:
    with holder(tmp_path):
        (tmp_path / layout.LOCK_NAME).write_bytes(b"\xff" * 5000)
        with pytest.raises(LockHeld) as caught:
            StateLock(str(tmp_path), "server").acquire(0)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_death_of_the_holder_frees_it(tmp_path: Path, number: signal.Signals) -> None:
    lock = StateLock(str(tmp_path), "server")
    with holder(tmp_path) as process:
        threading.Timer(0.05, process.send_signal, (number,)).start()
        lock.acquire(30)
    assert lock.holder() == f"{os.getpid()} server"


def test_a_child_of_the_holder_does_not_inherit_it(tmp_path: Path) -> None:
    lock = StateLock(str(tmp_path), "server")
    with holder(tmp_path, "child") as process:
        assert not lock.try_acquire()
        process.kill()
        process.wait(timeout=120)
        lock.acquire(30)  # while the child, who reads our pipe, still lives


def test_a_with_statement_gives_it_back(tmp_path: Path) -> None:
    with StateLock(str(tmp_path), "a") as lock:
        lock.acquire(0)
    assert StateLock(str(tmp_path), "b").try_acquire()


def test_the_gc_lock_and_the_state_lock_are_two(tmp_path: Path) -> None:
    assert StateLock(str(tmp_path), "server").try_acquire()
    assert FileLock(str(tmp_path / layout.GC_LOCK_NAME), "gc").try_acquire()


def test_a_full_disk_does_not_keep_one_from_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "write_holder", full)
    assert StateLock(str(tmp_path), "server").try_acquire()
    assert not StateLock(str(tmp_path), "server").try_acquire()


def test_a_missing_directory_is_an_error_and_no_descriptor_leaks(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with pytest.raises(FileNotFoundError):
            StateLock(str(tmp_path / "missing"), "server").try_acquire()
    held = StateLock(str(tmp_path), "server")
    assert held.try_acquire()
    for _ in range(10):
        assert not StateLock(str(tmp_path), "server").try_acquire()
    held.release()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("replaced", [False, True])
def test_who_removes_the_file_lets_nobody_in(tmp_path: Path, replaced: bool) -> None:
    """Otherwise the recovery worker would reconcile what a running server is writing, and so end it."""
    first, second = StateLock(str(tmp_path), "server"), StateLock(str(tmp_path), "recovery")
    assert first.try_acquire()
    (tmp_path / layout.LOCK_NAME).unlink()
    if replaced:
        (tmp_path / layout.LOCK_NAME).touch()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()
    second.release()
