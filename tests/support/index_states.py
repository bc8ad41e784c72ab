"""Puts the index on disk into each state in which a start may find it: the ladders run with every one.

A test names the state in the parameter `sync` of its stores: "index torn" is the option `index`, and before
each start of such a store the index is torn. "index" alone leaves it as the last process did.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from services.engines.local.disk import layout
from services.engines.local.disk.blob import Blob
from services.engines.local.disk.layout import Layout
from services.engines.local.index.format import IndexDamaged
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.manifest import IndexFiles, Manifest, Stamp
from services.engines.local.index.writer import IndexWriter
from tests.support.campaign import chooser, tally

State = Callable[[Layout], None]

_KEPT = (
    "before"  # a folder beside the index's files: a copy of what they were, so that it is copied with them
)
_OF_ANOTHER = Stamp(2, 2, 2)
_random = chooser("states of the index")


def old(data_dir: Layout) -> None:
    """It is as it was after the start before, see `keep`."""
    home = Path(data_dir.ours(layout.INDEX_NAME))
    if (home / _KEPT).is_dir():
        for path in _files(home):
            path.unlink()
        for path in _files(home / _KEPT):
            shutil.copy(path, home)


def torn(data_dir: Layout) -> None:
    """Each file is cut in the middle."""
    for path in _files(Path(data_dir.ours(layout.INDEX_NAME))):
        os.truncate(path, path.stat().st_size // 2)


def missing(data_dir: Layout) -> None:
    """Somebody removed it."""
    shutil.rmtree(data_dir.ours(layout.INDEX_NAME), ignore_errors=True)


def turned(data_dir: Layout) -> None:
    """A bit is turned in each file."""
    for path in _files(Path(data_dir.ours(layout.INDEX_NAME))):
        if not (content := bytearray(path.read_bytes())):
            continue
        content[_random.randrange(len(content))] ^= 1 << _random.randrange(8)
        path.write_bytes(content)


def of_another(data_dir: Layout) -> None:
    """It is that of another directory, in which the same ids have other locations."""
    files = IndexFiles(data_dir)
    manifest = files.load()
    if manifest is None:
        return
    blobs: list[tuple[str, Blob | None]] = []
    ids = IdSet()
    try:
        for blob in _writer(files, data_dir, manifest.stamp, manifest).open().values():
            other = msgspec.structs.replace(blob, location=f"another/{blob.location}")
            blobs.append((other.location, other))
            ids.add(other.id)
    except IndexDamaged:
        blobs = []
    missing(data_dir)
    files.make_home()
    writer = _writer(files, data_dir, _OF_ANOTHER, None)
    size_bytes = sum(blob.size for _, blob in blobs if blob is not None)
    what = (blobs, len(blobs), None, ids.rows(), size_bytes, manifest.epoch, manifest.max_seq, manifest.rows)
    writer.seal(*what)


def _writer(files: IndexFiles, data_dir: Layout, stamp: Stamp, manifest: Manifest | None) -> IndexWriter:
    return IndexWriter(files, data_dir.id_bits, stamp, manifest, lambda: stamp)


STATES: dict[str, State] = {
    "old": old,
    "torn": torn,
    "missing": missing,
    "turned": turned,
    "of another": of_another,
}
# What the parameter `sync` of a store may be, for each state; "index" is the one that is right.
SYNCS = ("index", *(f"index {name}" for name in STATES))


def put_into(data_dir: Layout, sync: str) -> bool:
    """Put the index into the state that `sync` names. False if `sync` is not of a store with an index."""
    if not sync.startswith("index"):
        return False
    name = sync.removeprefix("index").strip()
    if name and os.path.isdir(data_dir.ours(layout.INDEX_NAME)):
        STATES[name](data_dir)
        tally(f"starts with an index that was {name}", 1)
    return True


def keep(data_dir: Layout, sync: str) -> None:
    """After a start, for `old`: keep a copy of the index."""
    home = Path(data_dir.ours(layout.INDEX_NAME))
    if sync == "index old" and home.is_dir():
        copies = _files(home)
        shutil.rmtree(home / _KEPT, ignore_errors=True)
        (home / _KEPT).mkdir()
        for path in copies:
            shutil.copy(path, home / _KEPT)


def _files(home: Path) -> list[Path]:
    return [path for path in home.iterdir() if path.is_file()]
