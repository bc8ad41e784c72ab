"""The access log: a line a request on stdout, in the combined format with the latency in seconds behind it.

    127.0.0.1 - - [24/Nov/2026:23:00:00 +0000] "GET /store/a HTTP/1.1" 200 5 "-" "curl/8.5" 0.000312

Off by default. What clients choose is escaped as nginx does it (`\\x22`), so no line and no field can be
forged. Lines are written by a thread of their own: a reader of stdout that hangs holds up nobody.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import threading
import time

log = logging.getLogger(__name__)

# Lines that wait for a slow reader; more are dropped, and their number is told.
MAX_WAITING = 20_000
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # all but printable ASCII without the quote and the backslash
_LONGEST_FIELD = 8192


def escaped(text: str) -> str:
    """`text` fit for a quoted field: one line, ASCII, no quote that ends the field."""
    text = text[:_LONGEST_FIELD]
    if _UNSAFE.search(text) is None:
        return text
    return _UNSAFE.sub(lambda m: "".join(f"\\x{byte:02X}" for byte in _bytes(m[0])), text)


def _bytes(char: str) -> bytes:
    # Header fields and targets come as latin-1: their bytes are what the client sent.
    return char.encode("latin-1") if char < "\u0100" else char.encode("utf-8", "surrogatepass")


class AccessLog:
    """Writes lines to the descriptor `fd`. `tell` is for the event loop; `close` writes what is waiting."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._second = -1
        self._time = ""
        self.dropped = 0
        self._told_dropped = 0
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def tell(
        self,
        remote: str,
        user: str,
        request: str,
        status: int,
        bytes_out: int,
        referer: str,
        agent: str,
        seconds: float,
    ) -> None:
        """One request."""
        if self._queue.qsize() >= MAX_WAITING:
            self.dropped += 1
            return
        now = int(time.time())
        if now != self._second:
            self._second, self._time = now, _clf_time(now)
        who = f"{escaped(remote)} - {escaped(user).replace(' ', '_')}"
        asked = f'"{escaped(request)}" {status} {bytes_out}'
        by = f'"{escaped(referer) or "-"}" "{escaped(agent) or "-"}"'
        self._queue.put(f"{who} [{self._time}] {asked} {by} {seconds:.6f}\n")

    def close(self) -> None:
        """Write what is waiting, for at most a second."""
        self._queue.put(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        going = True
        while going:
            lines = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(lines) < 1000:
                    lines.append(self._queue.get_nowait())
            going = lines[-1] is not None
            self._write("".join(line for line in lines if line is not None).encode("ascii"))
            if self.dropped != self._told_dropped:
                log.warning("access log: %d lines dropped, its reader is too slow", self.dropped)
                self._told_dropped = self.dropped

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as err:
            log.error("access log: %s", err.strerror)


def _clf_time(now: int) -> str:
    t = time.gmtime(now)
    return f"{t[2]:02d}/{_MONTHS[t[1] - 1]}/{t[0]}:{t[3]:02d}:{t[4]:02d}:{t[5]:02d} +0000"
