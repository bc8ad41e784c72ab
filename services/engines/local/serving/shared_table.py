"""The blobs that the server shares with reader processes: a table in memory that all of them map.

Only the server's event loop writes; readers only read, and there are no locks. Each slot begins with a word:
0, or a random number that no other entry ever had. So a removed entry cannot be taken for another one: a
reader remembers an entry with its word, and checks that the word is still there. The word is cleared before
an entry is overwritten, and written after it. The entry's digest covers its word, so a half-written entry is
never valid (docs/decisions/readers.md has the proof).

    0      the word of the rights (see `new_rights`), the key of the hash (16 bytes)
    4,096  buckets of 8 slots; a location is in the bucket that its hash names
    slot   word (8), tag (4), length of the entry (4), digest (16), the blob in msgpack
"""

from __future__ import annotations

import mmap
import os
import random
import secrets
import struct
from hashlib import blake2b

import msgspec

from common import durable
from services.engines.local.disk.blob import Blob

_PAGE_BYTES = 4096  # the head, and a bucket: so a look into one touches one page
_WAYS = 8
_SLOT_BYTES = _PAGE_BYTES // _WAYS
_KEY = slice(8, 24)
_HEAD = struct.Struct("=QII16s")  # of a slot
ENTRY_BYTES = _SLOT_BYTES - _HEAD.size
BUCKETS = 8192  # 65,536 entries: all blobs of a directory with 16 bits. 32 MiB at most, where all are used

TableEntry = tuple[int, int, Blob]
"""Where its word stands (in words), its word, and the blob."""

_decode = msgspec.msgpack.Decoder(Blob).decode
_encode = msgspec.msgpack.Encoder().encode


class SharedTable:
    """The server's side. On the event loop alone."""

    def __init__(self, buckets: int = BUCKETS) -> None:
        size_bytes = (1 + buckets) * _PAGE_BYTES
        self._fd = durable.shared_memory(size_bytes)
        self._memory = mmap.mmap(self._fd, size_bytes)
        self.words = memoryview(self._memory).cast("Q")
        self._memory[_KEY] = secrets.token_bytes(16)
        self._place = _Places(self._memory[_KEY], buckets)
        self._slot_of: dict[str, int] = {}
        self._shown: dict[int, str] = {}  # the locations, by slot
        self.new_rights()

    def for_readers(self) -> int:
        """A descriptor of it, for reading alone. Raises OSError."""
        return for_reading(self._fd)

    @property
    def rights(self) -> int:
        """Changes with what clients may do: see `new_rights`."""
        return self.words[0]

    def new_rights(self) -> None:
        """From now on what readers remember about rights is void."""
        self.words[0] = _new_word()

    def show(self, blob: Blob) -> bool:
        """Let readers answer for the blob that its location has now; False if it does not fit."""
        if blob.location in self._slot_of:
            return True  # this very one: `hide` was called when it became its location's
        entry = _encode(blob)
        if len(entry) > ENTRY_BYTES:
            return False
        bucket, tag = self._place.of(blob.location)
        slots = range(bucket * _WAYS, (bucket + 1) * _WAYS)
        slot = next((one for one in slots if one not in self._shown), None)
        if slot is None:
            slot = random.choice(slots)
            self.hide(self._shown[slot])
        word = _new_word()
        at = _PAGE_BYTES + slot * _SLOT_BYTES
        end = at + _HEAD.size + len(entry)
        self._memory[at + 8 : end] = _HEAD.pack(0, tag, len(entry), _digest(word, entry))[8:] + entry
        self.words[at // 8] = word
        self._slot_of[blob.location] = slot
        self._shown[slot] = blob.location
        return True

    def mark(self, location: str) -> tuple[int, int]:
        """Where the word of a location that is shown stands, and the word."""
        at = (_PAGE_BYTES + self._slot_of[location] * _SLOT_BYTES) // 8
        return at, self.words[at]

    def hide(self, location: str) -> None:
        """From now on no reader answers for `location`. Costs 0.1 µs if it is not in the table."""
        slot = self._slot_of.pop(location, None)
        if slot is not None:
            self.words[(_PAGE_BYTES + slot * _SLOT_BYTES) // 8] = 0
            del self._shown[slot]


def for_reading(fd: int) -> int:
    """Another descriptor of an open file, only for reading. Raises OSError."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


class TableView:
    """A reader's side: `fd` is what `for_readers` gave, and stays the caller's. Raises OSError."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        self.words = memoryview(self._memory).cast("Q")
        self._place = _Places(self._memory[_KEY], len(self._memory) // _PAGE_BYTES - 1)

    @property
    def rights(self) -> int:
        """See SharedTable."""
        return self.words[0]

    def find(self, location: str) -> TableEntry | None:
        """The entry of `location`, if there is one. It holds while `words` has its word in its place."""
        bucket, tag = self._place.of(location)
        first = _PAGE_BYTES + bucket * _PAGE_BYTES
        for at in range(first, first + _PAGE_BYTES, _SLOT_BYTES):
            word = self.words[at // 8]
            if not word:
                continue
            _, found_tag, length, digest = _HEAD.unpack_from(self._memory, at)
            if found_tag != tag or length > ENTRY_BYTES:
                continue
            entry = self._memory[at + _HEAD.size : at + _HEAD.size + length]
            if _digest(word, entry) != digest:
                continue  # it is being written
            blob = _decode(entry)
            if blob.location == location:
                return at // 8, word, blob
        return None


class _Places:
    """The places of entries. No client knows the key, so none can choose names that collide in one bucket."""

    def __init__(self, key: bytes, buckets: int) -> None:
        self._key = key
        self._buckets = buckets

    def of(self, location: str) -> tuple[int, int]:
        """The bucket of a location, and its tag in there."""
        hashed = blake2b(location.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).digest()
        number = int.from_bytes(hashed, "little")
        return (number >> 32) % self._buckets, number & 0xFFFFFFFF


def _digest(word: int, entry: bytes) -> bytes:
    return blake2b(entry, digest_size=16, key=word.to_bytes(8, "little")).digest()


def _new_word() -> int:
    """Never 0. Of 64 random bits: no two entries have the same, nor half of one and half of another."""
    return secrets.randbits(64) or 1
