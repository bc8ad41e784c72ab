"""The uploads in parts at a start: those that are under way, and those that were completed just before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.engines.local.disk import multipart_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.multipart_folder import Placed
from services.engines.local.recovery.reconciled import LiveBlobs
from services.store import UPLOAD_ID, Multipart

log = logging.getLogger(__name__)


@dataclass
class Loaded:
    """What was found. `unended`: completed, but the disk refused to end them; only their blobs say so."""

    under_way: list[tuple[Multipart, Mapping[int, Placed]]] = field(default_factory=list)
    unended: list[Multipart] = field(default_factory=list)


def load(data_dir: Layout, live: LiveBlobs) -> Loaded:
    """Find them, and end those that were completed. One that cannot be ended keeps no server from a start.

    None in a read-only directory, where nobody can go on with them. Raises SyncFailed.
    """
    found = Loaded()
    if data_dir.read_only:
        return found
    for upload, parts in multipart_folder.load(data_dir):
        blob = live.get(upload.location)
        if blob is None or blob.metadata.get(UPLOAD_ID) != upload.id:
            found.under_way.append((upload, parts))
            continue
        try:
            multipart_folder.end(data_dir, upload.id)
        except OSError as err:
            log.error("upload %s could not be ended, which is tried again: %s", upload.id, err)
            found.unended.append(upload)
    return found
