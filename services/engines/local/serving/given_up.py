"""Ends abandoned uploads on disk: a staged one becomes Failure, and its id is free again after the gc.

The disk may refuse even that, if no descriptor is left, or it does not answer. Then it is tried again until
it succeeds; else the upload would hold its id and its room until the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Protocol

from common import durable
from common.errors import NO_SPACE_ERRNOS, BlobkeepError, SyncFailed
from common.states import MSG_ABORTED
from services.engines.local.disk import blob_folder
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.record import BlobRecord

log = logging.getLogger(__name__)

_TRY_AGAIN_S = 1.0
_Step = Callable[[], BlobRecord | None]


class GivenUpOwner(Protocol):
    """What is needed of the store."""

    data_dir: Layout
    threads: Executor

    def told(self, record: BlobRecord, since: int) -> None: ...

    def stop_for(self, err: SyncFailed) -> None: ...


class GivenUp:
    """The uploads that were given up and are not ended on disk yet."""

    def __init__(self, owner: GivenUpOwner) -> None:
        self._owner = owner
        # By id; only success takes one out. Threads add, the loop takes out.
        self._left: dict[int, _Step] = {}

    async def end(self, pending: BlobRecord, reason: str, fd: int, *, is_unnamed: bool) -> None:
        """On the loop: end a staged upload, now or as soon as the disk allows. `fd`, of its data.raw, or -1,
        is always closed. `is_unnamed`: there is no state file yet."""
        data_dir = self._owner.data_dir
        step = partial(_remove_unnamed if is_unnamed else _fail, data_dir, pending, reason)

        def first() -> BlobRecord | None:
            if fd >= 0:
                os.close(fd)
            return step()

        await self._try(pending.id, first, step)

    def discard(self, blob_id: int) -> None:
        """In a thread: remove a folder in which nothing was acknowledged, now or later. Raises SyncFailed."""
        data_dir = self._owner.data_dir
        inode = _inode(data_dir, blob_id)
        try:
            blob_folder.discard(data_dir, blob_id)
        except OSError as err:
            self._keep(blob_id, partial(_discard_the_same, data_dir, blob_id, inode), err)

    async def try_again(self) -> None:
        """For ever: what is left, every second."""
        while True:
            await asyncio.sleep(_TRY_AGAIN_S)
            for blob_id, step in list(self._left.items()):
                await self._try(blob_id, step, step)

    async def _try(self, blob_id: int, step: _Step, again: _Step) -> None:
        try:
            failure = await asyncio.get_running_loop().run_in_executor(self._owner.threads, step)
        except SyncFailed as err:
            self._owner.stop_for(err)
        except BlobkeepError as err:  # it cannot be judged
            log.error("blob %d: its folder stays as it is until the next start: %s", blob_id, err)
        except OSError as err:
            self._keep(blob_id, again, err)
            return
        else:
            if failure is not None:
                self._owner.told(failure, len(failure.events) - 1)
        self._left.pop(blob_id, None)

    def _keep(self, blob_id: int, step: _Step, err: OSError) -> None:
        if blob_id not in self._left:
            log.warning(
                "blob %d was given up and cannot be removed yet, which is tried again: %s", blob_id, err
            )
        self._left[blob_id] = step


# --- in threads. After an OSError the folder is there yet, so that nobody else has its id ---


def _fail(data_dir: Layout, pending: BlobRecord, reason: str) -> BlobRecord | None:
    """Mark it Failure; the new record, None if there is no record of ours. The rename is not synced, since a
    restart treats Pending like Failure. Raises OSError, CorruptRecord, SyncFailed."""
    try:
        found = blob_folder.read_record(data_dir, pending.id)
    except FileNotFoundError:
        return None  # somebody has removed it
    if (found.state, found.seq) != (pending.state, pending.seq):
        return None  # the committer undid it already
    failure = blob_folder.failed(pending, f"{MSG_ABORTED}: {_one_line(reason)}", time.time_ns())
    _write_failure(data_dir, failure)
    blob_folder.hint(data_dir, [pending.id])
    return failure


def _remove_unnamed(data_dir: Layout, pending: BlobRecord, reason: str) -> None:
    folder = data_dir.folder(pending.id)
    if os.path.lexists(folder) and not os.path.lexists(data_dir.state(pending.id)):  # else the committer did
        blob_folder.discard(data_dir, pending.id)


def _discard_the_same(data_dir: Layout, blob_id: int, inode: int) -> None:
    if inode and _inode(data_dir, blob_id) == inode:  # else somebody has removed it
        blob_folder.discard(data_dir, blob_id)


def _inode(data_dir: Layout, blob_id: int) -> int:
    """The inode of its folder; 0 if there is none."""
    try:
        return os.stat(data_dir.folder(blob_id), follow_symlinks=False).st_ino
    except FileNotFoundError:
        return 0


def _write_failure(data_dir: Layout, failure: BlobRecord) -> None:
    """Write the Failure state, on a full disk in the room of its own data: the reserve is for deletes."""
    try:
        blob_folder.write_failure(data_dir, failure)  # synced: half a state would look like damage
    except OSError as err:
        if err.errno not in NO_SPACE_ERRNOS:
            raise
        with contextlib.suppress(FileNotFoundError):  # nothing of it was acknowledged
            durable.remove_file(data_dir.data(failure.id))
        blob_folder.write_failure(data_dir, failure)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
