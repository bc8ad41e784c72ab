"""`import FILE.tar`: the blobs of an export, put into a directory that may have others.

They come as new blobs, with new ids and histories, through the running server or the store. To have the very
directory back, ids and histories included, unpack the tar into an empty folder instead and serve that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import logging
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from common.errors import BadLocation, BadRequest, CorruptRecord, Damaged, TooLarge
from common.progress import Progress
from common.states import State
from services.engines.local.disk import layout, record
from services.engines.local.disk.record import BlobRecord, rank
from services.engines.local.journal import format as journal
from services.rules.locations import check_location
from services.tools import exits
from services.tools.exits import CommandFailed
from services.tools.exporting import Exported
from services.tools.incoming import Incoming, Outcome, verified
from services.tools.output import Output, size
from services.tools.tar import Tar
from services.tools.targets import Target, add_target_arguments, open_target

log = logging.getLogger("import")

_Chunks = Callable[[], Iterator[bytes]]

_NAME = re.compile(r"(?:\./)?((?:\d{1,5}/)?\d{1,5})/([^/]+)")
_SMALL_BYTES = 1 << 20  # read whole, so that several can be stored at once
_MAX_STATE_BYTES = 64 << 20  # 9 bytes a MiB of data: one of 7 TiB


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `import`."""
    parser.add_argument("file", help="a tar file made by `export`, or by tar of a data directory at rest")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="also where a location has other bytes now (else it keeps them)",
    )
    add_target_arguments(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Import; 1 where a blob was not whole, was not taken, or the file is cut short."""
    return asyncio.run(_run(args, out))


async def _run(args: argparse.Namespace, out: Output) -> int:
    try:
        tar = Tar.open(args.file, "r:")
    except FileNotFoundError as err:
        raise CommandFailed(exits.NOT_THERE, f"There is no file {args.file}.") from err
    except (OSError, tarfile.TarError) as err:
        raise CommandFailed(exits.USAGE, f"{args.file} is no tar file that can be read: {err}.") from err
    file_bytes = os.stat(args.file).st_size
    with tar:
        async with open_target(args.dir, args.config, args) as target:
            outdone = _outdone(args.file)
            with Progress("import", "bytes") as progress:
                run = _Import(tar, target, lambda at: progress(at, file_bytes), outdone, args.replace)
                await run.all()
    counts = {outcome.value: run.outcomes[outcome] for outcome in Outcome}
    out.document(
        {"into": target.name, **counts, "bytes": run.bytes, "problems": run.problems, "whole": run.is_whole}
    )
    out.line(f"into {target.name}: {size(run.bytes)} of data")
    for name, count in counts.items():
        out.line(
            f"{name:9} {count:,}" + (" (kept as they are: --replace)" if name == "differs" and count else "")
        )
    for sentence in run.problems:
        out.line(sentence)
    return exits.OK if run.is_whole and not run.problems and not counts["differs"] else exits.NOT_WELL


def _outdone(path: str) -> set[int]:
    """Where the states stand in the file whose blob another one of the same location outdoes, as at a start.

    Reads the states once before the import reads them: some 100 bytes of memory a blob. Raises CommandFailed
    where the file holds a journal that was not replayed: its folders may lack what was acknowledged.
    """
    best: dict[bytes, tuple[tuple[int, int], int]] = {}
    outdone: set[int] = set()
    with contextlib.suppress(tarfile.TarError, OSError), Tar.open(path, "r:") as tar:  # the import tells
        while (member := tar.next()) is not None:
            tar.forget()
            name = member.name.removeprefix("./")
            if not member.isreg() or (member.size > _MAX_STATE_BYTES and name not in journal.NAMES):
                continue
            file = tar.extractfile(member)
            assert file is not None  # of a regular file
            if name in journal.NAMES and not journal.is_clean(file.read(journal.HEADER_BYTES)):
                raise CommandFailed(
                    exits.NOT_WELL,
                    "The file holds a journal that was not replayed: unpack it into an empty folder, and "
                    "start a server on that once. Nothing was imported.",
                )
            if not name.endswith("/" + layout.STATE_NAME):
                continue
            with contextlib.suppress(CorruptRecord):  # told when it is its turn
                blob = record.load(file.read())
                if blob.state is State.COMPLETE:
                    at = hashlib.blake2b(blob.location.encode(), digest_size=16).digest()
                    one, rival = (rank(blob), member.offset), best.get(at)
                    best[at] = one if rival is None else max(one, rival)
                    if rival is not None:
                        outdone.add(min(one, rival)[1])
    return outdone


class _Import:
    def __init__(
        self, tar: Tar, target: Target, tell: Callable[[int], None], outdone: set[int], replace: bool
    ) -> None:
        self._outdone = outdone  # see the function
        self._tell = tell  # called with how far in the file we are
        self._tar = tar
        self._target = target
        self._replace = replace
        self._under_way: set[asyncio.Task[None]] = set()
        self.outcomes: Counter[Outcome] = Counter()
        self.problems: list[str] = []
        self.bytes = 0
        self.is_whole = False

    async def all(self) -> None:
        """Every blob of the file; then `is_whole` says whether its closing note was there."""
        waiting: dict[str, dict[str, tarfile.TarInfo]] = {}  # by folder: what came of it so far
        try:
            while (member := self._next()) is not None:
                self._tell(member.offset)
                if member.name.removeprefix("./") == layout.EXPORTED_NAME:
                    self._compare(member)
                match = _NAME.fullmatch(member.name)
                if match is None or not member.isreg():
                    continue
                files = waiting.setdefault(match[1], {})
                files[match[2]] = member
                if layout.STATE_NAME in files and layout.DATA_NAME in files:
                    del waiting[match[1]]
                    await self._take(match[1], files[layout.STATE_NAME], files[layout.DATA_NAME])
        finally:
            # Of several errors the first is told: they have one cause.
            rest = await asyncio.gather(*self._under_way, return_exceptions=True)
        for result in rest:
            if isinstance(result, BaseException):
                raise result
        if not self.is_whole:
            self.problems.append(
                "The file has no closing note: it was cut short, or not made by `export`. "
                "What it holds was imported."
            )

    def _next(self) -> tarfile.TarInfo | None:
        try:
            member = self._tar.next()
        except (tarfile.TarError, OSError) as err:
            self.problems.append(f"The file cannot be read further: {err}.")
            return None
        self._tar.forget()
        return member

    def _compare(self, member: tarfile.TarInfo) -> None:
        """Take the closing note for what it says."""
        try:
            note = msgspec.json.decode(self._content(member), type=Exported)
        except (CorruptRecord, msgspec.DecodeError, UnicodeError) as err:
            self.problems.append(f"The closing note of the file is damaged: {err}.")
            return
        self.is_whole = True
        self.problems += [f"was left out of the export: {sentence}" for sentence in note.left_out]

    def _content(self, member: tarfile.TarInfo) -> bytes:
        file = self._tar.extractfile(member)
        if file is None or member.size > _MAX_STATE_BYTES:
            raise CorruptRecord(f"{member.name} is no file of a size that it could have.")
        return file.read()

    async def _take(self, folder: str, state: tarfile.TarInfo, data: tarfile.TarInfo) -> None:
        try:
            blob = record.load(self._content(state))
            if blob.state is not State.COMPLETE or state.offset in self._outdone:
                return
            check_location(blob.location)
            if not blob.is_original and blob.size != data.size:
                raise Damaged(f"data.raw has {data.size} bytes instead of {blob.size}")
            if blob.is_original:
                blob = msgspec.structs.replace(blob, size=data.size)
            await self._store(blob, data)
        except (CorruptRecord, Damaged, BadLocation, tarfile.TarError) as err:
            self.problems.append(f"folder {folder}: not imported: {err}")

    async def _store(self, blob: BlobRecord, data: tarfile.TarInfo) -> None:
        if blob.size > _SMALL_BYTES:
            while self._under_way:  # they would wait for it, and it for the tar
                await self._settle_one()
            await self._put(blob, lambda: self._chunks(blob, data))
            return
        whole = list(self._chunks(blob, data))
        while len(self._under_way) >= self._target.at_once:
            await self._settle_one()
        self._under_way.add(asyncio.ensure_future(self._put(blob, lambda: iter(whole))))

    async def _settle_one(self) -> None:
        done, self._under_way = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        for error in [task.exception() for task in done]:
            if error is not None:
                raise error

    async def _put(self, blob: BlobRecord, chunks: _Chunks) -> None:
        incoming = Incoming(
            *(blob.location, blob.type, blob.encoding, blob.metadata, blob.size, blob.sha256, chunks)
        )
        try:
            self.outcomes[await self._target.put(incoming, replace=self._replace)] += 1
            self.bytes += blob.size
        except (BadRequest, TooLarge) as err:  # this one is not wanted; others may be
            self.problems.append(f"{blob.location!r}: not imported: {err}")

    def _chunks(self, blob: BlobRecord, data: tarfile.TarInfo) -> Iterator[bytes]:
        file = self._tar.extractfile(data)
        if file is None:
            raise Damaged("data.raw is no file")

        def read(count: int) -> bytes:
            self._tell(file.tell() + data.offset_data)
            return file.read(count)

        return verified(read, blob)
