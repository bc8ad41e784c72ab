"""The check that every test ends with: a data directory keeps the design's rules.

First what must hold at any moment of rest, whoever died before; then recovery and a gc pass, after which the
directory holds the live blobs and nothing else.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from common import blobdir, checksum, directory, layout, settle
from common.blob import Blob
from common.directory import Format
from common.errors import CorruptRecord
from common.layout import Layout
from common.lock import StateLock
from common.record import BlobRecord
from common.states import State
from common.tidy import tidy
from services.gc import Collector

_BLOB_FILES = {layout.STATE_NAME, layout.DATA_NAME}


@dataclass
class DataDirectory:
    """A test's data directory. `rotten`: the test damages data on purpose, so its content is not checked."""

    path: Path
    rotten: bool = False

    @property
    def root(self) -> str:
        return str(self.path)

    def check(self) -> None:
        """Fail the test where a rule is broken. Nobody else may use the directory; settles it."""
        if self.path.is_dir():
            broken = broken_rules(self.root, rotten=self.rotten)
            assert not broken, "\n".join(broken)


def layout_of(root: str) -> Layout:
    """The layout of a directory that is there, whatever its width."""
    try:
        found = msgspec.json.decode(Path(root, layout.FORMAT_NAME).read_bytes(), type=Format)
    except FileNotFoundError:
        return Layout(os.path.abspath(root), 16)
    return Layout(os.path.abspath(root), found.id_bits)


def broken_rules(root: str, *, rotten: bool = False) -> list[str]:
    """What is wrong in the data directory `root`, a sentence each; settles it and collects its garbage."""
    where = layout_of(root)
    with StateLock(root, "test") as lock:
        lock.acquire(10.0)
        where = directory.open_directory(root, where.id_bits, owner=True)
        first = settle.settle(where)
        again = settle.settle(where)
        broken = [f"recovery is not idempotent: first {first}, then {again}"] if again.changed else []
        tidy(where, (blob.id for blob in again.live.values()))
        gc = Collector(where, 5.0, slice_folders=1 << 32)
        gc.run_once()
        gc.close()
        live = {blob.id: blob for blob in again.live.values()}
        broken += _modes(where)
        for blob_id in directory.ids_in(where):
            if blob_id not in live:
                broken.append(f"folder {blob_id} is there after recovery and a gc pass, but no live blob")
            else:
                broken += _blob(where, live[blob_id], rotten)
        numbers = Counter(blob.seq for blob in live.values())
        broken += [
            f"sequence number {n} was given {times} times" for n, times in numbers.items() if times > 1
        ]
        gone = where.ours(layout.GONE_NAME)
        if os.path.isdir(gone) and os.listdir(gone):
            broken.append(f"the gc left {os.listdir(gone)} in {gone}")
        return broken


def live_blobs(root: str) -> dict[str, bytes]:
    """Location and bytes of every complete blob on disk, without changing anything; newest number wins."""
    where = layout_of(root)
    newest: dict[str, BlobRecord] = {}
    for blob_id in directory.ids_in(where):
        try:
            found = blobdir.read_record(where, blob_id)
        except (FileNotFoundError, CorruptRecord):
            continue
        rival = newest.get(found.location)
        if found.state is State.COMPLETE and (rival is None or found.seq > rival.seq):
            newest[found.location] = found
    return {at: Path(where.data(blob.id)).read_bytes() for at, blob in newest.items()}


def _blob(where: Layout, blob: Blob, rotten: bool) -> list[str]:
    folder = where.folder(blob.id)
    names = set(os.listdir(folder))
    broken = [f"{folder} holds {sorted(names - _BLOB_FILES)}"] if names > _BLOB_FILES else []
    if not rotten:
        data = Path(where.data(blob.id)).read_bytes()
        if (blob.sha256, blob.crcs) != checksum.sums_of(data) or blob.size != len(data):
            broken.append(f"the data of blob {blob.id} ({blob.location!r}) is not what its state says")
    return broken


def _modes(where: Layout) -> list[str]:
    """The files in folders of ours (0700; the original server's are as it made them) are 0600."""
    broken = []
    for blob_id in directory.ids_in(where):
        folder = where.folder(blob_id)
        if stat.S_IMODE(os.lstat(folder).st_mode) != 0o700:
            continue
        for name in os.listdir(folder):
            mode = os.lstat(f"{folder}/{name}").st_mode
            if stat.S_ISREG(mode) and stat.S_IMODE(mode) != 0o600:
                broken.append(f"{folder}/{name} has mode {stat.S_IMODE(mode):o}")
    return broken
