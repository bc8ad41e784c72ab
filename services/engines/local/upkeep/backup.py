"""The format of a backup: a tar file which, unpacked, is a data directory. Shared by writer and reader.

Members, in this order: `.blobkeep.json`; for each blob `<folder>/blob_state.base64.json`, then
`<folder>/data.raw`; at the end `.exported.json`, without which the file was cut short. A tar of a data
directory without a running server can be read, too: its members come in any order, and it has no closing
note.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator

import msgspec

from common import checksum
from common.errors import ConfigError, Damaged
from services.engines.local.disk import layout
from services.engines.local.disk.record import BlobRecord

_TAIL_BYTES = 1 << 20  # a closing note that names more damaged blobs than fit is not looked for


class NotABackup(ConfigError):
    """A file that cannot be read as a backup, or must not be."""


class Exported(msgspec.Struct, frozen=True):
    """The content of `.exported.json`, which ends an export. `left_out`: damaged blobs, a sentence each."""

    blobs: int
    bytes: int
    time: str
    left_out: list[str]


class Tar(tarfile.TarFile):
    """A tar file that can forget the members that it has written or read."""

    members: list[tarfile.TarInfo]

    def forget(self) -> None:
        """Forget the members so far: else their headers, some KiB a blob, stay in memory to the end."""
        self.members.clear()


def verified(read: Callable[[int], bytes], blob: BlobRecord) -> Iterator[bytes]:
    """The data of `blob` in chunks of 1 MiB, none yielded before it was compared with its checksum.

    `read(n)` gives up to n next bytes. The last chunk comes only once the whole agrees. Raises Damaged.
    """
    whole = hashlib.sha256()
    left = blob.size
    chunk = 0
    while left:
        data = _read_exactly(read, min(checksum.CHUNK_BYTES, left))
        if len(data) < min(checksum.CHUNK_BYTES, left):
            raise Damaged(f"data.raw ends {left - len(data)} bytes early")
        if blob.crcs and checksum.crc(data) != checksum.unpack_crc(blob.crcs, chunk):
            raise Damaged(f"data.raw fails its checksum in MiB {chunk}")
        whole.update(data)
        left -= len(data)
        chunk += 1
        if not left and blob.sha256 and whole.digest() != blob.sha256:
            raise Damaged("data.raw fails its SHA-256")
        yield data


def _read_exactly(read: Callable[[int], bytes], count: int) -> bytes:
    data = read(count)
    while len(data) < count and (more := read(count - len(data))):
        data += more
    return data


def closing_note(path: str) -> Exported | None:
    """The closing note of the backup at `path`; None for anything that is no complete backup.

    Reads the last MiB of the file at the most. Raises OSError.
    """
    with open(path, "rb") as file:
        size_bytes = os.fstat(file.fileno()).st_size
        start = max(0, size_bytes - _TAIL_BYTES) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        file.seek(start)
        tail = file.read()
    at = tail.rfind(layout.EXPORTED_NAME.encode() + b"\0")
    if at < 0 or at % tarfile.BLOCKSIZE:
        return None
    try:
        member = tarfile.TarInfo.frombuf(tail[at : at + tarfile.BLOCKSIZE], "utf-8", "strict")
        content = tail[at + tarfile.BLOCKSIZE :][: member.size]
        return msgspec.json.decode(content, type=Exported)
    except (tarfile.TarError, msgspec.DecodeError, UnicodeError):
        return None
