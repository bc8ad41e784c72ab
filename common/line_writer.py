"""Writes lines in a thread of its own, so that only this thread waits for a reader that hangs.

The queue is limited in bytes. Further lines are dropped and counted, and the count is written before the next
line. So a program goes on when nobody reads its log.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import threading
from collections.abc import Callable

MAX_WAITING_BYTES = 4 << 20
_WRITE_BYTES = 64 << 10
_END = b""


class LineWriter:
    """Writes whole lines through `write`. `put` is for one thread at a time.

    `write` takes bytes and may block; it raises if they are lost. `told_dropped` makes the line about dropped
    lines, from their number and the error of the writing ("" for none).
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        told_dropped: Callable[[int, str], bytes],
        *,
        max_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self.write = write  # may be exchanged, after `flush`
        self._told_dropped = told_dropped
        self._max_bytes = max_bytes
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        # Sums that one thread alone changes need no lock: the first two whoever puts, the others ours.
        self._put_bytes = 0
        self._refused = 0  # lines
        self._done_bytes = 0
        self._lost = 0  # lines
        self._told = 0  # lines
        self._error = ""
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        # A signal that this thread could take would kill a process that waits for it in another.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def dropped(self) -> int:
        """How many lines were dropped so far."""
        return self._refused + self._lost

    def put(self, line: bytes) -> None:
        """Queue `line`, which ends in a line feed; or drop it if too much waits. Never blocks."""
        if self._put_bytes - self._done_bytes + len(line) > self._max_bytes:
            self._refused += 1
            return
        self._put_bytes += len(line)
        self._lines.put(line)

    def flush(self, timeout_s: float = 1.0) -> None:
        """Wait until all that was put is written, but no longer than this."""
        written = threading.Event()
        self._lines.put(written)
        written.wait(timeout_s)

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits, for no longer than this, and end the thread."""
        self._lines.put(_END)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        going = True
        while going:
            lines: list[bytes] = []
            marks: list[threading.Event] = []
            taken_bytes = 0
            with contextlib.suppress(queue.Empty):
                one = self._lines.get()
                while True:
                    if isinstance(one, threading.Event):
                        marks.append(one)
                        break  # what was put after it may take longer than its waiter waits
                    lines.append(one)
                    taken_bytes += len(one)
                    going = one is not _END
                    if not going or taken_bytes >= _WRITE_BYTES:
                        break
                    one = self._lines.get_nowait()
            self._write(lines)
            self._done_bytes += taken_bytes
            for mark in marks:
                mark.set()

    def _write(self, lines: list[bytes]) -> None:
        untold = self.dropped - self._told
        told = self._told_dropped(untold, self._error) if untold else b""
        try:
            self.write(told + b"".join(lines))
        except Exception as err:  # noqa: BLE001 - a full disk, a closed file: told when it goes again
            self._error = getattr(err, "strerror", None) or str(err)
            self._lost += len(lines)
        else:
            self._told += untold
            if untold:
                self._error = ""


def to_descriptor(fd: int) -> Callable[[bytes], None]:
    """Writes all of what it is given to `fd`; waits where that is full, also if it is non-blocking."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                waiting = select.poll()
                waiting.register(fd, select.POLLOUT)
                waiting.poll()

    return write
