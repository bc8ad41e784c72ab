"""The fence: one swap of the pointer after which a write can never take effect. See collect.py."""

from __future__ import annotations

from services.engines.objects import keys, pointer
from services.engines.objects.bucket import ABSENT, Refused, Unclear
from services.engines.objects.commit import Tools
from services.engines.objects.decide import Outcome, outcome
from services.engines.objects.pointer import Known


async def fence(tools: Tools, location: str, write: str, base: int) -> tuple[Known, bool]:
    """Fence the write of this txn, unless it took effect, was killed, or the pointer cannot be read.

    Returns the pointer as it is then, whoever changed it, and whether this fence did. `base`: see
    decide.outcome. Raises Unavailable.
    """
    bucket, pointers, clock = tools
    known, whole = await pointers.read_whole(location)
    is_unreadable = known.pointer is None and known.etag is not None
    if is_unreadable or outcome(write, base, known, mortal=True) in (Outcome.APPLIED, Outcome.KILLED):
        return known, False
    after = pointer.fenced(
        known, location=location, killed=write, write=clock.new_txn(), now_ns=clock.now_ns()
    )
    body = whole[known.body_at :]
    data = pointer.encode(after, body)
    try:
        etag = await bucket.put(
            keys.pointer_key(location), data, known.etag if known.etag is not None else ABSENT
        )
    except (Refused, Unclear):
        return await pointers.read(location), False
    return Known(etag, after, len(data) - len(body)), True
