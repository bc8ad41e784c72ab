"""Relays supervisord's output, so that a reader of it that hangs does not stop supervisord.

`python -m services.log_relay text|json IN:OUT ...`: whole lines go from descriptor IN to OUT. Input is always
read at once. Up to 4 MiB wait for a slow reader; further lines are dropped, and their number is written in
that format. It ends when its inputs have ended, also after `kill -9` of supervisord. On SIGTERM it writes
what has come, and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from functools import partial

from common.line_writer import LineWriter, to_descriptor
from common.logs import line_time

READ_BYTES = 64 << 10
LAST_WORDS_S = 1.0  # for each output, to write what still waits at the end


class LogRelay:
    """From one descriptor to another."""

    def __init__(self, source: int, target: int, log_format: str) -> None:
        os.set_blocking(source, False)
        self.source = source
        self._rest = b""  # of a line
        self._writer = LineWriter(to_descriptor(target), partial(_told_dropped, log_format))

    def take(self) -> bool:
        """Take what is there, at most 64 KiB; False at the end of it. Raises BlockingIOError."""
        data = os.read(self.source, READ_BYTES)
        lines, end, self._rest = (self._rest + data).rpartition(b"\n")
        if end:
            self._writer.put(lines + end)
        if len(self._rest) >= READ_BYTES:  # no line of ours is that long
            self._writer.put(self._rest)
            self._rest = b""
        return bool(data)

    def end(self) -> None:
        """Take what is there still, and write what waits, as far as that goes soon."""
        with contextlib.suppress(BlockingIOError):
            while self.take():
                pass
        self._writer.put(self._rest)
        self._writer.close(LAST_WORDS_S)


def _told_dropped(log_format: str, count: int, error: str) -> bytes:
    now = line_time(time.time())
    text = f"{count} pieces of the log dropped: {error or 'read too slowly'}"
    if log_format == "json":
        entry = {"time": now, "level": "WARNING", "process": "log_relay", "message": text}
        return f"{json.dumps(entry)}\n".encode()
    return f"{now} WARNING log_relay: {text}\n".encode()


def main(argv: list[str]) -> None:
    """Relay between each pair of descriptors that `argv` names, after the format of our own lines."""
    log_format, *pairs = argv
    told, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGTERM, lambda *_: None)
    ends = (pair.partition(":") for pair in pairs)
    made = [LogRelay(int(source), int(target), log_format) for source, _, target in ends]
    relays = {relay.source: relay for relay in made}
    waiting = select.poll()
    for fd in (told, *relays):
        waiting.register(fd, select.POLLIN)
    open_relays = set(relays)
    while open_relays:
        for fd, _ in waiting.poll():
            if fd == told:
                open_relays.clear()
                break
            with contextlib.suppress(BlockingIOError):
                if not relays[fd].take():
                    waiting.unregister(fd)
                    open_relays.discard(fd)
    for relay in relays.values():
        relay.end()


if __name__ == "__main__":
    main(sys.argv[1:])
