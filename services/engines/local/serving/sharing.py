"""What a server shares with its reader processes, and how they use it.

The server shows a blob when a reader asks for its location, and hides it before anything of that location
changes (`Index.on_show`), so before a write is acknowledged. A reader answers from its own copy of the entry
while the entry's word is in the table, and while the epoch is that of the server (disk/readers_epoch.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import socket
from collections.abc import Sequence

from common.bounded import make_room
from common.config import Config
from common.ours import open_ours
from services.engine import Mark
from services.engines.local.disk import layout, readers_epoch
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.serving import own_socket
from services.engines.local.serving.cache import MAX_BYTES, HotCache, share_of
from services.engines.local.serving.expiry import Expiry
from services.engines.local.serving.index import Index
from services.engines.local.serving.limits import PrefixLimits
from services.engines.local.serving.shared_table import SharedTable, TableEntry, TableView, for_reading

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0  # whether `.readers` is still in its place
_MOST_KNOWN = 16_384  # entries that a reader has at hand: some 10 MiB


class LocalSharing:
    """See services.engine.Sharing. Made after recovery, with the state lock held. Raises OSError."""

    def __init__(self, data_dir: Layout, index: Index, limits: PrefixLimits, expiry: Expiry) -> None:
        self._data_dir = data_dir
        self._index = index
        self._limits = limits
        self._expiry = expiry
        self._table = SharedTable()
        self._words = self._table.words
        self.epoch, self._epoch_fd = readers_epoch.begin(data_dir.root)
        index.on_show = self._table.hide

    def listen(self) -> socket.socket:
        """See Sharing."""
        return own_socket.listen(self._data_dir.ours(layout.READERS_SOCKET_NAME))

    def descriptors(self) -> Sequence[int]:
        """See Sharing."""
        table_fd = self._table.for_readers()
        try:
            return table_fd, for_reading(self._epoch_fd)
        except OSError:
            os.close(table_fd)
            raise

    @property
    def rights(self) -> int:
        """See Sharing."""
        return self._table.rights

    def new_rights(self) -> None:
        """See Sharing."""
        self._table.new_rights()

    async def watch(self) -> None:
        """See Sharing: if `.readers` was replaced, the next holder of the lock could not end our epoch."""
        file = os.fstat(self._epoch_fd)
        while await asyncio.to_thread(readers_epoch.is_in_place, self._data_dir.root, file):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY_S)
        await asyncio.to_thread(readers_epoch.end_in, self._epoch_fd)
        log.error(
            "%s was removed or replaced while the server runs: reader processes hand everything over until "
            "the server is started again",
            layout.READERS_NAME,
        )

    async def show(self, location: str) -> bool:
        """See Sharing. Reads under a prefix with a limit are counted, so the server answers them itself."""
        await self._index.fetch(location)
        blob = self._index.peek(location)  # and shown in the same turn of the loop: it cannot change between
        return blob is not None and not self._limits.counts(location) and self._table.show(blob)

    def mark(self, location: str) -> Mark | None:
        """See Marks."""
        blob = self._index.recent.get(location)
        if blob is None or self._limits.counts(location) or self._expiry.at_s(blob) is not None:
            return None
        return (*self._table.mark(location), blob.size) if self._table.show(blob) else None

    def stands(self, at: int, word: int, rights: int) -> bool:
        """See Marks."""
        return self._words[at] == word and self._words[0] == rights


class LocalShared:
    """See services.engine.Shared: a reader's side. Raises OSError.

    The descriptors are closed; their memory stays mapped.
    """

    def __init__(self, data_dir: Layout, config: Config, epoch: int, descriptors: Sequence[int]) -> None:
        table_fd, epoch_fd = descriptors
        self._data_dir = data_dir
        self._epoch = epoch
        self._epoch_file = os.fstat(epoch_fd)
        try:
            self._table = TableView(table_fd)
            self._epochs = memoryview(mmap.mmap(epoch_fd, readers_epoch.SIZE_BYTES, prot=mmap.PROT_READ))
        finally:
            for fd in descriptors:
                os.close(fd)
        self._epochs = self._epochs.cast("Q")
        self._words = self._table.words
        self._known: dict[str, TableEntry] = {}
        self._expiry = Expiry(config.expire_s)
        self._cache = HotCache(data_dir, share_of(config.hot_bytes), self._expiry.at_s)

    @property
    def rights(self) -> int:
        """See Shared."""
        return self._table.rights

    def peek(self, location: str, *, body: bool = True) -> tuple[Blob, bytes | memoryview] | None:
        """See store.Store. The blob was its location's at a moment within the call.

        The entry is checked last, after the bytes are read: ids are used again (design rule 3), and if the
        location changed meanwhile the server must answer.
        """
        entry = self._known.get(location)
        if entry is None or self._words[entry[0]] != entry[1]:
            entry = self._look(location)
            if entry is None:
                return None
        at, word, blob = entry
        data = self._cache.bytes_of(blob) if body else (None if self._expiry.is_over(blob) else b"")
        if data is None or self._words[at] != word or self._epochs[0] != self._epoch:
            return None
        return blob, data

    def mark(self, location: str) -> Mark | None:
        """See Marks."""
        entry = self._known.get(location)
        if entry is None or self._words[entry[0]] != entry[1]:
            entry = self._look(location)
        if entry is None or self._expiry.at_s(entry[2]) is not None:
            return None
        return entry[0], entry[1], entry[2].size

    def stands(self, at: int, word: int, rights: int) -> bool:
        """See Marks. Looked at last, as in `peek`."""
        words = self._words
        return words[at] == word and words[0] == rights and self._epochs[0] == self._epoch

    def peek_alone(self, location: str, *, body: bool = True) -> tuple[Blob, bytes | memoryview] | None:
        """See Shared. Costs one more system call: a file that was replaced would not be set to 0."""
        found = self.peek(location, body=body)
        return found if readers_epoch.is_in_place(self._data_dir.root, self._epoch_file) else None

    async def load(self, location: str) -> None:
        """See Shared."""
        entry = self._look(location)
        if entry is not None and entry[2].size <= MAX_BYTES:
            await asyncio.to_thread(self._load, entry[2])

    def _load(self, blob: Blob) -> None:
        with contextlib.suppress(OSError):  # the server says what is wrong
            fd = open_ours(self._data_dir.data(blob.id))
            try:
                os.pread(fd, blob.size, 0)
            finally:
                os.close(fd)

    def _look(self, location: str) -> TableEntry | None:
        """What the table says of `location` now."""
        known = self._known
        known.pop(location, None)
        entry = self._table.find(location)
        if entry is not None:
            make_room(known, _MOST_KNOWN)
            known[location] = entry
        return entry
