"""The record of a blob that is to be retired or written again: from its own folder, or from memory."""

from __future__ import annotations

import errno
import os
import time

from common.errors import DISK_ERRNOS, Busy, CorruptRecord
from common.states import MSG_CREATED, MSG_WRITING, State
from services.engines.local.disk import blob_folder, record
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.blob_folder import RecordOfAnother
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord

_OF_ANOTHER = "What is in the folder of the old blob is another blob's. It is being settled: try again later."


def record_of(data_dir: Layout, old: Blob, now_ns: int) -> BlobRecord | None:
    """None: somebody removed the folder by hand. Raises OSError, and Busy if another blob is in the folder.

    That one may be acknowledged, and would be collected if it were marked as the end of `old`. The
    comparison behind a start, or the recovery worker, settles the folder.
    """
    try:
        found = blob_folder.read_record(data_dir, old.id)
    except FileNotFoundError:
        return from_memory(old, now_ns) if os.path.isdir(data_dir.folder(old.id)) else None
    except RecordOfAnother as err:
        raise Busy(_OF_ANOTHER) from err
    except (CorruptRecord, OSError) as err:
        if isinstance(err, OSError) and err.errno not in DISK_ERRNOS:
            raise
        return from_memory(old, now_ns)
    if found.location != old.location:
        raise Busy(_OF_ANOTHER)
    return found


def from_memory(blob: Blob, now_ns: int) -> BlobRecord:
    """The record of a blob whose state file is damaged or lost; its history begins again."""
    first = record.created(
        *(blob.id, blob.location, blob.seq, MSG_CREATED, blob.modified_ns),
        *(blob.type, blob.encoding, blob.metadata),
    )
    return first.advanced(State.PENDING, MSG_WRITING, now_ns).completed(
        blob.size, blob.sha256, blob.crcs, blob.modified_ns
    )


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
