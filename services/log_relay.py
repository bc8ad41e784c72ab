"""Between supervisord and whoever reads its output: a reader that hangs must not stop supervisord.

`python -m services.log_relay IN:OUT ...`: what comes on descriptor IN goes to OUT, by whole lines. It is read
at once, always; up to 4 MiB wait for a slow reader, and of what is more only the number is told. It ends
when its inputs have ended, as after `kill -9` of supervisord, or with what has come when it gets SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from common.line_writer import LineWriter, to_descriptor

READ_BYTES = 64 << 10
LAST_WORDS_S = 1.0  # of each output, for what still waits at the end


class Relay:
    """From one descriptor to another."""

    def __init__(self, source: int, target: int) -> None:
        os.set_blocking(source, False)
        self.source = source
        self._rest = b""  # of a line
        self._writer = LineWriter(to_descriptor(target), _told_dropped)

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


def _told_dropped(count: int, error: str) -> bytes:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return (
        f"{now} WARNING log_relay: {count} pieces of the log dropped: {error or 'read too slowly'}\n".encode()
    )


def main(argv: list[str]) -> None:
    """Relay between each pair of descriptors that `argv` names."""
    told, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGTERM, lambda *_: None)
    relays = {relay.source: relay for relay in (Relay(*map(int, pair.split(":"))) for pair in argv)}
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
