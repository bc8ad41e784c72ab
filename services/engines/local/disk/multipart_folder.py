"""One upload in parts on disk, from its beginning until it is complete or given up. For the lock holder.

    DIR/.multipart/<upload id>/upload.json   its record, with the attributes of the object
                               parts.log     a line for each part: its checksums, and where its bytes are
                               data.raw      parts of one size, each at its place in the object
                               <number>-<n>  a part that could not go there: of another size, or sent again

    begin:  the folder > its files synced > the folder synced > DIR/.multipart synced > answered
    part:   its bytes synced > its line appended and synced > answered
    end:    upload.json removed > the folder synced > answered; then the rest

So a folder without upload.json is not an upload. The bytes of a line in parts.log are durable; bytes without
a line belong to no part. A line counts if its checksum is right: a torn line was never acknowledged.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping

import msgspec

from common import checksum, durable
from common.errors import CorruptRecord
from common.ours import read_ours
from services.engines.local.disk import layout
from services.engines.local.disk.layout import Layout
from services.store import Content, Multipart, Part

log = logging.getLogger(__name__)

_UPLOAD, _LOG = "upload.json", "parts.log"
_MAX_UPLOAD_BYTES = 64 << 10
_MAX_LOG_BYTES = 1 << 30  # 10,000 parts, each sent again many times
_SEAL_BYTES = 9  # eight hex digits and a space


class Placed(msgspec.Struct, frozen=True):
    """A part, and where its bytes are. `crcs`: of each MiB of it, packed, in hex; `sha256` may be empty.

    `file` is a name in the folder; the part begins there at byte `offset`. `slot_bytes`: the distance between
    parts in data.raw; 0 for a file of its own.
    """

    number: int
    id: str
    size: int
    sha256: str
    crcs: str
    modified_ns: int
    attributes: dict[str, str]
    file: str
    offset: int
    slot_bytes: int

    @property
    def part(self) -> Part:
        """The part as front ends see it."""
        sha256 = bytes.fromhex(self.sha256)
        return Part(self.number, self.id, self.size, sha256, self.modified_ns, self.attributes)

    @property
    def is_in_place(self) -> bool:
        """Whether it is in data.raw."""
        return self.slot_bytes > 0


class _Begun(msgspec.Struct, frozen=True):
    """upload.json."""

    location: str
    type: str
    encoding: str
    metadata: dict[str, str]
    begun_ns: int


def home(data_dir: Layout) -> str:
    """The folder of all of them."""
    return data_dir.ours(layout.MULTIPART_NAME)


def folder(data_dir: Layout, upload_id: str) -> str:
    """The folder of one."""
    return f"{home(data_dir)}/{upload_id}"


def begin(data_dir: Layout, upload: Multipart) -> None:
    """Make the folder of a new one, durably. Raises OSError, SyncFailed; nothing is left of it then."""
    path = folder(data_dir, upload.id)
    durable.make_folder_durably(home(data_dir))
    said = upload.content
    begun = _Begun(upload.location, said.type, said.encoding, dict(said.metadata), upload.begun_ns)
    durable.make_folder(path)
    try:
        for name in (_LOG, layout.DATA_NAME):
            os.close(durable.create_file(f"{path}/{name}"))
        durable.replace(f"{path}/{_UPLOAD}", _sealed(msgspec.json.encode(begun)), synced=True)
        durable.sync_folder(path)
        durable.sync_folder(home(data_dir))
    except OSError:
        with contextlib.suppress(OSError):  # nobody was told of it: what a power cut brings back expires
            durable.remove_file(f"{path}/{_UPLOAD}")
        clear(data_dir, upload.id)
        raise


def append(data_dir: Layout, upload_id: str, placed: Placed) -> None:
    """Remember a part, durably; its bytes are durable already. One call at a time.

    A line break comes before the line, so that the rest of a failed write spoils only its own line.
    """
    fd = durable.append_file(f"{folder(data_dir, upload_id)}/{_LOG}")
    try:
        durable.write_all(fd, b"\n" + _sealed(msgspec.json.encode(placed)))
        durable.sync_file(fd)
    finally:
        os.close(fd)


def end(data_dir: Layout, upload_id: str) -> None:
    """End the upload, durably. Its files are removed after that, or at the next start.

    After an OSError the upload still exists, since its folder is opened before anything is removed. Raises
    SyncFailed.
    """
    path = folder(data_dir, upload_id)
    with contextlib.suppress(FileNotFoundError):
        folder_fd = durable.open_folder(path)
        try:
            durable.remove_file(f"{path}/{_UPLOAD}")
            durable.sync_open_folder(folder_fd)
        finally:
            os.close(folder_fd)
    clear(data_dir, upload_id)


def clear(data_dir: Layout, upload_id: str) -> None:
    """Remove what is left of an ended upload. An error is logged, and costs room until the next start."""
    try:
        durable.remove_tree(folder(data_dir, upload_id), under=data_dir.root)
    except OSError as err:
        log.error("upload %s is over, but not all of it could be removed: %s", upload_id, err)


def may_be_a_blob(data_dir: Layout, upload_id: str) -> bool:
    """Whether data.raw may belong to a blob by now. Asked at a start, since a completion may have been cut.

    That blob may have been copied or replaced since, so only the file itself shows it, by its second name.
    Then nobody may write to it (design rule 4).
    """
    try:
        return os.stat(f"{folder(data_dir, upload_id)}/{layout.DATA_NAME}").st_nlink > 1
    except OSError:  # who writes or reads it meets the same, and is told
        return True


def load(data_dir: Layout) -> Iterator[tuple[Multipart, Mapping[int, Placed]]]:
    """The uploads under way. Removes the rest of ended ones; leaves, and reports, what cannot be read."""
    try:
        names = os.listdir(home(data_dir))
    except FileNotFoundError:
        return
    for upload_id in names:
        path = folder(data_dir, upload_id)
        if not os.path.lexists(f"{path}/{_UPLOAD}"):
            clear(data_dir, upload_id)
            continue
        try:
            said = _unsealed(read_ours(f"{path}/{_UPLOAD}", _MAX_UPLOAD_BYTES))
            begun = msgspec.json.decode(said, type=_Begun)
            parts = _load_parts(path)
        except (OSError, CorruptRecord, msgspec.DecodeError) as err:
            log.error("upload %s in parts cannot be read, and is left where it is: %s", upload_id, err)
        else:
            content = Content(begun.type, begun.encoding, begun.metadata)
            yield Multipart(begun.location, upload_id, content, begun.begun_ns), parts


def _load_parts(path: str) -> dict[int, Placed]:
    parts: dict[int, Placed] = {}
    for line in read_ours(f"{path}/{_LOG}", _MAX_LOG_BYTES).split(b"\n"):
        with contextlib.suppress(CorruptRecord):  # torn: nobody was told of it
            placed = parse_line(line)
            # Where a line could not be synced its file was removed again: the part before it counts.
            if placed.is_in_place or os.path.lexists(f"{path}/{placed.file}"):
                parts[placed.number] = placed
    return parts


def parse_line(line: bytes) -> Placed:
    """A line of parts.log. Raises CorruptRecord if it is not complete and ours."""
    try:
        return msgspec.json.decode(_unsealed(line), type=Placed)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as err:
        raise CorruptRecord(f"The line does not decode: {err}.") from err


def _sealed(content: bytes) -> bytes:
    return b"%08x %s\n" % (checksum.crc(content), content)


def _unsealed(line: bytes) -> bytes:
    seal, content = line[:_SEAL_BYTES], line[_SEAL_BYTES:].rstrip(b"\n")
    if seal != b"%08x " % checksum.crc(content):
        raise CorruptRecord("its checksum is wrong")
    return content
