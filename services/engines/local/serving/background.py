"""The store's regular checks while the server runs: the reserve, the journal's files and the directory."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from common.errors import BlobkeepError, Unavailable
from services.engines.local.disk import reserve
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.place import Place
from services.engines.local.serving.free_space import FreeSpace
from services.engines.local.serving.garbage import Garbage

log = logging.getLogger(__name__)

_LOOK_AT_PLACE_S = 0.5
_LOOK_AT_RESERVE_S = 1.0  # a look at the reserve costs 20 µs


class BackgroundOwner(Protocol):
    """What is needed of the store."""

    data_dir: Layout
    place: Place
    space: FreeSpace
    garbage: Garbage

    @property
    def is_stopping(self) -> bool: ...

    async def keep_journal(self) -> None: ...

    def stop(self, err: BlobkeepError, text: str, *args: object) -> None: ...


async def keep_reserve(store: BackgroundOwner) -> None:
    """For ever: make the used-up files of the reserve again, and tell the gc how much room was missing, so
    that it may remove kept blobs."""
    while True:
        await asyncio.sleep(_LOOK_AT_RESERVE_S)
        if store.place.fault:
            continue
        try:
            await asyncio.to_thread(reserve.keep, store.data_dir)
            if store.garbage.kept and (wanted_bytes := store.space.take_wanted()):
                await asyncio.to_thread(reserve.want_room, store.data_dir, wanted_bytes)
        except OSError as err:
            log.debug("the reserve could not be made again: %s", err)  # a write will tell what is wrong


async def keep_journal(store: BackgroundOwner) -> None:
    """For ever: make a file of the journal again that somebody has removed or moved.

    The next write would do it, too, but what is already acknowledged must not wait for a write.
    """
    while True:
        await asyncio.sleep(_LOOK_AT_PLACE_S)
        try:
            await store.keep_journal()
        except (OSError, BlobkeepError) as err:
            log.debug(
                "the journal could not be made anew: %s", err
            )  # logged where it was raised; a write tells


async def watch_place(store: BackgroundOwner) -> None:
    """Until the server stops: notice within a second where the directory was unmounted, replaced, or made
    read-only.

    Writes are then refused, and no blob is called damaged. When it is back the server must stop: the last
    acknowledged writes are in the journal, and the next start puts them in place.
    """
    told = ""
    while not store.is_stopping:
        fault = await asyncio.to_thread(store.place.look)
        if fault and fault != told:
            log.critical("%s: %s", store.data_dir.root, fault)
            told = fault
        elif not fault and store.place.was_lost:
            text = "The data directory can be used again: the server stops, to start from what is on it."
            store.stop(Unavailable(text), "%s", text)
        await asyncio.sleep(_LOOK_AT_PLACE_S)
