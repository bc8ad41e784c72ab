"""Opening a data directory: it exists, it is of the asked width, its own names are known.

A directory remembers its format and the width of its ids in `.blobkeep.json`. One without it is new, or
the original server's, whose ids have 16 bits.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import msgspec

from common import durable, layout
from common.errors import ConfigError, from_os_error
from common.layout import Layout

FORMAT = 1


class Format(msgspec.Struct, frozen=True):
    """What `.blobkeep.json` says."""

    format: int
    id_bits: int


def open_directory(root: str, id_bits: int, *, owner: bool) -> Layout:
    """The layout of the directory at `root`, which is made if it is missing.

    `owner`: the caller holds the state lock, so it writes the format down if nobody has. Raises
    ConfigError where the directory is of another width, of a newer format, or cannot be used.
    """
    try:
        root = make_root(root)
        found = _read_format(root)
        if found is None:
            found = Format(FORMAT, 16 if _has_blobs_of_16_bits(root) else id_bits)
            if owner:
                durable.replace_durably(f"{root}/{layout.FORMAT_NAME}", msgspec.json.encode(found))
    except OSError as err:
        raise ConfigError(
            f"The data directory {root} cannot be used ({err.strerror}): give another with --dir."
        ) from from_os_error(err, "open the data directory")
    if found.format != FORMAT:
        raise ConfigError(
            f"{root} is of format {found.format}, this program knows {FORMAT}: use a newer one."
        )
    if found.id_bits != id_bits:
        raise ConfigError(
            f"{root} was made with id_bits = {found.id_bits}, the configuration says {id_bits}: "
            f"set id_bits = {found.id_bits}, or give another directory with --dir."
        )
    return Layout(root, id_bits)


def format_file(id_bits: int) -> bytes:
    """The content of `.blobkeep.json`."""
    return msgspec.json.encode(Format(FORMAT, id_bits))


def existing(root: str) -> Layout:
    """The layout of a directory that is there, whatever its width; changes nothing. Raises ConfigError."""
    root = os.path.abspath(root)
    try:
        found = _read_format(root) if os.path.isdir(root) else None
        if found is None and not os.path.isdir(root):
            raise ConfigError(f"There is no data directory {root}: give the one that the server uses, --dir.")
    except OSError as err:
        raise ConfigError(f"The data directory {root} cannot be read: {err.strerror}.") from err
    if found is not None and found.format != FORMAT:
        raise ConfigError(
            f"{root} is of format {found.format}, this program knows {FORMAT}: use a newer one."
        )
    return Layout(root, 16 if found is None else found.id_bits)


def make_root(root: str) -> str:
    """Create the data directory, with what is missing above it, durably; returns its absolute path."""
    root = os.path.abspath(root)
    if not os.path.isdir(root):
        make_root(os.path.dirname(root))
        durable.make_folder_durably(root)
    return root


def _read_format(root: str) -> Format | None:
    path = f"{root}/{layout.FORMAT_NAME}"
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=Format)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as err:
        raise ConfigError(
            f"{path} does not parse: write "
            '{"format": 1, "id_bits": 16} or 32 into it, as the folders below it are laid out.'
        ) from err


def _has_blobs_of_16_bits(root: str) -> bool:
    with os.scandir(root) as entries:
        for entry in entries:
            if layout.parse_id(entry.name) is not None and os.path.lexists(
                f"{entry.path}/{layout.STATE_NAME}"
            ):
                return True
    return False


def ids_in(where: Layout) -> list[int]:
    """The ids that have a folder (a real one, no symlink), in the order of the directory."""
    ids, _ = names_in(where)
    return ids


def ids_after(where: Layout, after: int) -> Iterator[int]:
    """The ids greater than `after` that have a folder, in their order.

    A directory is not sorted, so the first one costs a pass over the names of DIR (25 ms for 65,536 of
    them), and with 32 bits over those of one first-level folder at a time. Nothing but names is read.
    """
    if where.id_bits == 16:
        yield from sorted(blob_id for blob_id in ids_in(where) if blob_id > after)
        return
    rows: list[int] = []
    _scan(where.root, "", 0, rows, [])
    for row in sorted(rows):
        if (row + 1) << 16 > after + 1:
            ids: list[int] = []
            with contextlib.suppress(FileNotFoundError):
                _scan(f"{where.root}/{row}", f"{row}/", row << 16, ids, [])
            yield from sorted(blob_id for blob_id in ids if blob_id > after)


def names_in(where: Layout) -> tuple[list[int], list[str]]:
    """(ids that have a folder, foreign names) under DIR. A foreign name is neither an id's nor ours."""
    ids: list[int] = []
    foreign: list[str] = []
    if where.id_bits == 16:
        _scan(where.root, "", 0, ids, foreign)
        return ids, foreign
    rows: list[int] = []
    _scan(where.root, "", 0, rows, foreign)
    for row in rows:
        with contextlib.suppress(FileNotFoundError):
            _scan(f"{where.root}/{row}", f"{row}/", row << 16, ids, foreign)
    return ids, foreign


def _scan(path: str, label: str, base: int, ids: list[int], foreign: list[str]) -> None:
    with os.scandir(path) as entries:
        for entry in entries:
            number = layout.parse_id(entry.name)
            if number is not None and entry.is_dir(follow_symlinks=False):
                ids.append(base + number)
            elif entry.name not in layout.OUR_NAMES:
                foreign.append(label + entry.name)
