"""The disks that a power cut may leave at one moment: all of them if they are few, else a seeded choice.

There are three models of a file system, from the mildest to the worst:
- everything so far is there (as after a kill of the process);
- an ordered journal: operations on folders in order, up to a point at or after the last sync; of unsynced
  writes any part, or the length without the bytes;
- the bare minimum of POSIX: every operation on its own is lost or kept; of unsynced writes any sectors.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator

from tests.cuts.disk import Disk, Entries, File, Image, Write

SECTOR_BYTES = 512  # what a disk writes completely or not at all
_EXHAUSTIVE_UP_TO = 5  # operations and files on their way, which give 32 disks


def digest(image: Image) -> bytes:
    """Equal for equal images."""
    total = hashlib.blake2b(digest_size=16)
    for path, content in image.items():
        total.update(f"{path}\0{-1 if content is None else len(content)}\0".encode() + (content or b""))
    return total.digest()


def all_images(disk: Disk) -> Iterator[Image] | None:
    """Every disk that may be left, if each file is complete or as last synced. None if there are too many."""
    changes, files = disk.on_their_way()
    count = len(changes) + len(files)
    if count > _EXHAUSTIVE_UP_TO:
        return None
    return (_chosen(disk, changes, files, bits) for bits in range(1 << count))


def _chosen(disk: Disk, changes: list[Entries], files: list[File], bits: int) -> Image:
    kept = {change.no for n, change in enumerate(changes) if bits >> n & 1}
    whole = {id(file) for n, file in enumerate(files, len(changes)) if bits >> n & 1}
    return disk.image(
        lambda change: change.no in kept,
        lambda file: bytes(file.now) if id(file) in whole else file.durable,
    )


def one_image(disk: Disk, rng: random.Random) -> tuple[str, Image]:
    """(name of the model, one disk that may be left), by chance, extremes more often."""
    kind = rng.choices(("everything", "ordered", "bare"), (1, 3, 6))[0]
    if kind == "everything":
        return kind, disk.whole()
    changes, _ = disk.on_their_way()
    if kind == "ordered":
        until_no = rng.randint(disk.synced_no, disk.no)
        contents = _contents(rng, rng.choice((_missing, _zeroed, _cut, _whole)))
        return kind, disk.image(lambda change: change.no <= until_no, contents)
    share = rng.choice((0.0, 0.05, 0.5, 0.5, 0.95, 1.0))
    kept = {change.no for change in changes if rng.random() < share}
    chance = rng.random()
    if changes and chance < 0.3:  # one is lost and all others are kept, or the reverse
        odd = rng.choice(changes).no
        kept = rng.choice(({odd}, {change.no for change in changes} - {odd}))
    elif chance < 0.5:  # any choice among the last few only
        kept = {change.no for n, change in enumerate(changes, 5) if n < len(changes) or rng.random() < 0.5}
    how = rng.choice((None, _missing, _whole, _sectors))
    return kind, disk.image(lambda change: change.no in kept, _contents(rng, how))


_How = Callable[[File, random.Random], bytes]


def _contents(rng: random.Random, how: _How | None) -> Callable[[File], bytes]:
    if how is None:  # another choice for each file
        return lambda file: rng.choice((_missing, _zeroed, _cut, _whole, _sectors))(file, rng)
    return lambda file: how(file, rng)


def _missing(file: File, rng: random.Random) -> bytes:
    return file.durable


def _whole(file: File, rng: random.Random) -> bytes:
    return bytes(file.now)


def _zeroed(file: File, rng: random.Random) -> bytes:
    """The new length, but none of the new bytes."""
    return file.durable[: len(file.now)].ljust(len(file.now), b"\0")


def _cut(file: File, rng: random.Random) -> bytes:
    """The writes up to some byte of one of them, as a file that only grows has them."""
    content = bytearray(file.durable)
    done = rng.randrange(len(file.pending))
    for write in file.pending[:done]:
        write.do(content)
    last = file.pending[done]
    if last.kind == "write":
        last = Write(last.no, "write", last.at, last.data[: rng.randint(0, len(last.data))])
    last.do(content)
    return bytes(content)


def _sectors(file: File, rng: random.Random) -> bytes:
    """Any sectors of each write, in any order."""
    content = bytearray(file.durable)
    share = rng.random()
    for write in file.pending:
        if write.kind != "write":
            if rng.random() < share:
                write.do(content)
            continue
        at = write.at
        while at < write.at + len(write.data):
            end = min((at // SECTOR_BYTES + 1) * SECTOR_BYTES, write.at + len(write.data))
            if rng.random() < share:
                Write(write.no, "write", at, write.data[at - write.at : end - write.at]).do(content)
            at = end
    return bytes(content)
