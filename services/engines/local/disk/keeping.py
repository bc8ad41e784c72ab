"""The time before which the gc must not remove a blob, from its record. Pure.

Every reason to keep a blob is in this function, so the collector has one rule and no special cases
(docs/decisions/not-before.md).
"""

from __future__ import annotations

import msgspec

from common.states import State
from common.times import unix_ns
from services.engines.local.disk.record import BlobRecord
from services.rules.locations import is_record

NEVER = (1 << 63) - 1  # later than any time that a record can hold
AT_ONCE = 0


class Keeping(msgspec.Struct, frozen=True):
    """The options for it. `deleted_s`: how long a deleted or replaced blob is kept."""

    deleted_s: float = 0.0

    def keeps(self, location: str) -> bool:
        """Whether a blob of `location` is kept when it is deleted or replaced.

        Records of front ends are not kept: the bytes of an upload's parts,
        say, are also in the blob that was made of them.
        """
        return self.deleted_s > 0 and not is_record(location)


def not_before(record: BlobRecord, options: Keeping, now_ns: int) -> int:
    """The time before which the gc must not remove the blob: Unix time in nanoseconds.

    NEVER for a blob that is not in Failure (design rule 3). AT_ONCE for one that was never acknowledged, or
    was retired without its checksums, since it could not be brought back verified. Else the time of its
    Failure plus `keep_deleted`. A time of Failure in the future (the clock went back) counts as now: else a
    clock that was ahead would keep a blob for ever.
    """
    if record.state is not State.FAILURE:
        return NEVER
    if not (record.is_whole and options.keeps(record.location)):
        return AT_ONCE
    return min(failed_ns(record), now_ns) + int(options.deleted_s * 1e9)


def failed_ns(record: BlobRecord) -> int:
    """When a blob became Failure, by its history: Unix time in nanoseconds."""
    try:
        return unix_ns(record.events[-1].at)
    except (ValueError, OverflowError):
        return record.modified_ns
