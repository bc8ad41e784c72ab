"""Which runs are merged, and how. Pure.

A lookup asks one run after the other, so there may not be many; and a blob should not be written anew often.
So neighbours in age are merged once there are several of about one size: a million blobs then are in some
eight runs, and each was written three times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.engines.local.disk.blob import Blob
from services.engines.local.index.catalogue import newest
from services.engines.local.index.format import RunInfo, decode_blob
from services.engines.local.index.run import Run

_AT_ONCE = 4  # fewer runs are not worth it
_MOST = 12  # more are too many, whatever their sizes


def to_merge(runs: Sequence[RunInfo]) -> Sequence[RunInfo]:
    """Those of `runs` (the newest first) that are to become one; none where all is well."""
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
    """What `runs` (the newest first) say together. `are_all`: no older one needs to hear of what is gone."""
    for location, raw in newest([run.from_("", True, True) for run in runs]):
        blob = decode_blob(raw)  # type: ignore[arg-type]
        if blob is not None or not are_all:
            yield location, blob
