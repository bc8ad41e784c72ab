"""Pieces are written and hashed, by one thread or two."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from common import durable
from common.checksum import Bytes
from services.engines.local.serving.data_writer import DataWriter

PIECES = [os.urandom(1 << 20), os.urandom(300_000), b"short"]


class Noted:
    """SHA-256, and the threads that computed it."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.threads: list[int] = []

    def update(self, data: Bytes) -> None:
        self.threads.append(threading.get_ident())
        self.sha256.update(data)


class NoneFree(Executor):
    """All of its threads have something to do."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future()


class Waiting(ThreadPoolExecutor):
    """It has begun with a step before `submit` returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        begun = threading.Event()

        def run() -> None:
            begun.set()
            fn(*args, **kwargs)

        made = super().submit(run)
        assert begun.wait(60)
        return made


def written(path: Path, sums: list[Noted], beside: Executor | None) -> None:
    fd = durable.create_file(str(path))
    try:
        DataWriter(fd, sums, beside=beside).append(list(PIECES), last=True)
    finally:
        os.close(fd)
    assert path.read_bytes() == b"".join(PIECES)


@pytest.mark.parametrize("beside", [None, NoneFree()])
def test_without_another_thread_all_is_done_in_this_one(tmp_path: Path, beside: Executor | None) -> None:
    sums = [Noted(), Noted()]
    written(tmp_path / "a", sums, beside)
    for one in sums:
        assert one.sha256.digest() == hashlib.sha256(b"".join(PIECES)).digest()
        assert one.threads == [threading.get_ident()] * len(PIECES)


def test_the_last_sum_of_what_is_large_is_computed_beside_the_others(tmp_path: Path) -> None:
    sums = [Noted(), Noted()]
    with Waiting(1) as beside:
        written(tmp_path / "a", sums, beside)
    here = threading.get_ident()
    for one in sums:
        assert one.sha256.digest() == hashlib.sha256(b"".join(PIECES)).digest()
    assert [thread == here for thread in sums[0].threads] == [True] * len(PIECES)
    assert [thread == here for thread in sums[1].threads] == [False, False, True]


@pytest.mark.parametrize("last", [False, True])
def test_an_error_is_raised_when_nobody_uses_the_memory_any_more(tmp_path: Path, last: bool) -> None:
    """Whichever of the two threads has it."""
    over: list[bool] = []

    class Failing(Noted):
        def update(self, data: Bytes) -> None:
            raise MemoryError

    class Slow(Noted):
        def update(self, data: Bytes) -> None:
            may_end.wait(0.05)
            super().update(data)
            over.append(True)

    may_end = threading.Event()
    sums = [Slow(), Failing()] if last else [Failing(), Slow()]
    with Waiting(1) as beside:
        with pytest.raises(MemoryError):
            written(tmp_path / "a", sums, beside)
        assert over
