"""The check that every test ends with: a data directory keeps the design's rules.

First the rules that hold whenever no process runs, also after a crash. Then recovery and a gc pass run, and
the directory must hold the live blobs and nothing else.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from common import checksum
from common.errors import CorruptRecord
from common.states import State
from services.engines.local.disk import blob_folder, directory, layout
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.directory import Format
from services.engines.local.disk.layout import Layout
from services.engines.local.disk.leftovers import remove_leftovers
from services.engines.local.disk.locks import StateLock
from services.engines.local.disk.record import BlobRecord
from services.engines.local.recovery import reconcile
from services.engines.local.upkeep.collector import Collector

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
        """Fail the test if a rule is broken. Runs recovery on the directory, so nobody else may use it."""
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
    """What is wrong in the data directory `root`, one sentence each. Runs recovery and the gc on it."""
    data_dir = layout_of(root)
    with StateLock(root, "test") as lock:
        lock.acquire(10.0)
        data_dir = directory.open_directory(root, data_dir.id_bits, owner=True)
        first = reconcile.reconcile(data_dir)
        again = reconcile.reconcile(data_dir)
        broken = [f"recovery is not idempotent: first {first}, then {again}"] if again.changed else []
        remove_leftovers(data_dir, (blob.id for blob in again.live.values()))
        gc = Collector(data_dir, 5.0, slice_folders=1 << 32)
        gc.run_once()
        gc.close()
        live = {blob.id: blob for blob in again.live.values()}
        broken += _modes(data_dir)
        for blob_id in directory.ids_in(data_dir):
            if blob_id not in live:
                broken.append(f"folder {blob_id} is there after recovery and a gc pass, but no live blob")
            else:
                broken += _blob(data_dir, live[blob_id], rotten)
        numbers = Counter(blob.seq for blob in live.values())
        broken += [
            f"sequence number {n} was given {times} times" for n, times in numbers.items() if times > 1
        ]
        gone = data_dir.ours(layout.GONE_NAME)
        if os.path.isdir(gone) and os.listdir(gone):
            broken.append(f"the gc left {os.listdir(gone)} in {gone}")
        return broken


def live_blobs(root: str) -> dict[str, bytes]:
    """Location and bytes of every complete blob on disk, without changing anything; newest number wins."""
    data_dir = layout_of(root)
    newest: dict[str, BlobRecord] = {}
    for blob_id in directory.ids_in(data_dir):
        try:
            found = blob_folder.read_record(data_dir, blob_id)
        except (FileNotFoundError, CorruptRecord):
            continue
        rival = newest.get(found.location)
        if found.state is State.COMPLETE and (rival is None or found.seq > rival.seq):
            newest[found.location] = found
    return {at: Path(data_dir.data(blob.id)).read_bytes() for at, blob in newest.items()}


def _blob(data_dir: Layout, blob: Blob, rotten: bool) -> list[str]:
    folder = data_dir.folder(blob.id)
    names = set(os.listdir(folder))
    broken = [f"{folder} holds {sorted(names - _BLOB_FILES)}"] if names > _BLOB_FILES else []
    if not rotten:
        data = Path(data_dir.data(blob.id)).read_bytes()
        if (blob.sha256, blob.crcs) != checksum.sums_of(data) or blob.size != len(data):
            broken.append(f"the data of blob {blob.id} ({blob.location!r}) is not what its state says")
    return broken


def _modes(data_dir: Layout) -> list[str]:
    """The files in folders of ours (0700; the original server's are as it made them) are 0600."""
    broken = []
    for blob_id in directory.ids_in(data_dir):
        folder = data_dir.folder(blob_id)
        if stat.S_IMODE(os.lstat(folder).st_mode) != 0o700:
            continue
        for name in os.listdir(folder):
            mode = os.lstat(f"{folder}/{name}").st_mode
            if stat.S_ISREG(mode) and stat.S_IMODE(mode) != 0o600:
                broken.append(f"{folder}/{name} has mode {stat.S_IMODE(mode):o}")
    return broken
