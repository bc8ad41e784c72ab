"""`export FILE.tar`: a consistent snapshot as a tar file, which is a data directory when unpacked."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable

import msgspec

from services.tools import exits, on_objects
from services.tools.exits import CommandFailed
from services.tools.new_file import write_new_file
from services.tools.output import Output, size
from services.tools.storage import Exported, Storage, closing_note

HELP = "all blobs as a tar file: of a directory a consistent snapshot"

log = logging.getLogger("export")

STDOUT = "-"
_NEWEST = 10  # files beside the new one that are looked at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `export`."""
    parser.add_argument("file", help="the tar file to make; - is stdout")
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    parser.add_argument(
        "--even-empty", action="store_true", help="export no blob, even where the export before had some"
    )


def run(args: argparse.Namespace, out: Output) -> int:
    """Write the file durably; it gets its name only when it is complete. 1 if a blob was left out."""
    path: str = args.file
    _check_path(args, out)
    if on_objects.is_asked(args.config):
        return _tell(_of_objects(args), path, out)
    storage = Storage(args.config)
    storage.must_be_owner()
    with storage.snapshot() as taken:
        if not taken.blobs and not taken.left_out and not args.even_empty:
            before = {f"the last export of {storage.place}": storage.last_export()}
            _refuse_if_some_before(storage.place, before, path)
        done = _written(lambda fd: storage.write_backup(taken, fd), path)
    storage.remember_export(done)
    return _tell(done, path, out, linked=taken.linked)


def _check_path(args: argparse.Namespace, out: Output) -> None:
    """Raises CommandFailed if the file must not be written."""
    path: str = args.file
    if path == STDOUT:
        if sys.stdout.isatty() or out.as_json:
            raise CommandFailed(exits.USAGE, "A tar on stdout is for a pipe or a file, without --json.")
    elif os.path.lexists(path) and not args.force:
        raise CommandFailed(exits.USAGE, f"{path} is there already: give another name, or --force.")


def _of_objects(args: argparse.Namespace) -> Exported:
    """The blobs of an object store, each as it is when its turn comes."""
    place = f"The bucket {args.config.objects_bucket!r}"

    def must_have_some() -> None:
        if not args.even_empty:
            _refuse_if_some_before(place, {}, args.file)

    return _written(lambda fd: on_objects.export(args.config, fd, must_have_some), args.file)


def _tell(done: Exported, path: str, out: Output, **more: object) -> int:
    if path != STDOUT:
        out.document({"file": path, **more, **msgspec.to_builtins(done)})
        out.line(f"{done.blobs:,} blobs, {size(done.bytes)} of data, as they were at {done.time}: {path}")
    for sentence in done.left_out:
        log.error("left out: %s", sentence)
    return exits.NOT_WELL if done.left_out else exits.OK


def _refuse_if_some_before(place: str, known: dict[str, Exported | None], path: str) -> None:
    """Refuse to export no blobs if there were some before: `place` or its disk may be a wrong one.

    Raises CommandFailed if an export that is `known`, or the newest backup in the folder of the new one, has
    some.
    """
    if path != STDOUT:
        known |= _newest_beside(path)
    for name, note in known.items():
        if note is not None and note.blobs:
            raise CommandFailed(
                exits.NOT_WELL,
                f"{place} has no blob, but {name} had {note.blobs:,} ({note.time}). Nothing was "
                "written: see whether this is the right place. If none is right, say --even-empty.",
            )


def _newest_beside(path: str) -> dict[str, Exported | None]:
    """The newest backup in the folder where `path` will be: its name and its closing note."""
    folder = os.path.dirname(os.path.abspath(path))
    with os.scandir(folder) as entries:
        files = [(e.stat().st_mtime_ns, e.path) for e in entries if e.name.endswith(".tar") and e.is_file()]
    for _, name in sorted(files, reverse=True)[:_NEWEST]:
        note = closing_note(name)
        if note is not None:
            return {name: note}
    return {}


def _written(write: Callable[[int], Exported], path: str) -> Exported:
    """Let `write` fill the file, see write_new_file, or stdout."""
    if path == STDOUT:
        done = write(sys.stdout.fileno())
        log.info("exported %d blobs, %d bytes of data", done.blobs, done.bytes)
        return done
    return write_new_file(path, write)
