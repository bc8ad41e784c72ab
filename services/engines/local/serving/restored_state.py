"""Writes the state file of a live blob again from memory, where the one on disk is damaged or lost."""

from __future__ import annotations

import errno
import time

from common.errors import DISK_ERRNOS, CorruptRecord
from services.engines.local.disk import blob_folder
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.blob_folder import RecordOfAnother
from services.engines.local.disk.layout import Layout
from services.engines.local.serving.old_record import from_memory


def restore_state(data_dir: Layout, blob: Blob) -> bool:
    """Write the damaged or lost state of a live blob again, durably. False if the state is right.

    Raises RecordOfAnother: somebody exchanged folders, and the data beside that state is the other's, too.
    """
    try:
        blob_folder.read_record(data_dir, blob.id)
    except RecordOfAnother:
        raise
    except (CorruptRecord, OSError) as err:
        if isinstance(err, OSError) and err.errno not in {errno.ENOENT, *DISK_ERRNOS}:
            raise
        blob_folder.write_record(data_dir, from_memory(blob, time.time_ns()))
        return True
    return False
