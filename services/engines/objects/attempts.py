"""Commits that must not take effect twice: see services/attempts.py. The pointer remembers them."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import Unavailable
from services.attempts import Attempt, TookEffect
from services.engines.objects.commit import TAKEN_FOR_DEAD, Judge, Tools
from services.engines.objects.decide import Outcome, outcome
from services.engines.objects.fence import fence
from services.engines.objects.pointer import Known

UNKNOWN = "Whether this was done before is not known any more: look at the blob, then send it anew."


def unless_stopped(own: Attempt, judge: Judge) -> Judge:
    """`judge` for the write of `own`, which must not take effect after it was stopped."""

    def judged(known: Known) -> None:
        if _outcome(own, known) is Outcome.KILLED:
            raise Unavailable(TAKEN_FOR_DEAD)
        judge(known)

    return judged


async def check(tools: Tools, location: str, attempts: Sequence[Attempt]) -> None:
    """See attempts.Attempting."""
    if attempts:
        known = await tools.pointers.read(location)
        for one in attempts:
            _outcome(one, known)


async def stop(tools: Tools, location: str, attempts: Sequence[Attempt], *, in_doubt: bool) -> None:
    """See attempts.Attempting: a fence for each, as the gc makes one."""
    for one in attempts:
        known = await tools.pointers.read(location)
        while _outcome(one, known, in_doubt=in_doubt) is not Outcome.KILLED:
            known, _ = await fence(tools, location, one.write, one.since)


def _outcome(one: Attempt, known: Known, *, in_doubt: bool = False) -> Outcome:
    found = outcome(one.write, one.since, known, mortal=True)
    if found is Outcome.APPLIED:
        raise TookEffect(one)
    if found is Outcome.UNKNOWN and (known.pointer is None or not in_doubt):
        raise Unavailable(UNKNOWN)
    return found
