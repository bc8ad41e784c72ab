"""Opens a data directory: checks its format and the width of its ids, and lists its names.

A directory remembers its format and the width of its ids in `.blobkeep.json`. One without it is new, or
the original server's, whose ids have 16 bits.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
from bisect import bisect_right
from collections.abc import Container, Iterator
from functools import partial
from typing import Annotated

import msgspec

from common import checksum, durable
from common.errors import DISK_ERRNOS, NO_SPACE_ERRNOS, ConfigError, CorruptRecord, from_os_error
from services.engines.local.disk import blob_folder, layout, reserve
from services.engines.local.disk.layout import Layout

log = logging.getLogger(__name__)

FORMAT = 1
WIDENING = 2  # neither 16 nor 32 bits yet: an older program refuses it, too

_to_numbers = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]]).decode


class Format(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `.blobkeep.json` says. `check`: CRC-32C of both numbers in hex; may be empty.

    `journal`: a server keeps a journal here, so a missing one was lost.
    """

    format: int
    id_bits: int
    check: str = ""
    journal: bool = False

    @property
    def right_check(self) -> str:
        """The right value of `check`."""
        return f"{checksum.crc(f'{self.format} {self.id_bits}'.encode()):08x}"


def open_directory(root: str, id_bits: int, *, owner: bool) -> Layout:
    """The layout of the directory at `root`, which is made if it is missing.

    `owner`: the caller holds the state lock, so it writes the format down if nobody has. A data directory
    that cannot be written is opened for reading (`Layout.read_only`). Raises ConfigError where the directory
    is of another width, of a newer format, or cannot be used.
    """
    try:
        root = make_root(root)
        read_only = is_read_only(root)
        owner = owner and not read_only
        found = read_format(root)
        if found is None:
            is_new = not is_blobkeep(root)
            found = Format(FORMAT, _width_of_blobs(root) or id_bits)
            if is_new and read_only:
                raise OSError(errno.EROFS, "it is no Blobkeep directory, and nothing can be written in it")
            if owner:
                write_format(root, found)
                if is_new:
                    log.warning(
                        "%s was no Blobkeep directory: a new store was made there, without blobs", root
                    )
        if owner:
            _make_fixed_names(Layout(root, found.id_bits))
    except OSError as err:
        raise ConfigError(
            f"The data directory {root} cannot be used ({err.strerror}): give another with --dir."
        ) from from_os_error(err, "open the data directory")
    _must_be_known(root, found)
    if found.id_bits != id_bits:
        raise ConfigError(
            f"{root} was made with id_bits = {found.id_bits}, the configuration says {id_bits}: "
            f"set id_bits = {found.id_bits}, or give another directory with --dir."
        )
    return Layout(root, id_bits, read_only=read_only)


def is_read_only(root: str) -> bool:
    """True if nothing can be written in the folder `root`, because of its mount or its mode. 1 µs."""
    return not os.access(root, os.W_OK)


def _must_be_known(root: str, found: Format) -> None:
    if found.format == WIDENING or os.path.lexists(f"{root}/{layout.WIDENING_NAME}"):
        raise ConfigError(f"{root} is being widened, and that was not finished: run `blobkeep widen` again.")
    if found.format != FORMAT:
        raise ConfigError(
            f"{root} is of format {found.format}, this program knows {FORMAT}: use a newer one."
        )


def is_blobkeep(root: str) -> bool:
    """True where `root` is a data directory: it has our format file, our journal, or a blob. Changes nothing.

    A missing or empty folder is none: its disk may not be mounted. A folder that the original server made but
    wrote no blob into counts as none, too, since nothing in it shows whose it is. Stops at the first proof; a
    format file costs one system call. Raises OSError if the folder exists and cannot be read.
    """
    proofs = (layout.FORMAT_NAME, *(f"{layout.JOURNAL_NAME}.{number}" for number in (0, 1)))
    if any(os.path.lexists(os.path.join(root, name)) for name in proofs):
        return True
    try:
        return next(_widths_in(root), None) is not None
    except (FileNotFoundError, NotADirectoryError):
        return False


