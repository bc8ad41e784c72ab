"""A neighbour that dirties the disk: `python -m bench.neighbour FOLDER SECONDS` writes 400 MB/s, unsynced.

It overwrites one file from beginning to end, again and again. Nothing is truncated, so only the kernel
decides when to write back. First it dirties so much, as fast as it can, that the kernel starts to write back.
Then it prints "ready", and the time begins. So every run is measured in a steady state.
"""

from __future__ import annotations

import os
import sys
import time

RATE_BYTES_PER_S = 400e6
_PIECE = os.urandom(4 << 20)
_MIN_BYTES, _MAX_BYTES = 1 << 30, 6 << 30


def _file_bytes() -> int:
    """One and a half times what may be dirty before the kernel starts to write back."""
    with open("/proc/vmstat", encoding="ascii") as file:
        counts = dict(line.split() for line in file)
    threshold = int(counts["nr_dirty_background_threshold"]) * os.sysconf("SC_PAGE_SIZE")
    return max(_MIN_BYTES, min(_MAX_BYTES, threshold * 3 // 2))


def main(folder: str, seconds: float) -> None:
    """Write until the time is over."""
    pieces = _file_bytes() // len(_PIECE)
    fd = os.open(f"{folder}/neighbour", os.O_WRONLY | os.O_CREAT)
    for number in range(pieces):
        os.pwrite(fd, _PIECE, number * len(_PIECE))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    began = time.monotonic()
    written = number = 0
    while (now := time.monotonic() - began) <= seconds:
        time.sleep(max(0.0, written / RATE_BYTES_PER_S - now))
        written += os.pwrite(fd, _PIECE, number % pieces * len(_PIECE))
        number += 1


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
