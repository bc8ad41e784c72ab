"""The store's regular checks while the server runs: the directory, the journal's files and the reserve.

A disk that hangs may block each look, so they have a thread of their own. It wakes the event loop only where
it found something. If the loop began each look and waited for its end, that would cost twenty times the look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import Protocol

from common.errors import BlobkeepError, Unavailable
from services.engines.local.disk import reserve
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.place import Place
from services.engines.local.serving.free_space import FreeSpace
from services.engines.local.serving.garbage import Garbage
from services.engines.local.serving.group_commit import GroupCommit

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_RESERVE_ONE_IN = 2  # looks


class CheckedStore(Protocol):
    """What is needed of the store."""

    data_dir: Layout
    place: Place
    space: FreeSpace
    garbage: Garbage
    committer: GroupCommit

    @property
    def is_stopping(self) -> bool: ...

    def stop(self, err: BlobkeepError, text: str, *args: object) -> None: ...


class RegularChecks:
    """Of `store`, from when it is made, on the event loop, until `end` or until the server stops."""

    def __init__(self, store: CheckedStore) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._told = ""  # what was logged of the directory
        self._mending: asyncio.Task[None] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checks", daemon=True)
        self._thread.start()

    async def end(self) -> None:
        """Look no more. Returns when nothing of it goes on."""
        self._ended.set()
        await asyncio.to_thread(self._thread.join)
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.gather(self._mending, return_exceptions=True)

    # In the thread.

    def _run(self) -> None:
        looks = 0
        while not self._ended.wait(_LOOK_EVERY_S) and not self._store.is_stopping:
            looks += 1
            self._look(with_reserve=looks % _RESERVE_ONE_IN == 0)

    def _look(self, *, with_reserve: bool) -> None:
        """Takes 10 µs, and 20 with the reserve."""
        store, tell = self._store, self._loop.call_soon_threadsafe
        fault = store.place.look()
        if fault or store.place.was_lost:
            tell(self._tell_place, fault)
        with contextlib.suppress(OSError):  # a write will tell what is wrong
            if store.committer.lacks_journal_file():
                tell(self._mend_journal)
        if with_reserve and not fault:
            self._keep_reserve()

    def _keep_reserve(self) -> None:
        """Make the used-up files of the reserve again, and tell the gc how much room was missing, so that it
        may remove kept blobs."""
        store = self._store
        try:
            reserve.keep(store.data_dir)
            if store.garbage.kept and (wanted_bytes := store.space.take_wanted()):
                reserve.want_room(store.data_dir, wanted_bytes)
        except OSError as err:
            log.debug("the reserve could not be made again: %s", err)  # a write will tell what is wrong

    # On the loop.

    def _tell_place(self, fault: str) -> None:
        """The directory was unmounted, replaced, or made read-only: log it, once.

        Writes are then refused, and no blob is called damaged. When it is back the server must stop: the last
        acknowledged writes are in the journal, and the next start puts them in place.
        """
        store = self._store
        if not fault:
            text = "The data directory can be used again: the server stops, to start from what is on it."
            store.stop(Unavailable(text), "%s", text)
        elif fault != self._told:
            self._told = fault
            log.critical("%s: %s", store.data_dir.root, fault)

    def _mend_journal(self) -> None:
        if self._mending is None or self._mending.done():  # it may take longer than until the next look
            self._mending = self._loop.create_task(_mend_journal(self._store.committer))


async def _mend_journal(committer: GroupCommit) -> None:
    """Make a file of the journal again that somebody has removed or moved.

    The next write would do it, too, but what is already acknowledged must not wait for a write.
    """
    try:
        await committer.keep_journal()
    except (OSError, BlobkeepError) as err:  # logged where it was raised; a write tells
        log.debug("the journal could not be made anew: %s", err)
