"""For operators: which bytes of a blob in quarantine are still good, and removing it for good."""

from __future__ import annotations

import os
from collections.abc import Iterator

from common import checksum
from common.errors import DAMAGE_ERRNOS, Damaged
from common.ours import open_ours
from common.states import State
from services.engines.local.disk import layout
from services.engines.local.upkeep.backup import verified
from services.engines.local.upkeep.survey import Quarantined


def location_of(entry: Quarantined) -> str | None:
    """The location of the blob; None if neither its note nor its state has it."""
    if entry.note is not None and entry.note.location is not None:
        return entry.note.location
    return entry.record.location if entry.record is not None else None


def bad_chunks(entry: Quarantined) -> list[int] | None:
    """Which MiB of the data fail their checksum; None if that cannot be decided."""
    record = entry.record
    if record is None or record.state is not State.COMPLETE or record.is_original:
        return None
    try:
        fd = _open_data(entry)
    except (OSError, Damaged):
        return None
    bad = []
    try:
        for chunk in range(checksum.chunk_count(record.size)):
            want = min(checksum.CHUNK_BYTES, record.size - chunk * checksum.CHUNK_BYTES)
            try:
                data = os.pread(fd, want, chunk * checksum.CHUNK_BYTES)
            except OSError as err:
                if err.errno not in DAMAGE_ERRNOS:
                    raise
                data = b""
            if len(data) != want or checksum.crc(data) != checksum.unpack_crc(record.crcs, chunk):
                bad.append(chunk)
    finally:
        os.close(fd)
    return bad


def damage(entry: Quarantined) -> str | None:
    """What is wrong with it now; None if every checksum is right."""
    record = entry.record
    if record is None:
        return "its state cannot be read"
    if record.state is not State.COMPLETE or record.is_original:
        return "its state does not say that it was complete, with checksums"
    try:
        for _ in chunks(entry):
            pass
    except (OSError, Damaged) as err:
        return str(err)
    return None


def chunks(entry: Quarantined) -> Iterator[bytes]:
    """Its bytes, compared with every checksum as they are read. Raises Damaged, OSError."""
    record = entry.record
    if record is None:
        raise Damaged("its state cannot be read")
    fd = _open_data(entry)
    try:
        if (length := os.fstat(fd).st_size) != record.size:
            raise Damaged(f"data.raw has {length} bytes instead of {record.size}")
        yield from verified(lambda n: os.read(fd, n), record)
    finally:
        os.close(fd)


def _open_data(entry: Quarantined) -> int:
    return open_ours(f"{entry.path}/{layout.DATA_NAME}")
