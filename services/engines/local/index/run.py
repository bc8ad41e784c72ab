"""Reads one run of the index. Every byte is compared with its checksum before it is used."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from common.ours import open_ours
from services.engines.local.disk.blob import Blob
from services.engines.local.index.changes import Span
from services.engines.local.index.format import (
    ENTRY,
    FRAME,
    PAGE_BYTES,
    TAIL,
    TAIL_MAGIC,
    Block,
    Fence,
    Folders,
    IndexDamaged,
    Rows,
    RunInfo,
    checksum,
    decode_blob,
    decode_block,
    decode_fence,
    decode_folders,
    decode_footer,
    decode_rows,
    page_of,
)

T = TypeVar("T")

_READ_BYTES = 4 << 10  # holds most blocks, so that one read does
_AHEAD_BYTES = 256 << 10  # what is fetched at once from a disk
_SPAN_BYTES = 16 << 10  # what is read at once for a page: some ten blocks
_KEPT_FOLDERS_BYTES = 256 << 10  # folder blocks of the last pages: four, if the names of folders are short
_MARK_BYTES = 72  # that one takes beside its characters
_KEPT_ROWS = 128  # blocks of the last pages: some 6 KB each. A page of 1,000 names has 63.
_KEPT_TABLE_PAGES = 512  # a table of up to 1 MiB, of 18,000 blobs, stays in memory


class NotCached(Exception):
    """The answer needs the disk, and the caller may not wait: `fetch` in a thread, then ask again.

    `reached`: of a search through many locations, where to go on. What is before was given, or is not there.
    """

    def __init__(self, fd: int, owner: object, at: int) -> None:
        super().__init__()
        self.reached = ""
        self._fd, self._owner, self._at = fd, owner, at  # the owner closes the descriptor when it is gone

    def fetch(self) -> None:
        """Read these bytes into the page cache. Errors are ignored: the caller meets them again."""
        try:
            os.pread(self._fd, _AHEAD_BYTES, self._at)
        except OSError:
            return


class Paused(NotCached):
    """Much was passed over and nothing found: others have their turn, then the search goes on."""

    def __init__(self) -> None:
        super().__init__(-1, None, 0)

    def fetch(self) -> None:
        """Nothing needs the disk."""


class Run:
    """One open run. Raises IndexDamaged for anything that is damaged or unreadable; never OSError.

    `waits`: False raises NotCached instead of waiting for the disk.
    """

    def __init__(self, path: str, info: RunInfo) -> None:
        self.info = info
        self._fd = -1
        self._nonce = info.nonce
        self._block: tuple[int, Block] = (-1, Block([], []))  # the last ones that were read
        self._fence: tuple[int, Fence] = (-1, Fence([], []))
        self._rows: dict[int, Rows] = {}  # by place: those of the last pages
        self._ahead: tuple[int, bytes | memoryview] = (0, b"")  # a place, and the bytes from there on
        self._folders: dict[int, Folders] = {}  # by number: those of the last pages
        self._folders_bytes = 0  # what they take
        self._table: bytes | None = None
        try:
            self._fd = open_ours(path)
            size = os.fstat(self._fd).st_size
        except OSError as err:
            raise IndexDamaged(f"The index cannot be read: {path}: {err.strerror}.") from err
        if size != info.size_bytes:
            raise IndexDamaged(f"The index is damaged: {path} has {size} bytes.")
        at = size - TAIL.size
        magic, found, footer_at = TAIL.unpack(self._bytes(at, TAIL.size, TAIL.size, True))
        if magic != TAIL_MAGIC or found != checksum(footer_at.to_bytes(8, "little"), self._nonce, at):
            raise IndexDamaged(f"The index is damaged: {path} has no end.")
        footer = self._decoded(decode_footer, self._framed(footer_at, True), footer_at)
        self.salt, self.count = footer.salt, footer.count
        self._firsts, self._fences = footer.firsts, footer.fences
        self._folder_places, self.folder_firsts = footer.folders, footer.folder_firsts
        self.removes = footer.removes
        self._table_at, self._pages = footer.table_at, footer.pages
        if self._pages <= _KEPT_TABLE_PAGES:
            table = b"".join(self._page(number, True) for number in range(self._pages))
            self._table = table

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    # --- one location, one id ---

    def find(self, location: str, key: bytes, waits: bool) -> tuple[Blob | None] | None:
        """(its blob,); (None,) if it was deleted; None if the run does not have the location."""
        for at in self._places(key, waits):
            block = self._block_at(at, waits)
            number = bisect_left(block.locations, location)
            if number < len(block.locations) and block.locations[number] == location:
                return (decode_blob(block.blobs[number]),)
        return None

    def with_id(self, blob_id: int, key: bytes, waits: bool) -> list[Blob]:
        """Blobs with this id, at any location."""
        found = []
        for at in self._places(key, waits):
            for raw in self._block_at(at, waits).blobs:
                blob = decode_blob(raw)
                if blob is not None and blob.id == blob_id:
                    found.append(blob)
        return found

    def _places(self, key: bytes, waits: bool) -> list[int]:
        number = page_of(key, self._pages)
        if self._table is not None:
            page, start = self._table, number * PAGE_BYTES
        else:
            page, start = self._page(number, waits), 0
        begin, end = start + 4, start + PAGE_BYTES
        wanted = key[4:]
        at = page.find(wanted, begin, end)
        if at < 0:
            return []
        places = []
        while at >= 0:
            if (at - begin) % ENTRY.size == 0:
                place = ENTRY.unpack_from(page, at)[1]
                if place not in places:
                    places.append(place)
            at = page.find(wanted, at + 1, end)
        return places

    # --- many, in order ---

    def spans(self, location: str, waits: bool) -> Iterator[Span]:
        """All from `location` on, in order, a block at a time. The lists must not be modified."""
        first = max(0, bisect_right(self._firsts, location) - 1)
        is_first = True
        for number in range(first, len(self._fences)):
            fence = self._fence_at(self._fences[number], waits)
            begin = max(0, bisect_right(fence.firsts, location) - 1) if is_first else 0
            for place in range(begin, len(fence.blocks)):
                rows = self._rows_at(fence.blocks[place], waits)
                if is_first:
                    start = bisect_left(rows.locations, location)
                    yield rows.locations[start:], rows.blobs[start:]
                else:
                    yield rows.locations, rows.blobs
                is_first = False

    def folders_at(self, number: int, waits: bool) -> Folders:
        """A folder block by its number. Its lists must not be modified."""
        found = self._folders.get(number)
        if found is None:
            at = self._folder_places[number]
            payload = self._framed(at, waits)
            found = self._decoded(decode_folders, payload, at)
            if self._folders_bytes > _KEPT_FOLDERS_BYTES:
                self._folders, self._folders_bytes = {}, 0
            self._folders[number] = found
            self._folders_bytes += len(payload) + _MARK_BYTES * len(found.marks)
        return found

    def nets(self) -> Iterator[tuple[str, int]]:
        """The marks of all stretches, in order, and their nets. Waits for the disk."""
        for number in range(len(self._folder_places)):
            found = self.folders_at(number, True)
            yield from zip(found.marks, found.nets, strict=True)

    def _rows_at(self, at: int, waits: bool) -> Rows:
        rows = self._rows.get(at)
        if rows is None:
            try:  # without a call of `_decoded`, for which each page of a listing would pay
                rows = decode_rows(self._framed_ahead(at, waits))
            except msgspec.MsgspecError as err:
                raise self._damaged(at) from err
            if len(self._rows) >= _KEPT_ROWS:
                self._rows.clear()
            self._rows[at] = rows
        return rows

    def _block_at(self, at: int, waits: bool) -> Block:
        if self._block[0] != at:
            self._block = at, self._decoded(decode_block, self._framed(at, waits), at)
        return self._block[1]

    def _fence_at(self, at: int, waits: bool) -> Fence:
        if self._fence[0] != at:
            self._fence = at, self._decoded(decode_fence, self._framed(at, waits), at)
        return self._fence[1]

    # --- bytes ---

    def _decoded(self, decode: Callable[[bytes | memoryview], T], payload: bytes | memoryview, at: int) -> T:
        try:
            return decode(payload)
        except msgspec.MsgspecError as err:
            raise self._damaged(at) from err

    def _page(self, number: int, waits: bool) -> bytes:
        at = self._table_at + number * PAGE_BYTES
        page = bytes(self._bytes(at, PAGE_BYTES, PAGE_BYTES, waits))
        if checksum(memoryview(page)[4:], self._nonce, at) != int.from_bytes(page[:4], "little"):
            raise self._damaged(at)
        return page

    def _framed(self, at: int, waits: bool) -> bytes | memoryview:
        return self._checked(self._bytes(at, FRAME.size, _READ_BYTES, waits), at, waits)

    def _framed_ahead(self, at: int, waits: bool) -> bytes | memoryview:
        """As `_framed`, where the frames that follow will be asked for next."""
        begin, content = self._ahead
        rest = content[at - begin :] if at >= begin else b""
        if len(rest) < _READ_BYTES:
            rest = self._bytes(at, FRAME.size, _SPAN_BYTES, waits)
            self._ahead = (at, rest)
        return self._checked(rest, at, waits)

    def _checked(self, content: bytes | memoryview, at: int, waits: bool) -> bytes | memoryview:
        """The payload of the frame at `at`, which `content` begins with."""
        length, found = FRAME.unpack_from(content)
        end = FRAME.size + length
        if end > len(content):
            content = self._bytes(at, end, end, waits)
        payload = content[FRAME.size : end]
        if checksum(payload, self._nonce, at) != found:
            raise self._damaged(at)
        return payload

    def _bytes(self, at: int, least: int, most: int, waits: bool) -> bytes | memoryview:
        """The bytes from a place on: at least `least`, at most `most`."""
        if not 0 <= at <= self.info.size_bytes - least:
            raise self._damaged(at)
        found: bytes | memoryview
        try:
            if waits:
                found = os.pread(self._fd, most, at)
            else:
                buffer = bytearray(most)
                found = memoryview(buffer)[: os.preadv(self._fd, (buffer,), at, os.RWF_NOWAIT)]
        except BlockingIOError:
            found = b""
        except OSError as err:
            if waits:
                raise IndexDamaged(f"The index cannot be read: {self.info.name}: {err.strerror}.") from err
            return self._bytes(at, least, most, True)  # a file system that does not know the flag
        if len(found) < least:
            raise self._damaged(at) if waits else NotCached(self._fd, self, at)
        return found

    def _damaged(self, at: int) -> IndexDamaged:
        return IndexDamaged(f"The index is damaged: {self.info.name}, at byte {at}.")
