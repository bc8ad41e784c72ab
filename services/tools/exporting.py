"""`export FILE.tar`: a consistent snapshot as a tar file, which unpacked is a data directory.

Members, in this order: `.blobkeep.json`; of each blob `<folder>/blob_state.base64.json`, then
`<folder>/data.raw`; at the end `.exported.json`, whose absence tells a file that was cut short. Every blob is
read and compared with its checksums before it is written; a damaged one is left out and named.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import secrets
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from common import checksum, durable
from common.checksum import Hasher
from common.errors import DAMAGE_ERRNOS, CorruptRecord, Damaged
from common.ours import open_ours
from common.progress import Progress
from common.times import rfc3339
from services.engines.local.disk import directory, layout, record
from services.engines.local.disk.record import BlobRecord
from services.engines.local.upkeep import snapshot
from services.engines.local.upkeep.snapshot import Held, Snapshot
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.incoming import verified
from services.tools.output import Output, size
from services.tools.owner import must_be_owner
from services.tools.tar import Tar

log = logging.getLogger("export")

STDOUT = "-"
_PIECE_BYTES = 1 << 20


class Exported(msgspec.Struct, frozen=True):
    """What `.exported.json` says: the end of a whole export. `left_out`: damaged blobs, a sentence each."""

    blobs: int
    bytes: int
    time: str
    left_out: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export`."""
    parser.add_argument("file", help="the tar file to make; - is stdout")
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    parser.add_argument(
        "--even-empty", action="store_true", help="also replace an export of some blobs by one of none"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Write the file, durably and under its name only once it is whole; 1 where a blob was left out."""
    data_dir = directory.existing(args.dir)
    must_be_owner(data_dir.root)
    path: str = args.file
    if path == STDOUT:
        if sys.stdout.isatty() or out.as_json:
            raise CommandFailed(exits.USAGE, "A tar on stdout is for a pipe or a file, without --json.")
    elif os.path.exists(path) and not args.force:
        raise CommandFailed(exits.USAGE, f"{path} is there already: give another name, or --force.")
    had_some = args.force and not args.even_empty and _has_blobs(path)
    with snapshot.take(data_dir) as taken:
        if had_some and not taken.blobs:
            raise CommandFailed(
                exits.NOT_WELL,
                f"{data_dir.root} has no blob, and {path} has some, which is kept. If none is right: "
                "--even-empty.",
            )
        if path == STDOUT:
            done = _write(taken, sys.stdout.fileno())
            log.info("exported %d blobs, %d bytes of data", done.blobs, done.bytes)
        else:
            done = _write_file(taken, path)
    if path != STDOUT:
        out.document({"file": path, "linked": taken.linked, **msgspec.to_builtins(done)})
        out.line(f"{done.blobs:,} blobs, {size(done.bytes)} of data, as they were at {done.time}: {path}")
    for sentence in done.left_out:
        log.error("left out: %s", sentence)
    return exits.NOT_WELL if done.left_out else exits.OK


def _has_blobs(path: str) -> bool:
    """Whether the export at `path` holds a blob: the member after the format file tells."""
    if path == STDOUT or not os.path.exists(path):
        return False
    try:
        with tarfile.open(path, "r:") as tar:
            names = [member.name for member, _ in zip(tar, range(2), strict=False)]
    except (OSError, tarfile.TarError):
        return False  # none of ours
    return any(name.endswith("/" + layout.STATE_NAME) for name in names)


def _write_file(taken: Snapshot, path: str) -> Exported:
    # A new name, made by us alone: in a folder of many users, one that can be guessed may be another's file.
    part = f"{path}.{secrets.token_hex(8)}.part"
    fd = durable.create_file(part)
    try:
        done = _write(taken, fd)
        durable.sync_file(fd)
    except BaseException:
        durable.remove_file(part)
        raise
    finally:
        os.close(fd)
    durable.rename(part, path)
    durable.sync_folder(os.path.dirname(os.path.abspath(path)))
    return done


def _write(taken: Snapshot, fd: int) -> Exported:
    at = rfc3339(time.time_ns())
    total = taken.bytes
    blobs = written_bytes = 0
    left_out = list(taken.left_out)
    stream: Any = _Descriptor(fd)
    with (
        Tar.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
        Progress("export", "bytes") as progress,
    ):
        _add(tar, layout.FORMAT_NAME, directory.format_file(taken.data_dir.id_bits), time.time())
        for held in taken.blobs:

            def tell(of_it: int, before: int = written_bytes) -> None:
                progress(before + of_it, total)

            tell(0)
            try:
                _add_blob(tar, taken, held, tell)
            except (CorruptRecord, Damaged) as err:
                left_out.append(f"blob {held.id} of {held.location!r}: {err}")
                continue
            blobs += 1
            written_bytes += held.size
            tar.forget()
        done = Exported(blobs, written_bytes, at, left_out)
        _add(tar, layout.EXPORTED_NAME, msgspec.json.encode(done), time.time())
    stream.flush()
    return done


def _add_blob(tar: Tar, taken: Snapshot, held: Held, tell: Callable[[int], None]) -> None:
    """Raises Damaged and CorruptRecord, with nothing written; CommandFailed if it rots between two reads."""
    blob = taken.record_of(held)
    try:
        fd = open_ours(taken.data_path(held.id))
    except FileNotFoundError as err:
        raise Damaged("data.raw is missing") from err
    try:
        if not blob.is_original and os.fstat(fd).st_size != blob.size:
            raise Damaged(f"data.raw has {os.fstat(fd).st_size} bytes instead of {blob.size}")
        blob = _with_sums(blob, fd)
        whole = b""
        if blob.size <= _PIECE_BYTES:
            whole = b"".join(_chunks(fd, blob))
        else:  # too large to keep: read it twice, since a tar cannot take back what it has
            for _ in _chunks(fd, blob):
                tell(0)
        folder = os.path.relpath(taken.data_dir.folder(blob.id), taken.data_dir.root)
        modified = blob.modified_ns / 1e9
        _add(tar, f"{folder}/{layout.STATE_NAME}", record.dump(blob), modified)
        data: Any = io.BytesIO(whole) if blob.size <= _PIECE_BYTES else _Reader(_chunks(fd, blob), tell)
        tar.addfile(_member(f"{folder}/{layout.DATA_NAME}", blob.size, modified), data)
    finally:
        os.close(fd)


def _with_sums(blob: BlobRecord, fd: int) -> BlobRecord:
    """With the checksums of its chunks, if it has none: compared with the SHA-256, if it has that."""
    if blob.crcs or (blob.sha256 and not blob.size):
        return blob
    sums = Hasher()
    at = 0
    while data := os.pread(fd, checksum.CHUNK_BYTES, at):
        sums.update(data)
        at += len(data)
    if blob.sha256 and sums.sha256() != blob.sha256:
        raise Damaged("data.raw fails its SHA-256")
    return msgspec.structs.replace(blob, size=sums.size, sha256=sums.sha256(), crcs=sums.crcs())


def _chunks(fd: int, blob: BlobRecord) -> Iterator[bytes]:
    at = 0

    def read(count: int) -> bytes:
        nonlocal at
        try:
            data = os.pread(fd, count, at)
        except OSError as err:
            if err.errno not in DAMAGE_ERRNOS:
                raise
            raise Damaged(f"data.raw cannot be read: {err.strerror}") from err
        at += len(data)
        return data

    return verified(read, blob)


def _add(tar: Tar, name: str, content: bytes, modified: float) -> None:
    tar.addfile(_member(name, len(content), modified), io.BytesIO(content))


def _member(name: str, size_bytes: int, modified: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mtime = int(modified)  # a fraction would cost a header of 1 KiB; the state has it
    member.mode = 0o600
    member.uid, member.gid = os.getuid(), os.getgid()
    return member


class _Descriptor:
    """An open descriptor as the stream that a tar is written to, in large pieces; `flush` ends it.

    (The stream that tarfile has of its own writes when it is given up, too: into a pipe, for ever.)
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._at = 0
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        """All of it, sooner or later."""
        self._waiting += data
        self._at += len(data)
        if len(self._waiting) >= _PIECE_BYTES:
            self.flush()
        return len(data)

    def tell(self) -> int:
        """How many bytes there are so far."""
        return self._at

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, bytearray()
        durable.write_all(self._fd, waiting)


class _Reader:
    """Chunks as a stream that a tar reads from. Each was compared with its checksum already, once."""

    def __init__(self, chunks: Iterator[bytes], tell: Callable[[int], None]) -> None:
        self._chunks = chunks
        self._tell = tell  # called with how many bytes were read so far
        self._read = 0
        self._left = b""

    def read(self, count: int) -> bytes:
        """Up to `count` bytes."""
        if not self._left:
            try:
                self._left = next(self._chunks, b"")
            except Damaged as err:
                raise CommandFailed(
                    exits.NOT_WELL,
                    f"{err}, though it was whole a moment ago: the disk is failing. No export.",
                ) from err
        data, self._left = self._left[:count], self._left[count:]
        self._read += len(data)
        self._tell(self._read)
        return data
