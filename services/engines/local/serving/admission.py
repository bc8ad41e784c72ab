"""Refuses an upload: limits of its size and of their number, no room on the disk, no id left."""

from __future__ import annotations

from common.config import Config
from common.errors import Busy, TooLarge
from services.engines.local.disk.place import Place
from services.engines.local.serving.free_space import FreeSpace
from services.engines.local.serving.ids import IdAllocator
from services.engines.local.serving.index import Index
from services.store import Condition


class Admission:
    """Used only from the event loop."""

    def __init__(
        self, config: Config, index: Index, place: Place, space: FreeSpace, ids: IdAllocator
    ) -> None:
        self._max_blob_bytes = config.max_blob_size_bytes
        self._max_uploads = config.max_uploads
        self._index = index
        self._place = place
        self._space = space
        self._ids = ids

    def admit(
        self,
        location: str,
        condition: Condition,
        size: int | None,
        under_way: int = 0,
        room_bytes: int = 0,
    ) -> None:
        """Raise the reason to refuse an upload, before a byte of it is taken.

        `under_way`: the number of uploads of its kind: 0 for one that waits for no client. Uploads whose body
        has come are counted separately. `room_bytes`: 0 for one whose bytes are on the disk.
        """
        self._place.check()
        self._index.must_be_known(location)
        condition(self._index.seen(location), location in self._index.damaged)
        self.check_limits(size, under_way)
        self.take_room(room_bytes)

    def check_limits(self, size: int | None, under_way: int) -> None:
        """Raise TooLarge, or Busy if too many are `under_way`."""
        if size is not None and self._max_blob_bytes and size > self._max_blob_bytes:
            raise TooLarge(f"The body is over the limit of {self._max_blob_bytes} bytes (max_blob_size).")
        if under_way >= self._max_uploads:
            raise Busy(f"{self._max_uploads} uploads are under way: try again in a moment.")

    def take_room(self, room_bytes: int) -> None:
        """Count an upload of so many bytes in. Raises NoSpace, NoIdLeft; StorageFailed: the disk is gone."""
        self._space.check(room_bytes)
        self._ids.check()
