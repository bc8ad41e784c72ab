"""The manifest of the index: its runs, up to which epoch they are complete, and the directory they belong to.

    DIR/.index/manifest       CRC-32C u32 of the rest, then a msgpack Manifest; replaced as a whole
    DIR/.index/<random>.run   see `format`

Without a valid manifest of this directory there is no index, and a start reads the folders. So to give the
index up, the manifest is removed durably.
"""

from __future__ import annotations

import contextlib
import os

import msgspec

from common import checksum, durable
from common.errors import DAMAGE_ERRNOS
from common.ours import read_ours
from services.engines.local.disk import blob_folder, layout
from services.engines.local.disk.layout import Layout
from services.engines.local.index.format import RunInfo
from services.engines.local.index.row_stamps import RowStamp

FORMAT = 3  # 1, 2: runs without folder blocks; such an index is made anew
_NAME = "manifest"
_MAX_BYTES = 1 << 30  # a bit for each of 32 bits' ids is half of that


class Stamp(msgspec.Struct, array_like=True, frozen=True):
    """Identifies the directory, and shows whether another process held its lock since.

    A copy or a restored backup has other inodes. Every version writes into the lock's file when it takes the
    state lock, and no program can choose the file's change time.
    """

    root_inode: int
    lock_inode: int
    lock_changed_ns: int


class Manifest(msgspec.Struct, array_like=True, frozen=True):
    """See the module docstring. `epoch`: of the journal; the runs have all that it and earlier ones covered.

    `runs`: the newest first. `ids`: those of the blobs, see IdSet; `size_bytes`: of their data. `rows`: see
    `row_stamps`; in these every complete blob is in `ids`, or in the journal.
    """

    format: int
    id_bits: int
    stamp: Stamp
    epoch: int
    salt: bytes
    runs: list[RunInfo]
    max_seq: int
    ids: dict[int, bytes]
    size_bytes: int
    rows: dict[int, RowStamp] = {}


class IndexFiles:
    """The files of the index of one directory. For the holder of the state lock."""

    def __init__(self, data_dir: Layout) -> None:
        self.data_dir = data_dir
        self._home = data_dir.ours(layout.INDEX_NAME)
        self._manifest = f"{self._home}/{_NAME}"

    def path(self, name: str) -> str:
        """The path of a run."""
        return f"{self._home}/{name}"

    def load(self) -> Manifest | None:
        """The manifest; None if there is no valid one. Raises OSError if descriptors lack."""
        if not blob_folder.is_folder(self._home):
            return None
        try:
            content = read_ours(self._manifest, _MAX_BYTES)
            found = msgspec.msgpack.decode(content[4:], type=Manifest)
        except (msgspec.MsgspecError, UnicodeError, FileNotFoundError):
            return None
        except OSError as err:
            if err.errno not in DAMAGE_ERRNOS:
                raise
            return None
        is_whole = content[:4] == checksum.crc(content[4:]).to_bytes(4, "little")
        is_ours = found.format == FORMAT and found.id_bits == self.data_dir.id_bits
        return found if is_whole and is_ours else None

    def save(self, manifest: Manifest) -> None:
        """Write the manifest, durably; the bytes of its runs are durable. Raises OSError, SyncFailed."""
        payload = msgspec.msgpack.encode(manifest)
        durable.sync_folder(self._home)
        durable.replace_durably(self._manifest, checksum.crc(payload).to_bytes(4, "little") + payload)

    def make_home(self) -> bool:
        """Make the folder of the index. False if something foreign is there. Raises OSError, SyncFailed."""
        if not os.path.lexists(self._home):
            durable.make_folder_durably(self._home)
        return blob_folder.is_folder(self._home)

    def forget(self) -> None:
        """Give the index up, durably. Raises OSError, SyncFailed: then the next start may still use it."""
        if not blob_folder.is_folder(self._home):
            return
        try:
            durable.remove_file(self._manifest)
        except FileNotFoundError:
            return
        durable.sync_folder(self._home)

    def sweep(self, keep: set[str]) -> None:
        """Remove runs that the manifest does not name, and unfinished files of dead processes."""
        for name in os.listdir(self._home):
            if name.endswith((".run", ".tmp")) and name not in keep:
                with contextlib.suppress(OSError):  # litter; the next start tries again
                    durable.remove_file(self.path(name))
