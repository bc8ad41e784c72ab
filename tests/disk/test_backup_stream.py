"""A backup that is written blob by blob has no more blobs than ids."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common import checksum
from common.errors import StorageFailed
from services.engines.local.disk.blob import Blob
from services.engines.local.upkeep.backup_writer import BackupStream

SHA256, CRCS = checksum.sums_of(b"")


def a_blob(location: str) -> Blob:
    return Blob.make(
        location=location, id=0, seq=1, size=0, sha256=SHA256, crcs=CRCS, type="", encoding="", modified_ns=1
    )


def test_a_blob_for_which_no_id_is_left_ends_the_export(tmp_path: Path) -> None:
    """The folder of number 65,536 would be foreign to whoever reads the backup: the blob was not in it."""
    fd = os.open(tmp_path / "tar", os.O_WRONLY | os.O_CREAT)
    try:
        stream = BackupStream(fd, 16)
        stream.blobs = (1 << 16) - 1
        stream.begin(a_blob("last"), [], SHA256, CRCS)
        with pytest.raises(StorageFailed, match="export again"):
            stream.begin(a_blob("one more"), [], SHA256, CRCS)
        assert stream.blobs == 1 << 16
    finally:
        os.close(fd)
