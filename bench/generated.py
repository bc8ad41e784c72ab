"""Makes data directories of very many blobs without a server: as after a clean stop, unsynced.

A first-level folder holds 32,768 blobs, half of what it can, as where a server chooses ids at random. The
state files come from a template, which is compared with what the server would write for the first and the
last blob of each folder; writing each by itself would take as long again as the file system does. All is
told by the number of a blob, so that the index can be written without reading the folders.
"""

from __future__ import annotations

import array
import binascii
import hashlib
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from common import checksum
from services.engines.local.disk import directory, layout, record
from services.engines.local.disk.blob import Blob, pack
from services.engines.local.disk.directory import Format, write_format
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.locks import StateLock
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.manifest import IndexFiles
from services.engines.local.index.row_stamps import row_stamps
from services.engines.local.journal import format as journal_format
from services.engines.local.journal.writer import open_journal
from services.engines.local.recovery.restart import writer_of

PREFIXES = 5000
BODY = b"x" * 64
_ROW_IDS = 1 << 16
_ROW_BLOBS = _ROW_IDS // 2
_BEGIN_NS = 1_790_000_000_000_000_000  # in September 2026
_SHA256 = hashlib.sha256(BODY).digest()
_CRCS = checksum.pack_crcs([checksum.crc(BODY)])


def location_of(number: int) -> str:
    """Of blob `number`: they are spread over PREFIXES folders."""
    return f"{number % PREFIXES:04}/{number:08}"


def generate(root: Path, blobs: int) -> None:
    """Make `root` a data directory of 32 bits with so many blobs; a process for each core does it."""
    root.mkdir(parents=True, mode=0o700)
    write_format(str(root), Format(1, 32))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows = range(-(-blobs // _ROW_BLOBS))
        makings = [pool.submit(_make_row, root, row, blobs) for row in rows]
        for making in makings:
            making.result()


def write_index(root: Path, blobs: int) -> None:
    """Write the index of such a directory, as a server leaves it at a clean stop.

    A start that reads all folders takes a minute of processor time and more for each million.
    """
    data_dir = Layout(str(root), 32)
    lock = StateLock(str(root), "bench")
    lock.acquire(0.0)
    with lock:
        journal = open_journal(data_dir, "journal")
        assert journal is not None
        journal.close(clean=True)
        files = IndexFiles(data_dir)
        files.make_home()
        stamps = row_stamps(data_dir, directory.row_numbers(data_dir))
        ids, all_ids = IdSet(), array.array("I", bytes(4 * blobs))
        for row in range(-(-blobs // _ROW_BLOBS)):
            for number, blob_id in zip(_numbers_of(row, blobs), _ids_of(row), strict=False):
                all_ids[number] = blob_id
                ids.add(blob_id)
        writer = writer_of(data_dir, files, None, lock)
        items = _in_order(all_ids)
        newest = max(epoch[0] for epoch in journal_format.epochs(data_dir) if epoch is not None)
        last = _BEGIN_NS // 1000 + blobs
        writer.seal(items, blobs, None, ids.rows(), blobs * len(BODY), newest, last, stamps)


def _in_order(all_ids: array.array[int]) -> Iterator[tuple[str, Blob]]:
    blobs = len(all_ids)
    for prefix in range(min(PREFIXES, blobs)):
        for number in range(prefix, blobs, PREFIXES):
            location = location_of(number)
            packed = pack(_BEGIN_NS // 1000 + number, _BEGIN_NS) + _SHA256 + _CRCS
            yield location, Blob(location, all_ids[number], len(BODY), "text/plain", "", packed)


def _make_row(root: Path, row: int, blobs: int) -> None:
    numbers, made = _numbers_of(row, blobs), _ids_of(row)
    home = root / str(row)
    home.mkdir(mode=0o700)
    template = _Template()
    for blob_id, number in ((made[0], numbers[0]), (made[len(numbers) - 1], numbers[-1])):
        assert template.state(blob_id, number) == record.dump(_record(blob_id, number))
    at = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    for blob_id, number in zip(made, numbers, strict=False):
        folder = str(blob_id % _ROW_IDS)
        os.mkdir(folder, 0o700, dir_fd=at)
        for name, data in ((layout.DATA_NAME, BODY), (layout.STATE_NAME, template.state(blob_id, number))):
            fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=at)
            os.write(fd, data)
            os.close(fd)
    os.close(at)


def _numbers_of(row: int, blobs: int) -> range:
    return range(row * _ROW_BLOBS, min(blobs, (row + 1) * _ROW_BLOBS))


def _ids_of(row: int) -> list[int]:
    return [(row << 16) + name for name in random.Random(row).sample(range(_ROW_IDS), _ROW_BLOBS)]


def _record(blob_id: int, number: int) -> record.BlobRecord:
    return record.whole(
        *(blob_id, location_of(number), _BEGIN_NS // 1000 + number, "created", _BEGIN_NS, "text/plain", ""),
        *(len(BODY), _SHA256, _CRCS),
    )


class _Template:
    """State files that differ in id, location and sequence number; all are of one moment."""

    def __init__(self) -> None:
        self._seq = _BEGIN_NS // 1000
        first, _, rest = record.dump(_record(1 << 24, 0)).partition(b"\n")
        self._begin, _, coded = first.partition(b":")
        rest = rest[: rest.rindex(b"state: ")]
        json = binascii.a2b_base64(coded).replace(b"%d" % (1 << 24), b"%d", 1)
        self._json = _with_holes(json).replace(b'"seq":%d' % self._seq, b'"seq":%d')
        self._rest = _with_holes(rest)

    def state(self, blob_id: int, number: int) -> bytes:
        location = location_of(number).encode()
        json = self._json % (blob_id, location, self._seq + number)
        coded = binascii.b2a_base64(json, newline=False)
        content = b"%b:%b\n%b" % (self._begin, coded, self._rest % location)
        return b"%bstate: crc32c %08x\n" % (content, checksum.crc(content))


def _with_holes(text: bytes) -> bytes:
    return text.replace(location_of(0).encode(), b"%b")
