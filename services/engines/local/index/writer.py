"""Writes the index: changes become its newest run, which the manifest then names. For the holder of the lock.

The order makes a crash harmless: a run is durable before a manifest names it, a manifest is durable before
the journal forgets what it covers, and a run is removed only when no manifest names it any more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence

import msgspec

from common import durable
from services.engines.local.disk.blob import Blob
from services.engines.local.index.catalogue import Catalogue
from services.engines.local.index.format import SALT_BYTES, RunInfo
from services.engines.local.index.id_set import IdSet
from services.engines.local.index.manifest import FORMAT, IndexFiles, Manifest, Stamp
from services.engines.local.index.row_stamps import RowStamp
from services.engines.local.index.run import Run
from services.engines.local.index.run_writer import write_run
from services.engines.local.index.stretches import Nets


class IndexWriter:
    """Any thread may call it; calls run one at a time.

    `manifest`: the current one; None begins a new index. `renew`: makes the directory's stamp another one,
    durably, so that no manifest of before fits it, nor a copy of one.
    """

    def __init__(
        self,
        files: IndexFiles,
        id_bits: int,
        stamp: Stamp,
        manifest: Manifest | None,
        renew: Callable[[], Stamp],
    ) -> None:
        self.files = files
        self.renew = renew
        self._stamp = stamp
        self._lock = threading.Lock()
        self._is_given_up = False
        self._last = manifest or Manifest(
            FORMAT, id_bits, stamp, 0, os.urandom(SALT_BYTES), runs=[], max_seq=0, ids={}, size_bytes=0
        )

    @property
    def manifest(self) -> Manifest:
        """The current manifest."""
        return self._last

    def open(self) -> Catalogue:
        """The runs that the manifest names. Raises IndexDamaged."""
        last = self._last
        runs = [Run(self.files.path(info.name), info) for info in last.runs]
        return Catalogue(runs, last.salt, IdSet(last.ids), last.size_bytes)

    def begin(self, items: Iterable[tuple[str, Blob]], most: int) -> Run | None:
        """Write the first run: all blobs, in order, at most `most`. The next `seal` makes it the index.

        Returns the run, None if there is no blob. Raises as `seal`.
        """
        if not most:
            return None
        with self._lock:
            path = self.files.path(new_name())
            info = write_run(path, items, most, self._last.salt)
            run = Run(path, info)
            self._last = msgspec.structs.replace(self._last, runs=[info])
            return run

    def seal(
        self,
        items: Iterable[tuple[str, Blob | None]],
        count: int,
        nets: Nets | None,
        ids: dict[int, bytes],
        size_bytes: int,
        epoch: int,
        max_seq: int,
        rows: dict[int, RowStamp],
    ) -> Run | None:
        """Make `count` changed items, in order, the newest run. Then the index is complete up to `epoch`,
        durably. `nets`: see Stretches. `rows`: see Manifest.

        Returns the run, None if nothing changed. Raises OSError, SyncFailed, OverflowError, and IndexDamaged
        if the new run cannot be opened: then the index is unchanged.
        """
        with self._lock:
            last = self._last
            run = None
            runs = last.runs
            if count:
                path = self.files.path(new_name())
                info = write_run(path, items, count, last.salt, nets)
                run = Run(path, info)
                runs = [info, *runs]
            manifest = Manifest(
                *(FORMAT, last.id_bits, self._stamp, epoch, last.salt),
                *(runs, max_seq, ids, size_bytes, rows),
            )
            self.files.save(manifest)
            self._last, self._is_given_up = manifest, False
            return run

    def give_up(self) -> None:
        """Give the index up, durably, until the next `seal`. Idempotent. Raises OSError, SyncFailed.

        The journal will not tell of what comes now. So the stamp is renewed: else somebody could put a copy
        of the index back, of a moment before, and it would be believed.
        """
        with self._lock:
            if not self._is_given_up:
                self._stamp = self.renew()
                self.files.forget()
                self._is_given_up = True

    def merged(self, inputs: Sequence[RunInfo], info: RunInfo) -> None:
        """Replace `inputs` by the durable run `info` with the same content. Raises OSError, SyncFailed."""
        with self._lock:
            runs = list(self._last.runs)
            first = runs.index(inputs[0])
            runs[first : first + len(inputs)] = [info]
            self._last = msgspec.structs.replace(self._last, runs=runs)
            if self._is_given_up:
                return  # the next seal tells
            self.files.save(self._last)
            for one in inputs:
                durable.remove_file(self.files.path(one.name))


def new_name() -> str:
    """Of a run: none has it, nor will one that a process of a dead server may still be writing."""
    return f"{os.urandom(8).hex()}.run"