def _make_fixed_names(data_dir: Layout) -> None:
    """Make the missing folders and files that deletes and the gc will need, durably.

    If the disk has no room even for them, the reserve is used up; what is still missing is logged.
    """
    made = False
    try:
        for name in layout.FIXED_FOLDERS:
            path = data_dir.ours(name)
            if not os.path.lexists(path):
                reserve.finding_room(data_dir, partial(durable.make_folder, path))
                made = True
        for name in layout.FIXED_FILES:
            path = data_dir.ours(name)
            if not os.path.lexists(path):
                os.close(reserve.finding_room(data_dir, partial(durable.open_lock_file, path)))
                made = True
    except OSError as err:
        if err.errno not in NO_SPACE_ERRNOS:
            raise
        log.warning("no room for %s: until there is, the gc may be unable to remove anything", path)
    if made:
        durable.sync_folder(data_dir.root)


def format_file(id_bits: int) -> bytes:
    """The content of `.blobkeep.json`."""
    return msgspec.json.encode(Format(FORMAT, id_bits))


def existing(root: str) -> Layout:
    """The layout of an existing directory, whatever its width; changes nothing. Raises ConfigError."""
    root = os.path.abspath(root)
    try:
        if not is_blobkeep(root):
            raise ConfigError(
                f"{root} is no Blobkeep directory: give the one that the server uses, --dir. If it is that "
                "one, its disk may not be mounted."
            )
        found = read_format(root)
    except OSError as err:
        raise ConfigError(f"The data directory {root} cannot be read: {err.strerror}.") from err
    if found is not None:
        _must_be_known(root, found)
    return Layout(root, 16 if found is None else found.id_bits)


def expects_journal(data_dir: Layout) -> bool:
    """True if a server has kept a journal here. Raises OSError, ConfigError."""
    found = read_format(data_dir.root)
    return found is not None and found.journal


def expect_journal(data_dir: Layout) -> None:
    """Remember, durably, that a journal is kept here from now on. Raises OSError, SyncFailed."""
    if not expects_journal(data_dir):
        write_format(data_dir.root, Format(FORMAT, data_dir.id_bits, journal=True))


def make_root(root: str) -> str:
    """Create the data directory, with what is missing above it, durably; returns its absolute path."""
    root = os.path.abspath(root)
    if not os.path.isdir(root):
        make_root(os.path.dirname(root))
        durable.make_folder_durably(root)
    return root


def read_format(root: str) -> Format | None:
    """What `.blobkeep.json` says; None if there is none, or it is damaged and the blobs show the width.

    Raises ConfigError if nothing shows the width, OSError.
    """
    path = f"{root}/{layout.FORMAT_NAME}"
    try:
        found = msgspec.json.decode(blob_folder.read_file(path), type=Format)
        if found.check not in ("", found.right_check):
            raise CorruptRecord("its checksum is wrong")
        if found.id_bits not in (16, 32):
            raise CorruptRecord(f"id_bits is {found.id_bits}")
        return found
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeError, RecursionError, CorruptRecord, OSError) as err:
        if isinstance(err, OSError) and err.errno not in DISK_ERRNOS:
            raise
        width = _width_of_blobs(root)
        if width is None:
            raise ConfigError(
                f"{path} is damaged ({err}): write "
                '{"format": 1, "id_bits": 16} or 32 into it, as the folders below it are laid out.'
            ) from err
        log.error("%s is damaged (%s): its blobs are laid out with id_bits = %d", path, err, width)
        return None


def write_format(root: str, found: Format) -> None:
    """Write it down, durably. For the holder of the state lock."""
    content = msgspec.json.encode(msgspec.structs.replace(found, check=found.right_check))
    try:
        durable.replace_durably(f"{root}/{layout.FORMAT_NAME}", content)
    except IsADirectoryError as err:
        log.error("%s cannot be written: %s", layout.FORMAT_NAME, err.strerror)


def _width_of_blobs(root: str) -> int | None:
    """The width with which blobs are laid out in `root`; None if there are no blobs, or both widths."""
    widths = set(_widths_in(root))
    return widths.pop() if len(widths) == 1 else None


def _widths_in(root: str) -> Iterator[int]:
    """The widths with which blobs are laid out in `root`, as they are met; 32 once at the most."""
    has_rows = False
    with os.scandir(root) as entries:
        for entry in entries:
            if layout.parse_id(entry.name) is None or not entry.is_dir(follow_symlinks=False):
                continue
            if os.path.lexists(f"{entry.path}/{layout.STATE_NAME}"):
                yield 16
            elif not has_rows and _is_row(entry.path):
                has_rows = True
                yield 32


