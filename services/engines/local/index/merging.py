"""Which runs are merged, and how. Pure.

A lookup asks one run after the other, so there should be few; but a blob should not be written often. So runs
that are neighbours in age are merged when there are several of similar size. A million blobs are then in some
eight runs, and each was written three times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.engines.local.disk.blob import Blob
from services.engines.local.index.catalogue import newest
from services.engines.local.index.format import RunInfo
from services.engines.local.index.run import Run

_AT_ONCE = 4  # fewer runs are not worth it
_MOST = 12  # more are too many, whatever their sizes


def to_merge(runs: Sequence[RunInfo]) -> Sequence[RunInfo]:
    """Those of `runs` (the newest first) to merge into one; may be none."""
    total = 0
    for number, run in enumerate(runs):
        if number and run.count > total:
            break
        total += run.count
    else:
        number = len(runs)
    if number >= _AT_ONCE:
        return runs[:number]
    return runs if len(runs) > _MOST else ()


def merged(runs: Sequence[Run], *, are_all: bool) -> Iterator[tuple[str, Blob | None]]:
    """The merged content of `runs` (the newest first). `are_all`: no older run needs the deletions."""
    for locations, blobs in newest([run.spans("", True) for run in runs]):
        for location, blob in zip(locations, blobs, strict=True):
            if blob is not None or not are_all:
                yield location, blob
