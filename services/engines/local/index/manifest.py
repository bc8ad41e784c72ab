"""What the index is: its runs, what they are as of, and which directory they are of. One file, or no index.

    DIR/.index/manifest       CRC-32C u32 of the rest, then a msgpack Manifest; replaced as a whole
    DIR/.index/<random>.run   see `format`

Without a manifest, or with one that is damaged or of another directory, there is no index: whoever starts
reads the folders. So to remove it, durably, is how the index is given up.
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

FORMAT = 1
_NAME = "manifest"
_MAX_BYTES = 1 << 30  # a bit for each of 32 bits' ids is half of that


class Stamp(msgspec.Struct, array_like=True, frozen=True):
    """Which directory, and who held its lock last: nobody but the server that kept this index.

    A copy or a restored backup has other inodes. Whoever takes the state lock, in whatever version of the
    program, writes into its file, whose change time no program can choose.
    """

    root_inode: int
    lock_inode: int
    lock_changed_ns: int


class Manifest(msgspec.Struct, array_like=True, frozen=True):
    """See the module docstring. `epoch`: of the journal; all that it and earlier ones covered is in the runs.

    `runs`: the newest first. `ids`: of the blobs that they show, see IdSet; `size_bytes`: of their data.
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


class IndexFiles:
    """The files of the index of one directory. For whoever holds the state lock."""

    def __init__(self, data_dir: Layout) -> None:
        self._data_dir = data_dir
        self._home = data_dir.ours(layout.INDEX_NAME)
        self._manifest = f"{self._home}/{_NAME}"

    def path(self, name: str) -> str:
        """Of a run."""
        return f"{self._home}/{name}"

    def load(self) -> Manifest | None:
        """The manifest; None where there is none to be believed. Raises OSError where descriptors lack."""
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
        is_ours = found.format == FORMAT and found.id_bits == self._data_dir.id_bits
        return found if is_whole and is_ours else None

    def save(self, manifest: Manifest) -> None:
        """Make this what the index is, durably; the bytes of its runs are. Raises OSError, SyncFailed."""
        payload = msgspec.msgpack.encode(manifest)
        durable.sync_folder(self._home)
        durable.replace_durably(self._manifest, checksum.crc(payload).to_bytes(4, "little") + payload)

    def make_home(self) -> bool:
        """The folder of the index. False where something else stands there. Raises OSError, SyncFailed."""
        if not os.path.lexists(self._home):
            durable.make_folder_durably(self._home)
        return blob_folder.is_folder(self._home)

    def forget(self) -> None:
        """Give the index up, durably. Raises OSError, SyncFailed: the next start may believe it, then."""
        if not blob_folder.is_folder(self._home):
            return
        try:
            durable.remove_file(self._manifest)
        except FileNotFoundError:
            return
        durable.sync_folder(self._home)

    def sweep(self, keep: set[str]) -> None:
        """Remove the runs that no manifest names, and what a process that died was writing."""
        for name in os.listdir(self._home):
            if name.endswith((".run", ".tmp")) and name not in keep:
                with contextlib.suppress(OSError):  # litter; the next start tries again
                    durable.remove_file(self.path(name))