def _is_row(path: str) -> bool:
    with os.scandir(path) as entries:
        return any(
            layout.parse_id(entry.name) is not None and os.path.lexists(f"{entry.path}/{layout.STATE_NAME}")
            for entry in entries
        )


def ids_in(data_dir: Layout) -> list[int]:
    """The ids that have a folder (a real one, no symlink), in the order of the directory."""
    ids, _ = names_in(data_dir)
    return ids


def ids_after(data_dir: Layout, after: int) -> Iterator[int]:
    """The ids greater than `after` that have a folder, in their order.

    A directory is not sorted, so the first id costs a pass over the names of DIR (40 ms for 65,536 of them).
    With 32 bits one first-level folder is read at a time. Only names are read.
    """
    if data_dir.id_bits == 16:
        yield from sorted(blob_id for blob_id in ids_in(data_dir) if blob_id > after)
        return
    for row in sorted(row_numbers(data_dir)):
        if (row + 1) << 16 > after + 1:
            ids = sorted(names_of_row(data_dir, row)[0])
            yield from itertools.islice(ids, bisect_right(ids, after), None)


def rows_in(data_dir: Layout, but: Container[int] = ()) -> Iterator[tuple[int, list[int], list[str]]]:
    """For each row of 65,536 ids: (row, ids with a folder, foreign names); last the foreign names of DIR.

    Never more than one such row is in memory. `but`: rows that are left out, with 32 bits.
    """
    foreign: list[str] = []
    rows: list[int] = []
    _scan(data_dir.root, "", 0, rows, foreign)
    if data_dir.id_bits == 16:
        yield 0, rows, foreign
        return
    for row in rows:
        if row not in but:
            yield row, *names_of_row(data_dir, row)
    yield 0, [], foreign


def row_numbers(data_dir: Layout) -> list[int]:
    """The first-level folders that are there, with 32 bits."""
    rows: list[int] = []
    if data_dir.id_bits == 32:
        _scan(data_dir.root, "", 0, rows, [])
    return rows


def links_of_rows(data_dir: Layout) -> int:
    """About how many ids have a folder; 0 if the file system does not count folders as links."""
    homes = [str(row) for row in row_numbers(data_dir)] if data_dir.id_bits == 32 else ["."]
    found = 0
    for home in homes:
        with contextlib.suppress(FileNotFoundError):
            found += max(0, os.stat(f"{data_dir.root}/{home}", follow_symlinks=False).st_nlink - 2)
    return found


def names_of_row(data_dir: Layout, row: int) -> tuple[list[int], list[str]]:
    """(ids that have a folder, foreign names) in one first-level folder, with 32 bits."""
    path = f"{data_dir.root}/{row}"
    ids = _only_folders(path, row << 16)
    strange: list[str] = []
    if ids is None:
        ids = []
        with contextlib.suppress(FileNotFoundError):
            _scan(path, f"{row}/", row << 16, ids, strange)
    return ids, strange


def _only_folders(path: str, base: int) -> list[int] | None:
    """The ids with a folder in a first-level folder, if it has nothing else; None: look at each name.

    It costs a third of looking at each name. Most file systems count the subfolders of a folder as its links,
    and JSON parses only those numbers that are written like ids.
    """
    try:
        names = os.listdir(path)
        folders = os.stat(path, follow_symlinks=False).st_nlink - 2
    except FileNotFoundError:
        return None
    text = ",".join(names)
    if folders != len(names) or not (text.isascii() and text.replace(",", "").isdigit()):
        return None
    try:
        numbers = _to_numbers(f"[{text}]")
    except msgspec.MsgspecError:
        return None
    return [base + number for number in numbers] if len(numbers) == folders else None


def names_in(data_dir: Layout) -> tuple[list[int], list[str]]:
    """(ids that have a folder, foreign names) under DIR. A foreign name is neither an id's nor ours."""
    ids: list[int] = []
    foreign: list[str] = []
    for _, of_row, strange in rows_in(data_dir):
        ids += of_row
        foreign += strange
    return ids, foreign


def _scan(path: str, label: str, base: int, ids: list[int], foreign: list[str]) -> None:
    with os.scandir(path) as entries:
        for entry in entries:
            number = layout.parse_id(entry.name)
            if number is not None and entry.is_dir(follow_symlinks=False):
                ids.append(base + number)
            elif entry.name not in layout.OUR_NAMES:
                foreign.append(label + entry.name)
