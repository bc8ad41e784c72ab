"""A neighbour that dirties the disk: `python -m bench.neighbour FOLDER SECONDS` writes 400 MB/s, unsynced."""

from __future__ import annotations

import os
import sys
import time

RATE_BYTES_PER_S = 400e6
_PIECE = os.urandom(4 << 20)
_PIECES = 256  # of each of the files that it writes in turn


def main(folder: str, seconds: float) -> None:
    """Write until the time is over."""
    began = time.monotonic()
    written = 0
    number = 0
    while True:
        fd = os.open(f"{folder}/neighbour-{number % 3}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for _ in range(_PIECES):
            written += os.write(fd, _PIECE)
            now = time.monotonic() - began
            if now > seconds:
                return
            time.sleep(max(0.0, written / RATE_BYTES_PER_S - now))
        os.close(fd)
        number += 1


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
