"""A blob by its id, live or kept: its state and its data, which belong together."""

from __future__ import annotations

import errno
import os

from common import durable
from common.errors import CorruptRecord
from services.engines.local.disk import blob_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord


class OpenBlob:
    """`record` and the descriptor of data.raw of one and the same blob. For a `with` statement."""

    __slots__ = ("fd", "record")

    def __init__(self, record: BlobRecord, fd: int) -> None:
        self.record = record
        self.fd = fd

    def take_fd(self) -> int:
        """The descriptor, which is the caller's from now on."""
        fd, self.fd = self.fd, -1
        return fd

    def __enter__(self) -> OpenBlob:
        return self

    def __exit__(self, *_: object) -> None:
        fd = self.take_fd()
        if fd >= 0:
            os.close(fd)


def open_blob(data_dir: Layout, blob_id: int) -> OpenBlob:
    """Open the blob, whatever its state. Raises FileNotFoundError, CorruptRecord, other OSError.

    The gc may remove it meanwhile, and its id may be used again. So the folder is held open, and must still
    have its name in the end.
    """
    folder = data_dir.folder(blob_id)
    folder_fd = durable.open_folder(folder)
    try:
        record = blob_folder.read_record(data_dir, blob_id)
        fd = blob_folder.open_data(data_dir, blob_id)
        try:
            if not os.path.samestat(os.fstat(folder_fd), os.stat(folder)):
                raise FileNotFoundError(errno.ENOENT, "collected meanwhile", folder)
            if os.fstat(fd).st_size != record.size and record.is_whole:
                raise CorruptRecord(f"data.raw has not the {record.size} bytes that its state says.")
        except BaseException:
            os.close(fd)
            raise
        return OpenBlob(record, fd)
    finally:
        os.close(folder_fd)
