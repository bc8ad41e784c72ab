"""Writes that the kernel does meanwhile: they are whole, tell how they ended, and each thread has its own."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from pathlib import Path

import pytest

from common import kernel_writes

PAGE = mmap.PAGESIZE


def past_cache(path: Path) -> int:
    """An open file whose writes go past the page cache, of eight pages. Skips where that cannot be."""
    try:
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("this file system writes through the page cache alone")
    os.posix_fallocate(fd, 0, 8 * PAGE)
    return fd


def pages(content: bytes) -> memoryview:
    memory = memoryview(mmap.mmap(-1, len(content)))
    memory[:] = content
    return memory


def begun(fd: int, data: memoryview, offset: int) -> kernel_writes.Begun:
    write = kernel_writes.begin(fd, data, offset)
    if write is None:
        pytest.skip("this system has no such writes")
    return write


def test_bytes_are_where_they_belong(tmp_path: Path) -> None:
    fd, second = past_cache(tmp_path / "a"), os.urandom(2 * PAGE)
    for offset, content in ((3 * PAGE, b"3" * PAGE), (0, second)):
        assert begun(fd, pages(content), offset).wait() == len(content)
    assert (tmp_path / "a").read_bytes() == second + bytes(PAGE) + b"3" * PAGE + bytes(4 * PAGE)
    os.close(fd)


def test_each_thread_waits_for_its_own(tmp_path: Path) -> None:
    fd, found = past_cache(tmp_path / "a"), dict[int, int]()

    def write(number: int) -> None:
        one = begun(fd, pages(bytes([number]) * number * PAGE), number * PAGE)
        found[number] = one.wait()

    threads = [threading.Thread(target=write, args=(number,)) for number in (1, 2, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: number * PAGE for number in (1, 2, 4)}
    os.close(fd)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY])
def test_what_the_kernel_refuses_is_not_written(tmp_path: Path, flags: int) -> None:
    """The file is open for reading; or the bytes do not begin at a block."""
    os.close(past_cache(tmp_path / "a"))
    fd = os.open(tmp_path / "a", flags | os.O_DIRECT)
    write = kernel_writes.begin(fd, pages(b"x" * PAGE)[1:], 1)
    if write is not None:
        with pytest.raises(OSError, match="Invalid argument"):
            write.wait()
    os.close(fd)
    assert (tmp_path / "a").read_bytes() == bytes(8 * PAGE)


def test_bytes_that_nobody_may_change_are_left_to_an_ordinary_call() -> None:
    assert kernel_writes.begin(-1, b"x" * PAGE, 0) is None


def test_a_system_without_them_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fd = past_cache(tmp_path / "a")
    monkeypatch.setattr(kernel_writes, "_here", threading.local())
    monkeypatch.setattr(kernel_writes, "_SET_UP", ctypes.c_long(-1))
    assert kernel_writes.begin(fd, pages(b"x" * PAGE), 0) is None
    os.close(fd)
