"""Blobs by id, whatever their state: read from the state files on disk. Runs in the store's threads."""

from __future__ import annotations

import contextlib
from collections.abc import Container

from common.errors import CorruptRecord, Damaged, NotFound, from_os_error
from common.states import WORD_OF_CODE
from services.engines.local.disk import blob_folder, directory
from services.engines.local.disk.layout import Layout
from services.engines.local.serving.views import description
from services.store import Description

_OK = WORD_OF_CODE[0]


def page(
    data_dir: Layout, live: Container[int], state: str | None, after: int, limit: int
) -> list[Description]:
    """See store.Store.list_by_id. `live`: the ids of blobs that are served.

    Costs one pass over names (see directory.ids_after) and the reading of the page's state files. With
    `state`, a live blob is OK and no other blob is: the rest are passed over unread.
    """
    found: list[Description] = []
    for blob_id in directory.ids_after(data_dir, after):
        if len(found) == limit:
            break
        if state is not None and (blob_id in live) != (state == _OK):
            continue
        with contextlib.suppress(NotFound, Damaged):  # collected meanwhile; recovery tells of damage
            one = describe(data_dir, blob_id)
            if state in (None, one.state):
                found.append(one)
    return found


def describe(data_dir: Layout, blob_id: int) -> Description:
    """See store.Store.describe."""
    try:
        return description(blob_folder.read_record(data_dir, blob_id))
    except FileNotFoundError as err:
        raise NotFound(f"No blob has id {blob_id}: it never had one, or was collected.") from err
    except CorruptRecord as err:
        raise Damaged(f"The state of blob {blob_id} is damaged on disk: see the log.") from err
    except OSError as err:
        raise from_os_error(err, "read the blob's state") from err
