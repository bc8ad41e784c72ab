"""How long the gc leaves a blob alone: one question, "not before when?", answered from its record. Pure.

Whatever keeps a blob on disk is an answer to it, so the collector has one rule and no cases of its own
(docs/decisions/not-before.md).
"""

from __future__ import annotations

import msgspec

from common.states import State
from common.times import unix_ns
from services.engines.local.disk.record import BlobRecord

NEVER = (1 << 63) - 1  # later than any time that a record can hold
AT_ONCE = 0


class Keeping(msgspec.Struct, frozen=True):
    """The options that say so. `deleted_s`: seconds for which what was deleted or replaced is kept."""

    deleted_s: float = 0.0

    def keeps(self, location: str) -> bool:
        """Whether a blob of `location` is kept when it is deleted or replaced.

        Records of front ends (their locations begin with NUL) are not: the parts of an upload, say, are
        bytes that the blob made of them has, too.
        """
        return self.deleted_s > 0 and not location.startswith("\0")


def not_before(record: BlobRecord, options: Keeping, now_ns: int) -> int:
    """The time before which the gc must not remove the blob: Unix time in nanoseconds.

    NEVER for all that is not in Failure (design rule 3). AT_ONCE for what never was acknowledged as whole,
    and for what was retired without its checksums: nobody could bring it back verified. Else the time of the
    Failure, and what the options add. A time of Failure that is still to come (the clock went back) counts
    as now: else a clock that was ahead would keep a blob for ever.
    """
    if record.state is not State.FAILURE:
        return NEVER
    if not (record.is_whole and options.keeps(record.location)):
        return AT_ONCE
    return min(failed_ns(record), now_ns) + int(options.deleted_s * 1e9)


def failed_ns(record: BlobRecord) -> int:
    """When a blob in Failure came to it, by its history: Unix time in nanoseconds."""
    try:
        return unix_ns(record.events[-1].at)
    except (ValueError, OverflowError):
        return record.modified_ns
