"""Computes the checksums of a blob of the original server, which wrote none."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from common.errors import FOREIGN_ERRNOS, Damaged
from services.engines.local.disk import blob_folder
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord


def with_sums(
    data_dir: Layout, found: BlobRecord | Blob, go_on: Callable[[], bool] = lambda: True
) -> BlobRecord:
    """The record of an original's blob, with the checksums of its data as it is now.

    `go_on` is asked after each MiB; InterruptedError if it says no. Raises OSError; Damaged, CorruptRecord if
    its files have changed.
    """
    try:
        size, sha256, crcs = blob_folder.sums(data_dir, found.id, go_on)
    except OSError as err:
        if err.errno in FOREIGN_ERRNOS or isinstance(err, FileNotFoundError):
            raise Damaged(f"data.raw cannot be read: {err.strerror}") from err
        raise
    whole = blob_folder.read_record(data_dir, found.id)  # with its history
    return msgspec.structs.replace(whole, size=size, sha256=sha256, crcs=crcs)
