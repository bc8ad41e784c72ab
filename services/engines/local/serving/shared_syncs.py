"""Syncs of a folder that many threads want at the same time: one of them is for all that came before it."""

from __future__ import annotations

import threading

import msgspec

from common import durable
from common.errors import SyncFailed


class _Folder(msgspec.Struct):
    begun: int = 0  # syncs so far
    done: int = 0  # the last one that ended well
    is_running: bool = False
    failed: SyncFailed | None = None


class SharedSyncs:
    """Any thread may call it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._folders: dict[str, _Folder] = {}  # one, or with 32 bits those of the ids in use

    def next(self, path: str) -> int:
        """The number of the next sync of the folder. It makes durable what was done in there until now."""
        with self._changed:
            return self._folders.setdefault(path, _Folder()).begun + 1

    def sync(self, path: str, number: int = 0) -> None:
        """Make durable what was done in the folder before the call, or before `next` gave `number`: then
        another's sync since may have done so.

        Raises SyncFailed, also if another thread's sync of it failed: it is not tried again. Raises OSError
        if the folder cannot be opened.
        """
        with self._changed:
            folder = self._folders.setdefault(path, _Folder())
            wanted = number or folder.begun + 1  # one that begins from now on
            while folder.is_running and folder.done < wanted:
                self._changed.wait()
            if folder.failed is not None:
                raise folder.failed
            if folder.done >= wanted:
                return
            folder.is_running = True
            folder.begun += 1
            number = folder.begun
        try:
            durable.sync_folder(path)
        except SyncFailed as err:
            folder.failed = err
            raise
        else:
            folder.done = number
        finally:
            with self._changed:
                folder.is_running = False
                self._changed.notify_all()
