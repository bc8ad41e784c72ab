"""A helper process that reads blobs for the process that reconciles.

It is started by `scan_pool` as `python -m services.engines.local.recovery.scan_worker ROOT ID_BITS`.

On stdin come slices of ids, to stdout go their blobs: frames of a length (4 bytes, little endian) and so
many bytes; ids as 4 bytes each, blobs as a msgpack list: see `scan.Scanned`. A first frame without
blobs says that the helper is ready.

It only reads: it holds no lock, decides nothing, and changes nothing on disk. It ends with its parent, whose
death closes stdin.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # nothing here refers to itself, so collections would free nothing, and take time

import struct
import sys
from array import array

import msgspec

from services.engines.local.disk.layout import Layout
from services.engines.local.recovery.scan import Scanned
from services.engines.local.recovery.scan_slices import SliceScan

LENGTH = struct.Struct("<I")
ID_TYPE = "I"
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(list[Scanned]).decode


def main() -> int:
    """Answer until there is nothing more to read; the exit status is 0."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    with SliceScan(Layout(sys.argv[1], int(sys.argv[2]))) as slices:
        blobs: list[Scanned] = []
        while True:
            payload = encode(blobs)
            answers.write(LENGTH.pack(len(payload)) + payload)
            answers.flush()
            length = asked.read(LENGTH.size)
            if len(length) < LENGTH.size:
                return 0
            ids = array(ID_TYPE, asked.read(LENGTH.unpack(length)[0]))
            blobs = slices.read(ids)


if __name__ == "__main__":
    sys.exit(main())
