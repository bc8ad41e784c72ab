"""A thread writes lines: all of them if somebody reads, else they are dropped and counted. It blocks
nobody.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import threading
from collections.abc import Iterator

import pytest

from common.line_writer import LineWriter, to_descriptor

LINE = b"x" * 99 + b"\n"


def told(count: int, error: str) -> bytes:
    return b"%d dropped: %s\n" % (count, error.encode())


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        os.close(fd)


def filled(fd: int) -> int:
    """Fill a pipe; how many bytes it took."""
    os.set_blocking(fd, False)
    took = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            took += os.write(fd, b"." * 4096)
    os.set_blocking(fd, True)
    return took


def read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(fd, size - len(data))
    return data


def test_lines_come_whole_and_in_order(pipe: tuple[int, int]) -> None:
    writer = LineWriter(to_descriptor(pipe[1]), told)
    lines = [b"%d\n" % n for n in range(10_000)]
    for line in lines:
        writer.put(line)
    assert read(pipe[0], sum(map(len, lines))) == b"".join(lines)
    writer.close()
    assert writer.dropped == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_who_puts_never_waits_and_what_is_dropped_is_told(pipe: tuple[int, int], blocking: bool) -> None:
    """Some parents leave a pipe non-blocking, so that writes fail instead of waiting."""
    took = filled(pipe[1])
    os.set_blocking(pipe[1], blocking)
    writer = LineWriter(to_descriptor(pipe[1]), told, max_bytes=10 * len(LINE))
    for _ in range(1000):
        writer.put(LINE)
    assert writer.dropped == 990
    read(pipe[0], took)  # its reader reads again
    text = b""
    while text.count(LINE) < 10:
        text += os.read(pipe[0], 1 << 16)
    writer.flush(timeout_s=120)  # otherwise these lines may still count as waiting
    writer.put(b"after\n")
    while not text.endswith(b"after\n"):
        text += os.read(pipe[0], 1 << 16)
    assert text.count(LINE) == 10
    assert sum(map(int, re.findall(rb"(\d+) dropped", text))) == 990
    writer.close()


def test_lines_that_cannot_be_written_are_told_when_the_next_can() -> None:
    written = []
    is_full = True

    def write(data: bytes) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(data)

    writer = LineWriter(write, told)
    for _ in range(3):
        writer.put(LINE)
        writer.flush()
    is_full = False
    writer.put(LINE)
    writer.close()
    assert b"".join(written) == b"3 dropped: No space left on device\n" + LINE


def test_nobody_waits_long_for_a_reader_that_does_not_read(pipe: tuple[int, int]) -> None:
    filled(pipe[1])
    writer = LineWriter(to_descriptor(pipe[1]), told)
    writer.put(LINE)
    writer.flush(0.01)
    writer.close(0.01)  # neither hangs
    os.read(pipe[0], 1 << 20)
    writer._thread.join(120)


def test_its_thread_takes_no_signals() -> None:
    """A worker blocks SIGTERM and waits for it. A thread that does not block it would end the whole
    process.
    """
    seen = []
    writer = LineWriter(lambda data: seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, ())), told)
    writer.put(LINE)
    writer.flush()
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} <= seen[0]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())  # ours is as it was
    writer.close()
    assert writer._thread not in threading.enumerate()
